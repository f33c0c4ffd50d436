"""Rows of a file that has an earlier schema of its table, as rows of the schema of today."""

from collections.abc import Callable

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.leaf_values import restored
from s3pq_dagster.destinations.parquet.types import stored_type
from s3pq_dagster.drift.casts import exact

Conform = Callable[[pa.RecordBatch], pa.RecordBatch]


def held_columns(file: pa.Schema, table: pa.Schema) -> list[str]:
    """Return the names of a table's columns that a file has.

    A column keeps its name and spelling from the first schema that has it.
    """
    there = set(file.names)
    return [name for name in table.names if name in there]


def conforming(file: pa.Schema, table: pa.Schema) -> Conform:
    """Return what makes rows of a file rows of its table: no value changes.

    Args:
        file: The file's schema, as its footer has it.
        table: The columns to return. Those that the file has not are null.

    Returns:
        A function for batches of the file's columns, in whatever order; it raises
        :class:`InexactError` or an error of pyarrow if a value does not fit its column, which then
        somebody else wrote.
    """
    types = {each.name: each.type for each in table}
    held = {
        name: _conversion(file.field(name).type, types[name]) for name in held_columns(file, table)
    }

    def conform(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [
            held[each.name](batch.column(each.name))
            if each.name in held
            else pa.nulls(batch.num_rows, each.type)
            for each in table
        ]
        return pa.record_batch(columns, schema=table)

    return conform


def _conversion(file: pa.DataType, kind: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    """Return what makes a column of a file's type one of the type that the table has now."""
    found = schemas.canonical_type(file)
    if stored_type(found) == stored_type(kind):
        return lambda column: restored(column, kind)
    return lambda column: exact(schemas.conform_column(column, found), kind)
