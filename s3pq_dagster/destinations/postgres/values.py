"""Converts batches to what COPY's encoder takes, and back from what the driver returns."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster.destinations.batches import as_stored, cast_column, joined, value_refused
from s3pq_dagster.destinations.leaf_values import plain, plain_type
from s3pq_dagster.destinations.postgres.nested import as_json, from_json
from s3pq_dagster.destinations.postgres.pre_encoding import encoded
from s3pq_dagster.destinations.postgres.types import Form, form_of

_INTO = "PostgreSQL"
PIECE_BYTES = 512 * 1024
"""Size of the pieces that are sent: the server reads one while the next is encoded."""


def sendable(
    batches: pa.RecordBatchReader, rows: int, piece_bytes: int = PIECE_BYTES
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Join batches up to ``rows`` rows, and convert them losslessly for COPY's encoder.

    Yields:
        For each joined batch its converted schema, and its rows in small pieces.

    Raises:
        RefusedRowsError: A value cannot be stored unchanged.
    """
    forms = {field.name: form_of(field.type) for field in batches.schema}
    for batch in joined(batches, rows):
        columns = [encoded(_sent(batch, name, form)) for name, form in forms.items()]
        sent = pa.record_batch(columns, names=list(forms))
        yield sent.schema, _pieces(sent, piece_bytes)


def returned(reader: pa.RecordBatchReader, schema: pa.Schema | None) -> pa.RecordBatchReader:
    """Convert columns back to the types and values they were written with.

    Args:
        reader: The rows, in the types that the driver returns.
        schema: The schema the table was written with; ``None`` keeps the driver's types.
    """
    stored = {} if schema is None else {field.name: field.type for field in schema}
    nested = {name: plain_type(kind) for name, kind in stored.items() if form_of(kind).is_json}
    target = pa.schema([pa.field(f.name, nested.get(f.name, f.type)) for f in reader.schema])
    if not nested.keys() & set(target.names):
        return as_stored(reader, schema)

    def decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [
            from_json(_texts(column), nested[name]) if name in nested else column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        return pa.record_batch(columns, schema=target)

    return as_stored(pa.RecordBatchReader.from_batches(target, map(decoded, reader)), schema)


def _pieces(batch: pa.RecordBatch, piece_bytes: int) -> Iterator[pa.RecordBatch]:
    size = max(1, piece_bytes * batch.num_rows // max(1, batch.nbytes))
    return (batch.slice(start, size) for start in range(0, batch.num_rows, size))


def _sent(batch: pa.RecordBatch, name: str, form: Form) -> pa.Array:
    if form.is_json:
        try:
            return as_json(plain(batch.column(name)))
        except pa.ArrowInvalid as error:
            raise value_refused(batch, name, form.sql, str(error), into=_INTO) from error
    column = cast_column(batch, name, form.sent, into=_INTO, shown=form.sql)
    if found := refusal(column, form):
        raise value_refused(batch, name, form.sql, found, into=_INTO)
    return column


def refusal(column: pa.Array, form: Form) -> str | None:
    """Return why the server would refuse a value of a column, or take it for another.

    Args:
        column: The values, cast to the type that is sent.
        form: How they are stored.
    """
    values = column.flatten() if pa.types.is_list(column.type) else column
    if form.bounds and (found := _outside(values, *form.bounds)):
        return found
    if pa.types.is_string(values.type) and _has_nul(values):
        return "it has NUL in it"
    return None


def _outside(values: pa.Array, low: int, high: int) -> str | None:
    """Describe a value that is out of bounds; PostgreSQL takes some of those for infinity."""
    integers = values.view(pa.int32() if pa.types.is_date32(values.type) else pa.int64())
    found = pc.min_max(integers).as_py()
    least, most = found["min"], found["max"]
    if least is None or (low <= least and most <= high):
        return None
    return f"{least if least < low else most} is not between {low} and {high}"


def _has_nul(texts: pa.Array) -> bool:
    """Return whether a text has NUL in it, which PostgreSQL cannot store."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return False
    ends = np.frombuffer(offsets, np.int32)
    start, end = ends[texts.offset], ends[texts.offset + len(texts)]
    found = np.frombuffer(data, np.uint8)[start:end]
    if np.count_nonzero(found) == len(found):
        return False
    return bool(
        pc.any(pc.match_substring(texts, "\x00")).as_py()
    )  # bytes of null values do not count


def _texts(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column
