"""Columns as the encoder of COPY's binary format takes them.

It knows neither decimals of more than 128 bits nor that elements of a list have a time zone. Such
values psycopg encodes, one at a time. Bytes it writes as they are.
"""

from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.numeric import Int8BinaryDumper

_EPOCH = 946_684_800_000_000
"""PostgreSQL's, 2000-01-01, in microseconds of Arrow's."""


class _Instant(int):
    """Microseconds since PostgreSQL's epoch; datetimes end with the year 9999."""


class _InstantDumper(Int8BinaryDumper):
    oid = psycopg.adapters.types["timestamptz"].oid


psycopg.adapters.register_dumper(_Instant, _InstantDumper)


def on_wire(column: pa.Array) -> pa.Array:
    """Give the bytes of a column where the encoder does not know them, else the column."""
    if isinstance(column, pa.ExtensionArray):
        return column.storage  # a UUID, as PostgreSQL reads it
    if pa.types.is_decimal256(column.type):
        return _dumped(column.to_pylist(), Decimal(1))
    if not pa.types.is_list(column.type):
        return column
    element = column.type.value_type
    if pa.types.is_decimal256(element):
        return _dumped(column.to_pylist(), [Decimal(1)])
    if pa.types.is_timestamp(element) and element.tz:
        return _dumped(list(map(_instants, _integers(column))), [_Instant(1)])
    return column


def _integers(column: pa.Array) -> list[list[int | None] | None]:
    integers: list[list[int | None] | None] = column.cast(pa.list_(pa.int64())).to_pylist()
    return integers


def _instants(integers: list[int | None] | None) -> list[_Instant | None] | None:
    if integers is None:
        return None
    return [None if each is None else _Instant(each - _EPOCH) for each in integers]


def _dumped(values: list[Any], such: Any) -> pa.Array:
    dumper = Transformer().get_dumper(such, PyFormat.BINARY)
    found = [None if value is None else dumper.dump(value) for value in values]
    return pa.array([None if data is None else bytes(data) for data in found], pa.binary())
