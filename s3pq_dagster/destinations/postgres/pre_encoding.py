"""Encodes the columns that pgpq, the encoder of COPY's binary format, does not know.

pgpq knows neither decimals of more than 128 bits nor time zones of list items. psycopg encodes such
values, one at a time, to bytes, and pgpq copies bytes unchanged.
"""

from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.numeric import Int8BinaryDumper

from s3pq_dagster.destinations.postgres.times import EPOCH


class _Instant(int):
    """Microseconds since PostgreSQL's epoch; Python's datetime ends with the year 9999."""


class _InstantDumper(Int8BinaryDumper):
    oid = psycopg.adapters.types["timestamptz"].oid


psycopg.adapters.register_dumper(_Instant, _InstantDumper)


def encoded(column: pa.Array) -> pa.Array:
    """Return a column as bytes if pgpq does not know its type, else unchanged."""
    if isinstance(column, pa.ExtensionArray):
        return column.storage  # a UUID; its 16 bytes are PostgreSQL's binary format as well
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
    return [None if each is None else _Instant(each - EPOCH) for each in integers]


def _dumped(values: list[Any], example: Any) -> pa.Array:
    dumper = Transformer().get_dumper(example, PyFormat.BINARY)
    found = [None if value is None else dumper.dump(value) for value in values]
    return pa.array([None if data is None else bytes(data) for data in found], pa.binary())
