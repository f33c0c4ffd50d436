"""Reads a column of the rows that are stored, in the transaction that is open."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from s3pq_dagster.destinations.postgres.connection import Connection
from s3pq_dagster.destinations.postgres.names import quoted
from s3pq_dagster.destinations.postgres.types import form_of
from s3pq_dagster.destinations.postgres.values import returned

_MOST_EXACT = 2**53
_NEAR = "'1700-01-01' AND '2200-01-01'"
"""Times that timestamps of every unit hold."""


@contextmanager
def doubtful_values(
    connection: Connection, table: str, column: pa.Field
) -> Iterator[pa.RecordBatchReader]:
    """Stream the values of a column that may have no equal in a wider type; see ``ReadColumn``.

    Args:
        connection: In a transaction.
        table: The table, as SQL.
        column: Its name, and the type that it was written with.
    """
    form, name = form_of(column.type), quoted(column.name)
    chosen = f"{name}::text" if form.is_json else name
    sql = f"SELECT {chosen} FROM {table}{_where(name, column.type)}"
    sent = pa.schema([pa.field(column.name, pa.string() if form.is_json else form.sent)])
    with connection.column(sql) as pieces:
        batches = (pa.record_batch([_array(piece, sent.field(0).type)], sent) for piece in pieces)
        reader = pa.RecordBatchReader.from_batches(sent, batches)
        yield returned(reader, pa.schema([column]))


def _where(name: str, kind: pa.DataType) -> str:
    """Leave out values that are known to have equals, so that most tables send nothing."""
    if pa.types.is_integer(kind):
        return f" WHERE {name} NOT BETWEEN {-_MOST_EXACT} AND {_MOST_EXACT}"
    return f" WHERE {name} NOT BETWEEN {_NEAR}" if pa.types.is_timestamp(kind) else ""


def _array(values: list[Any], sent: pa.DataType) -> pa.Array:
    """Build an array from values as they come from the connection: times are integers."""
    if pa.types.is_list(sent) and pa.types.is_timestamp(sent.value_type):
        return pa.array(values, pa.list_(pa.int64())).cast(sent)
    if pa.types.is_timestamp(sent):
        return pa.array(values, pa.int64()).cast(sent)
    return pa.array(values, sent)
