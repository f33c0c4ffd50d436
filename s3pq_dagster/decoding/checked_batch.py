"""What every decoded batch is checked for, and the types it gets."""

from collections.abc import Iterator

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.decoding.json_text import is_json
from s3pq_dagster.errors import MalformedObjectError, one_line

_REASON_CHARACTERS = 500
_SHOWN = 60
"""Characters of a value that an error shows."""
_TEXTS_AT_A_TIME = 16
"""Texts that are Python's strings at a time: those take up to four times the memory of Arrow's."""


class RefusedValueError(ValueError):
    """A value that was decoded cannot be kept as it is in the file; the text names the column."""


def checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with canonical types, after validating it.

    Raises:
        RefusedValueError: A value is not valid in its type: text that is not UTF-8, a decimal with
            more digits, or JSON that is none, for example.
    """
    _validate(batch)
    schema = schemas.canonical(batch.schema)
    if not batch.schema.equals(schema):
        columns = map(schemas.conform_column, batch.columns, schema.types)
        batch = pa.record_batch(list(columns), schema=schema)
    for number in _with_json(schema):
        _check_json(schema.names[number], batch.column(number))
    return batch


def reason_of(error: Exception) -> str:
    """Word why an object cannot be read, from the error that decoding it raised."""
    if isinstance(error, RefusedValueError):  # ours, and says all there is to say
        return one_line(str(error))
    return f"{type(error).__name__}: {error}"


def malformed(key: str, error: Exception) -> MalformedObjectError:
    """Return the error for an object, from the error that decoding it raised."""
    if isinstance(error, RefusedValueError):
        return MalformedObjectError(key, reason_of(error)[:_REASON_CHARACTERS])
    return MalformedObjectError.of(key, error)


def columns_within(column: pa.Array) -> list[pa.Array]:
    """Return the fields of a struct, the items of lists, the entries of maps; or nothing."""
    kind = column.type
    if pa.types.is_struct(kind):
        return [column.field(number) for number in range(kind.num_fields)]
    if not pa.types.is_nested(kind):
        return []
    if column.null_count == len(column):  # flatten() would need a builder, which JSON has none of
        return [column.values.slice(0, 0)]
    if pa.types.is_fixed_size_list(kind):
        return [column.flatten()]
    offsets = column.offsets
    start, end = offsets[0].as_py(), offsets[-1].as_py()
    return [column.values.slice(start, end - start)]


def _validate(batch: pa.RecordBatch) -> None:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column.validate(full=True)
            except pa.ArrowInvalid as error:
                why = str(error).removeprefix("Invalid: ").rstrip(".")
                msg = f"column {name!r} has a value that its type, {column.type}, excludes: {why}"
                raise RefusedValueError(msg) from error
        raise


@schemas.remembered
def _with_json(schema: pa.Schema) -> list[int]:
    """List the indices of the columns that have JSON somewhere within."""
    return [number for number, kind in enumerate(schema.types) if _has_json(kind)]


def _has_json(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.JsonType):
        return True
    return any(_has_json(kind.field(number).type) for number in range(kind.num_fields))


def _check_json(name: str, column: pa.Array) -> None:
    """Check that every JSON value in a column, at any depth, is JSON.

    Raises:
        RefusedValueError: One is not; the error names it.
    """
    for texts in _json_within(column):
        for text in _few_at_a_time(texts):
            if text is not None and not is_json(text):
                shown = repr(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")
                msg = (
                    f"column {name!r} is JSON by its type and has the text {shown}, which is no "
                    f"JSON. As a string (Parquet's STRING) it could be kept"
                )
                raise RefusedValueError(msg)


def _few_at_a_time(texts: pa.Array) -> Iterator[str | None]:
    for start in range(0, len(texts), _TEXTS_AT_A_TIME):
        yield from texts.slice(start, _TEXTS_AT_A_TIME).to_pylist()


def _json_within(column: pa.Array) -> Iterator[pa.Array]:
    if isinstance(column.type, pa.JsonType):
        yield column.storage
    for inner in columns_within(column):
        yield from _json_within(inner)
