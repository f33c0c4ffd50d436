"""Values that a table has no column for, as one JSON object a row."""

import base64
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster import schemas

RESCUED_COLUMN = "_s3pq_rescued"
"""The column of values that have no other column; an object with a name and a value each."""
RESCUED_TYPE = pa.json_(pa.string())
_MOST_EXACT = 2**53
"""Beyond it not every reader of JSON keeps an integer, so it is text."""


def as_json(columns: Mapping[str, tuple[pa.Array, pa.Array]], rows: int) -> pa.Array:
    """Make a JSON object of each row.

    NaN and the infinities are text, as are decimals, integers beyond 2⁵³, and times in ISO 8601.
    Binary values are text in Base64, UUIDs in their usual form, JSON as it is written; a map is a
    list of pairs.

    Args:
        columns: For each name the values, and which rows of them are to be in the JSON.
        rows: The number of rows.

    Returns:
        One text a row; null where a row has no value to keep. Nulls are left out.
    """
    parts = [_members(name, *found) for name, found in columns.items()]
    if not parts:
        return pa.nulls(rows, RESCUED_TYPE)
    # Not null_handling="skip": pyarrow 26 leaves out the rows in which everything is null.
    members = pc.binary_join_element_wise(*(part.fill_null("") for part in parts), "")
    texts = pc.binary_join_element_wise("{", pc.utf8_rtrim(members, ","), "}", "")
    found = pc.if_else(pc.equal(members, ""), pa.scalar(None, pa.string()), texts)
    return pa.ExtensionArray.from_storage(RESCUED_TYPE, found)


def _members(name: str, column: pa.Array, chosen: pa.Array) -> pa.Array:
    """Return ``"name":value,`` for each chosen row whose value is not null."""
    start = json.dumps(name, ensure_ascii=False) + ":"
    wanted = pc.and_(chosen, column.is_valid())
    texts = [
        start + json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + ","
        for value in _plain(column.filter(wanted))
    ]
    places = pc.if_else(wanted, pc.subtract(pc.cumulative_sum(wanted.cast(pa.int64())), 1), None)
    return pa.array(texts, pa.string()).take(places)


def _plain(column: pa.Array) -> list[Any]:
    """Return the values as what JSON has."""
    types, kind = pa.types, column.type
    if isinstance(kind, pa.UuidType):
        return [None if each is None else str(each) for each in column.to_pylist()]
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.storage)
    if types.is_struct(kind):
        return _plain_structs(column)
    if types.is_map(kind):
        pairs = list(zip(_plain(column.keys), _plain(column.items), strict=True))
        return _slices(column, [list(pair) for pair in pairs])
    if types.is_fixed_size_list(kind):
        values, size = _plain(column.flatten()), kind.list_size
        left = iter(range(0, len(values), size or 1))
        return [
            None if is_null else values[(start := next(left, 0)) : start + size]
            for is_null in column.is_null().to_pylist()
        ]
    if types.is_list(kind):
        return _slices(column, _plain(column.values))
    if types.is_temporal(kind):
        return _times(column)
    return [_plain_value(each) for each in column.to_pylist()]


def _plain_structs(column: pa.Array) -> list[Any]:
    names = [each.name for each in column.type]
    parts = [_plain(part) for part in column.flatten()]
    rows = zip(*parts, strict=True) if parts else [()] * len(column)
    make = list if schemas.duplicates(names) else dict
    found = (make(zip(names, row, strict=True)) for row in rows)
    return [
        None if is_null else each
        for is_null, each in zip(column.is_null().to_pylist(), found, strict=True)
    ]


def _slices(column: pa.Array, values: list[Any]) -> list[Any]:
    ends, nulls = column.offsets.to_pylist(), column.is_null().to_pylist()
    spans = zip(nulls, ends[:-1], ends[1:], strict=True)
    return [None if is_null else values[start:end] for is_null, start, end in spans]


def _times(column: pa.Array) -> list[str | None]:
    """Return times in ISO 8601; a duration is in seconds, as ``PT1.5S``."""
    types, kind = pa.types, column.type
    if types.is_duration(kind):
        places = {"s": 0, "ms": 3, "us": 6, "ns": 9}[kind.unit]
        return [
            None if each is None else _duration(each, places)
            for each in column.cast(pa.int64()).to_pylist()
        ]
    if types.is_timestamp(kind) and kind.tz is not None:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    texts = column.cast(pa.string()).to_pylist()
    return [None if each is None else each.replace(" ", "T") for each in texts]


def _duration(count: int, places: int) -> str:
    sign, digits = "-" if count < 0 else "", str(abs(count)).rjust(places + 1, "0")
    whole, part = (digits[:-places], digits[-places:].rstrip("0")) if places else (digits, "")
    return f"{sign}PT{whole}{'.' if part else ''}{part}S"


def _plain_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return _plain_float(value)
    is_big = isinstance(value, int) and abs(value) > _MOST_EXACT
    return str(value) if is_big or isinstance(value, Decimal) else value


def _plain_float(value: float) -> float | str:
    if value != value:  # noqa: PLR0124 - only NaN is not itself
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value
