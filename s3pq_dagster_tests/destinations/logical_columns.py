"""A column ``c`` of each logical type of the Parquet format, in files written byte by byte."""

import datetime as dt
import uuid
from typing import Any

from s3pq_dagster_tests.malformed.annotated import (
    BSON,
    ENUM,
    GEOGRAPHY,
    GEOMETRY,
    INT96,
    JSON,
    MICROS,
    MILLIS,
    NANOS,
    OLD_ENUM,
    STRING,
    UNKNOWN,
    VARIANT,
    Group,
    Leaf,
    decimal,
    integer,
    logical,
    timed,
)
from s3pq_dagster_tests.malformed.crafted import (
    BYTE_ARRAY,
    FIXED,
    I32,
    INT32,
    INT64,
    Fields,
)

POINT = b"\x01\x01\x00\x00\x00" + bytes(16)
"""POINT (0 0) as WKB."""
DOCUMENT = b"\x05\x00\x00\x00\x00"
"""An empty document in BSON."""
INTERVAL: Fields = [(6, I32, 21)]
_NOON = dt.datetime(2024, 2, 14, 12)  # noqa: DTZ001 - as a file has it
_NOON_SECONDS = 1_707_912_000


def _i32(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


def _i64(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)


def _one(kind: int, value: bytes | None, annotation: Fields = (), width: int | None = None) -> Leaf:
    return Leaf("c", kind, [value], annotation, width)


def _within(*columns: Leaf | Group, annotation: Fields = ()) -> Group:
    return Group("c", columns, annotation)


def _text(name: str, value: bytes, annotation: Fields = ()) -> Leaf:
    return Leaf(name, BYTE_ARRAY, [value], annotation)


def _time(unit: int, value: bytes, *, utc: bool) -> Leaf:
    return _one(INT32 if unit == MILLIS else INT64, value, timed(7, unit, utc=utc))


class Refusal(str):
    """Words of the reason for which a file is refused."""

    __slots__ = ()


LOGICAL: dict[str, tuple[Leaf | Group, Any]] = {
    "STRING": (_one(BYTE_ARRAY, b"a", STRING), "a"),
    "BYTE_ARRAY without annotation": (_one(BYTE_ARRAY, b"a"), b"a"),
    "ENUM": (_one(BYTE_ARRAY, b"RED", ENUM), "RED"),
    "ENUM, as a converted type": (_one(BYTE_ARRAY, b"RED", OLD_ENUM), "RED"),
    "ENUM within a group": (
        _within(_text("s", b"a", STRING), _text("e", b"RED", ENUM)),
        {"s": "a", "e": "RED"},
    ),
    "UUID": (_one(FIXED, bytes(16), logical(14), 16), uuid.UUID(int=0)),
    "JSON": (_one(BYTE_ARRAY, b'{"a": 1}', JSON), '{"a": 1}'),
    "BSON": (_one(BYTE_ARRAY, DOCUMENT, BSON), DOCUMENT),
    "INT(8, signed)": (_one(INT32, _i32(-128), integer(8, signed=True)), -128),
    "INT(8, unsigned)": (_one(INT32, _i32(200), integer(8, signed=False)), 200),
    "INT(8, signed), with a value of nine bits": (
        _one(INT32, _i32(300), integer(8, signed=True)),
        Refusal(r"annotated as INT(8, signed) and has the value 300"),
    ),
    "INT(32, unsigned)": (_one(INT32, _i32(-1), integer(32, signed=False)), 2**32 - 1),
    "INT(64, unsigned)": (_one(INT64, _i64(-1), integer(64, signed=False)), 2**64 - 1),
    "DATE": (_one(INT32, _i32(1), logical(6)), dt.date(1970, 1, 2)),
    "TIME(ms)": (_time(MILLIS, _i32(1), utc=False), dt.time(0, 0, 0, 1000)),
    "TIME(us)": (_time(MICROS, _i64(1), utc=False), dt.time(0, 0, 0, 1)),
    "TIME(us, UTC)": (_time(MICROS, _i64(1), utc=True), dt.time(0, 0, 0, 1)),
    "TIME(ns, UTC)": (_time(NANOS, _i64(1000), utc=True), dt.time(0, 0, 0, 1)),
    "TIME(ms), with a value beyond the day": (
        _time(MILLIS, _i32(86_400_000), utc=False),
        Refusal("86400000 is not within"),
    ),
    "TIMESTAMP(us)": (_one(INT64, _i64(_NOON_SECONDS * 10**6), timed(8, MICROS, utc=False)), _NOON),
    "TIMESTAMP(us, UTC)": (
        _one(INT64, _i64(_NOON_SECONDS * 10**6), timed(8, MICROS, utc=True)),
        _NOON.replace(tzinfo=dt.UTC),
    ),
    "INT96": (_one(INT96, (12 * 3600 * 10**9).to_bytes(8, "little") + _i32(2_460_355)), _NOON),
    "INTERVAL": (_one(FIXED, b"\x01" + bytes(11), INTERVAL, 12), b"\x01" + bytes(11)),
    "DECIMAL(39, 0) in 17 bytes": (_one(FIXED, bytes(16) + b"\x07", decimal(0, 39), 17), 7),
    "DECIMAL(38, 0) in 17 bytes": (
        _one(FIXED, bytes(16) + b"\x07", decimal(0, 38), 17),
        Refusal("38 digits in 17 bytes"),
    ),
    "DECIMAL(77, 0)": (_one(BYTE_ARRAY, b"\x07", decimal(0, 77)), Refusal("77 digits")),
    "DECIMAL(12, 2) in 32 bits": (
        _one(INT32, _i32(7), decimal(2, 12)),
        Refusal("annotated as DECIMAL and stored as INT32"),
    ),
    "DECIMAL(5, 2), with a value of six digits": (
        _one(INT32, _i32(123_456), decimal(2, 5)),
        Refusal("123456 does not fit"),
    ),
    "FLOAT16": (_one(FIXED, b"\x00\x3c", logical(15), 2), 1.0),
    "UNKNOWN": (_one(INT32, None, UNKNOWN), None),
    "UNKNOWN, with a value": (
        _one(BYTE_ARRAY, b"a", UNKNOWN),
        Refusal("annotated as UNKNOWN, always null, and has the value b'a'"),
    ),
    "VARIANT": (
        _within(
            _text("metadata", b"\x01\x00\x00"), _text("value", b"\x0c\x05"), annotation=VARIANT
        ),
        {"metadata": b"\x01\x00\x00", "value": b"\x0c\x05"},
    ),
    "GEOMETRY": (_one(BYTE_ARRAY, POINT, GEOMETRY), POINT),
    "GEOGRAPHY": (_one(BYTE_ARRAY, POINT, GEOGRAPHY), POINT),
    "a group without fields": (Group("c"), Refusal("a group without fields")),
    "a group without fields within a group": (
        _within(_text("s", b"a", STRING), Group("g")),
        Refusal("a group without fields"),
    ),
    "a group of groups without fields": (_within(Group("g")), Refusal("a group without fields")),
}
"""A column of one row by its logical type, and the value, or why its file is refused."""
