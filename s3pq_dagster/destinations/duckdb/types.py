"""Which Arrow types DuckDB stores unchanged."""

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.column_rules import case_twins, check_columns
from s3pq_dagster.destinations.duckdb.names import is_usable, quoted


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


def as_type(expression: str, old: pa.DataType, sql_type: str) -> str:
    """Return SQL that gives a column another type.

    Args:
        expression: The column.
        old: The Arrow type that it was written with.
        sql_type: DuckDB's name of the new type, in which every value has its equal.
    """
    return f"({_typed(expression, old)})::{sql_type}"


def _typed(expression: str, old: pa.DataType) -> str:
    """Return SQL in which null has the type of text, from which there is a cast to every type.

    DuckDB stores nulls without a type as integers, from which there is none to structs and dates.
    """
    types = pa.types
    if types.is_null(old):
        return "NULL::VARCHAR"
    if not _has_nulls(old):
        return expression
    if types.is_struct(old):
        fields = ", ".join(
            f"{quoted(each.name)} := {_typed(f'{expression}.{quoted(each.name)}', each.type)}"
            for each in old
        )
        return f"CASE WHEN {expression} IS NULL THEN NULL ELSE struct_pack({fields}) END"
    if types.is_map(old):
        items = _each(f"map_values({expression})", old.item_type)
        made = f"map({_each(f'map_keys({expression})', old.key_type)}, {items})"
        return f"CASE WHEN {expression} IS NULL THEN NULL ELSE {made} END"
    return _each(expression, old.value_type)


def _each(expression: str, inner: pa.DataType) -> str:
    name = f"e{expression.count('lambda')}"
    return f"list_transform({expression}, lambda {name}: {_typed(name, inner)})"


def _has_nulls(kind: pa.DataType) -> bool:
    """Return whether a type has null within it."""
    if pa.types.is_map(kind):
        return _has_nulls(kind.key_type) or _has_nulls(kind.item_type)
    return pa.types.is_null(kind) or any(
        _has_nulls(kind.field(number).type) for number in range(kind.num_fields)
    )


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
