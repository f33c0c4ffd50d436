"""Which Arrow types DuckDB holds unchanged, and how they come back."""

from collections.abc import Iterable

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.duckdb.names import is_usable
from s3pq_dagster.errors import UnsupportedSchemaError, one_line


def check_schema(schema: pa.Schema, key: str | None) -> None:
    """Refuse what DuckDB would change, cut or fail on, before anything is written.

    Args:
        schema: What is to be written.
        key: The object it comes from, for the error.

    Raises:
        UnsupportedSchemaError: It names the columns, why, and what to do.
    """
    twins = _twins(schema.names)
    problems = [f"columns {one!r} and {other!r} differ only by case" for one, other in twins]
    for field in schema:
        if (name := _unusable_name(field)) is not None:
            problems.append(f"column {field.name!r} has a name {name!r} in it, empty or with NUL")
        if reason := _unsupported(field.type):
            kind = one_line(str(field.type))
            problems.append(f"column {field.name!r} has type {kind}, {reason}")
    if problems:
        msg = (
            f"DuckDB cannot hold the columns of object {key!r} unchanged: {'; '.join(problems)}. "
            f"Rename or convert them in every object of the table, or leave the table out with "
            f"`skip_tables`."
        )
        raise UnsupportedSchemaError(msg)


def _twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pair each name with the first that DuckDB takes for the same."""
    first: dict[bytes, str] = {}
    pairs = [(first.setdefault(schemas.folded(name), name), name) for name in names]
    return [(one, other) for one, other in pairs if one != other]


def _unusable_name(field: pa.Field) -> str | None:
    """Find a name, of the column or a field within, that DuckDB would cut or change."""
    if not is_usable(field.name):
        return str(field.name)
    found = (_unusable_name(inner) for inner in _inner(field.type))
    return next((name for name in found if name is not None), None)


def _inner(kind: pa.DataType) -> list[pa.Field]:
    """Give the fields within a type; those of lists and maps have no name of the user's."""
    if not pa.types.is_nested(kind):
        return []
    fields = [kind.field(index) for index in range(kind.num_fields)]
    return fields if pa.types.is_struct(kind) else [field.with_name("item") for field in fields]


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
        # DuckDB keeps the values, but SQL finds only the first of them.
        if twice := schemas.duplicates(names):
            return f"with more than one field {twice[0]!r}"
        if twins := _twins(names):
            return f"whose fields {twins[0][0]!r} and {twins[0][1]!r} differ only by case"
    if types.is_nested(kind):
        inner = (_unsupported(field.type) for field in _inner(kind))
        return next((reason for reason in inner if reason), None)
    return None


def as_stored(reader: pa.RecordBatchReader, schema: pa.Schema | None) -> pa.RecordBatchReader:
    """Give the columns the Arrow types they were written with, where DuckDB returns others."""
    stored = {} if schema is None else {field.name: field.type for field in schema}
    target = pa.schema(
        [pa.field(f.name, _restorable(f.type, stored.get(f.name, f.type))) for f in reader.schema]
    )
    if target == reader.schema:
        return reader
    return pa.RecordBatchReader.from_batches(
        target, (schemas.conform(batch, target) for batch in reader)
    )


def _restorable(returned: pa.DataType, written: pa.DataType) -> pa.DataType:
    """Choose the written type where a cast from the returned one is lossless."""
    if isinstance(written, pa.BaseExtensionType):
        return returned
    try:
        pa.nulls(1, returned).cast(written)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return returned
    return written
