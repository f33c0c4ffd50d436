"""Values of any Arrow type as plain Python values, so that two readers' columns can be compared."""

import itertools
import math
import struct
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_UUID_BYTES = 16
_DAY = 86_400 * 10**9


def plain(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column's values without what depends on the reader.

    Dates and times are whole nanoseconds, times with a zone those of UTC; UUIDs are their bytes;
    maps are lists of pairs; numbers are equal across widths.
    """
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in plain(chunk)]
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(column.storage)
    if pa.types.is_dictionary(kind):
        return plain(column.dictionary_decode())
    return _nested(column) if pa.types.is_nested(kind) else _flat(column)


def same(one: list[Any], other: list[Any]) -> bool:
    """Compare two columns of :func:`plain`; text equals its bytes in UTF-8, or as a UUID."""
    return len(one) == len(other) and all(map(_same, one, other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return same(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and same(list(one.values()), list(other.values()))
    if isinstance(one, str) and isinstance(other, bytes):
        return one.encode() == other
    if isinstance(one, bytes) and isinstance(other, str):  # DuckDB's UUIDs come as text
        return one == other.encode() or (len(one) == _UUID_BYTES and str(UUID(bytes=one)) == other)
    if isinstance(one, bytes) and isinstance(other, tuple):  # as docs/types.md says of intervals
        months, days, milliseconds = struct.unpack("<III", one)
        return (months, days, milliseconds * 10**6) == other
    if isinstance(one, Decimal) and isinstance(other, float):  # DuckDB, beyond 38 digits
        return float(one) == other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def _flat(column: pa.Array) -> list[Any]:
    kind, types = column.type, pa.types
    if types.is_timestamp(kind) or types.is_time(kind) or types.is_duration(kind):
        return _scaled(column, _NANOSECONDS[kind.unit])
    if types.is_date32(kind):
        return _scaled(column, _DAY)
    if types.is_date64(kind):
        return _scaled(column, 10**6)
    if types.is_interval(kind):
        return [None if v is None else _interval(v) for v in column.to_pylist()]
    if types.is_float16(kind):
        column = column.cast(pa.float32())
    values: list[Any] = column.to_pylist()
    if types.is_decimal(kind):
        return [None if v is None else Decimal(v).normalize() for v in values]
    return values


def _scaled(column: pa.Array, factor: int) -> list[int | None]:
    width = pa.int32() if column.type.bit_width == 32 else pa.int64()
    return [None if v is None else v * factor for v in column.view(width).to_pylist()]


def _interval(value: Any) -> tuple[int, int, int]:
    return value.months, value.days, value.nanoseconds


def _nested(column: pa.Array) -> list[Any]:
    kind, types = column.type, pa.types
    if types.is_struct(kind):
        names = [field.name for field in kind]
        fields = [plain(column.field(index)) for index in range(kind.num_fields)]
        rows: list[Any] = [dict(zip(names, row, strict=True)) for row in zip(*fields, strict=True)]
        return _with_nulls(column, rows or [{}] * len(column))
    if types.is_map(kind):
        pairs = pa.StructArray.from_arrays([column.keys, column.items], ["key", "value"])
        found = _sliced(column, [list(pair.values()) for pair in plain(pairs)])
        return _with_nulls(column, found)
    if types.is_fixed_size_list(kind):
        return _with_nulls(
            column, [plain(column.slice(i, 1).flatten()) for i in range(len(column))]
        )
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return plain(pa.array(column.to_pylist(), pa.list_(kind.value_type)))
    return _with_nulls(column, _sliced(column, plain(column.values)))


def _sliced(column: pa.Array, values: list[Any]) -> list[Any]:
    offsets = column.offsets.to_pylist()
    return [values[start:end] for start, end in itertools.pairwise(offsets)]


def _with_nulls(column: pa.Array, values: list[Any]) -> list[Any]:
    valid = column.is_valid().to_pylist()
    return [value if is_valid else None for value, is_valid in zip(values, valid, strict=True)]
