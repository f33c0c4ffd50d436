"""Which Arrow types Parquet files hold unchanged, and the types they are written as."""

import functools

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.destinations.batches import cast_column
from s3pq_dagster.destinations.column_rules import check_columns
from s3pq_dagster.destinations.value_rules import Rule, refused_by_cast
from s3pq_dagster.errors import UnsupportedSchemaError


def check_schema(schema: pa.Schema, key: str | None) -> None:
    """Refuse columns that would not be read back unchanged, before anything is written.

    Args:
        schema: The columns to be written.
        key: The object they come from, for the error.

    Raises:
        UnsupportedSchemaError: Some columns are refused; it says which, why, and what to do.
    """
    check_columns(schema, key, destination="Parquet", unusable=_unusable, unsupported=_unsupported)


def written_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of the files: Parquet has no timestamps in seconds."""
    return pa.schema([field.with_type(_written(field.type)) for field in schema])


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a file returns for one that was written: Parquet has no seconds.

    Within lists, structs and maps pyarrow converts by itself.
    """
    if pa.types.is_timestamp(kind) or pa.types.is_time32(kind):
        return _in_milliseconds(kind) if kind.unit == "s" else kind
    return pa.date32() if pa.types.is_date64(kind) else schemas.with_inner(kind, stored_type)


def rule_of(field: pa.Field) -> Rule | None:
    """Return the rule for a column; ``None`` if Parquet holds every value of its type."""
    kind = _written(field.type)
    return None if kind == field.type else refused_by_cast(kind)


def as_written(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Put a batch's columns into the order and the types of the files.

    Args:
        batch: Rows of any objects.
        schema: The schema that :func:`written_schema` returned.

    Raises:
        UnsupportedSchemaError: A value would be changed, or the columns are not the table's.
    """
    if batch.schema.equals(schema):
        return batch
    if sorted(batch.schema.names) != sorted(schema.names):
        msg = (
            f"the columns {batch.schema.names} are not those of the table: {schema.names}. Run "
            f"the table with full_refresh: true."
        )
        raise UnsupportedSchemaError(msg)
    columns = [
        cast_column(batch, field.name, field.type, into="Parquet")
        if pa.types.is_timestamp(field.type)
        else schemas.conform_column(batch.column(field.name), field.type)
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


def _written(kind: pa.DataType) -> pa.DataType:
    seconds = pa.types.is_timestamp(kind) and kind.unit == "s"
    return pa.timestamp("ms", kind.tz) if seconds else kind


def _in_milliseconds(kind: pa.DataType) -> pa.DataType:
    return pa.time32("ms") if pa.types.is_time32(kind) else pa.timestamp("ms", kind.tz)


def _unusable(name: str) -> str | None:
    """Return why engines would not keep a column's name: DuckDB cuts it at NUL."""
    return None if name and "\x00" not in name else "empty or with NUL"


def _unsupported(kind: pa.DataType) -> str | None:
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        if twice := schemas.duplicates(names):
            return f"with more than one field {twice[0]!r}"
    return None if _can_be_written(kind) else "which Parquet does not have"


@functools.cache
def _can_be_written(kind: pa.DataType) -> bool:
    """Try to write the type, since what pyarrow can write changes between releases."""
    nothing = schemas.empty_table(pa.schema([("c", kind)]))
    try:
        pq.write_table(nothing, pa.BufferOutputStream())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True
