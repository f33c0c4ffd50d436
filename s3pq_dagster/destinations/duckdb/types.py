"""Which Arrow types DuckDB stores unchanged."""

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.column_rules import case_twins, check_columns
from s3pq_dagster.destinations.duckdb.names import is_usable


def check_schema(schema: pa.Schema, key: str | None) -> None:
    """Refuse a schema that DuckDB would change, truncate or fail on.

    Args:
        schema: The schema to be written.
        key: Key of the object it comes from, for the error.

    Raises:
        UnsupportedSchemaError: A column is refused. The error names every such column, the reason,
            and what to do.
    """
    check_columns(schema, key, destination="DuckDB", unusable=_unusable, unsupported=_unsupported)


def _unusable(name: str) -> str | None:
    return None if is_usable(name) else "empty or with NUL"


def _unsupported(kind: pa.DataType) -> str | None:
    types = pa.types
    if types.is_float16(kind):
        return "which DuckDB does not have"
    if types.is_decimal256(kind):
        return "whose precision is beyond DuckDB's 38 digits"
    if types.is_decimal(kind) and kind.scale < 0:
        return "whose negative scale DuckDB does not have"
    if types.is_duration(kind) and kind.unit == "ns":
        return "whose nanoseconds DuckDB cuts"
    if types.is_struct(kind) and (names := [field.name for field in kind]):
        # DuckDB stores both fields, but SQL finds only the first of them.
        if twice := schemas.duplicates(names):
            return f"with more than one field {twice[0]!r}"
        if twins := case_twins(names):
            return f"whose fields {twins[0][0]!r} and {twins[0][1]!r} differ only by case"
    return None
