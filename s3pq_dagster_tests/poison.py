"""Rows of a table that any destination can make, and values that some of them cannot hold."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_STRUCT = pa.struct([("f", pa.float64()), ("at", pa.timestamp("us"))])
_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("texts", pa.list_(pa.string())),
        ("json", pa.json_(pa.string())),
        ("map", pa.map_(pa.string(), pa.int64())),
        ("maps", pa.list_(pa.map_(pa.string(), pa.int64()))),
        ("struct", _STRUCT),
        ("at_ms", pa.timestamp("ms")),
        ("at_ms_utc", pa.timestamp("ms", "UTC")),
        ("at_us", pa.timestamp("us")),
        ("at_us_utc", pa.timestamp("us", "UTC")),
        ("at_ns", pa.timestamp("ns")),
        ("at_ns_utc", pa.timestamp("ns", "UTC")),
        ("ats", pa.list_(pa.timestamp("ns"))),
        ("day", pa.date32()),
        ("time", pa.time64("ns")),
        ("long", pa.duration("us")),
    ]
)
_GOOD: dict[str, Any] = {
    "text": "fine",
    "texts": ["a", None, ""],
    "json": '{"a": [1, "\\u0000"]}',
    "map": [("a", 1), ("b", 2)],
    "maps": [[("a", 1)], [("a", 2)]],
    "struct": {"f": 0.5, "at": 1_700_000_000_000_000},
    "at_ms": 253_402_300_799_000,
    "at_ms_utc": 1_700_000_000_000,
    "at_us": 1_700_000_000_000_001,
    "at_us_utc": 253_402_300_799_999_999,
    "at_ns": 1_700_000_000_000_001_000,
    "at_ns_utc": -1_000,
    "ats": [1_000, None],
    "day": 2_932_896,
    "time": 86_399_999_999_000,
    "long": 90_000_000,
}


@dataclass(frozen=True, slots=True)
class Poison:
    """A value, and the destinations that cannot hold it."""

    column: str
    value: Any
    shown: str
    """Part of the reason for the quarantine: the value as a person reads it."""
    refused_by: tuple[str, ...]


_ALL = ("duckdb", "postgres", "delta", "parquet")
_BOTH = ("duckdb", "postgres")
_ALL_BUT_PARQUET = ("duckdb", "postgres", "delta")
KINDS: dict[str, Poison] = {
    "nul": Poison("text", "a\x00b", r"'a\x00b'", ("postgres",)),
    "nul-in-a-list": Poison("texts", ["a", "b\x00"], r"['a', 'b\x00']", ("postgres",)),
    "words-for-json": Poison("json", "plain words", "'plain words'", _ALL),
    "half-a-json": Poison("json", '{"a": [1,', "'{\"a\": [1,'", _ALL),
    "nan-in-json": Poison("json", "[NaN]", "'[NaN]'", _ALL),
    "key-twice": Poison("map", [("a", 1), ("a", 2)], "[('a', 1), ('a', 2)]", ("duckdb",)),
    "key-twice-deep": Poison("maps", [[], [("k", 1), ("k", 1)]], "('k', 1)", ("duckdb",)),
    "nan-deep": Poison("struct", {"f": math.nan, "at": None}, "nan", ("postgres",)),
    "infinite-deep": Poison("struct", {"f": -math.inf, "at": None}, "-inf", ("postgres",)),
    "year-52951-deep": Poison(
        "struct", {"f": 1.0, "at": 1_608_847_200_000_000_000}, "1608847200000000000", ("postgres",)
    ),
    "beyond-microseconds": Poison("at_ms", 2**63 - 2, "", _ALL_BUT_PARQUET),
    "instant-beyond-microseconds": Poison("at_ms_utc", -(2**62), "", _ALL_BUT_PARQUET),
    "before-4714-bc": Poison("at_us", -(2**63) + 2, "", ("postgres",)),
    "instant-before-4714-bc": Poison("at_us_utc", -(2**62), "", ("postgres",)),
    "single-nanoseconds": Poison("at_ns", 1, "", ("postgres", "delta")),
    "instant-with-nanoseconds": Poison("at_ns_utc", 1_001, "", ("postgres", "delta")),
    "nanoseconds-in-a-list": Poison("ats", [1_000, 1], "", ("postgres", "delta")),
    "day-after-all": Poison("day", 2**31 - 1, "", ("postgres",)),
    "time-with-nanoseconds": Poison("time", 1, "", ("postgres",)),
    "very-long": Poison("long", 2**63 - 1, "", _BOTH),
}


def rows(ids: Iterable[int], poison: Poison | None = None) -> pa.Table:
    """Make good rows; with ``poison``, the last of them has its value.

    Args:
        ids: The rows' ids.
        poison: The value, and its column.
    """
    made = [_GOOD | {"id": number} for number in ids]
    if poison is not None:
        made[-1] = made[-1] | {poison.column: poison.value}
    columns = [_column([row[field.name] for row in made], field.type) for field in _SCHEMA]
    return pa.table(columns, schema=_SCHEMA)


def refused_by(kind: str) -> dict[str, Poison]:
    """Return the kinds that a destination cannot hold."""
    return {name: poison for name, poison in KINDS.items() if kind in poison.refused_by}


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if isinstance(kind, pa.JsonType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, pa.string()))
    if pa.types.is_temporal(kind):
        plain = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        return pa.array(values, plain).view(kind)
    return pa.array(values, kind)
