"""Streams of Arrow batches: regrouped and cast for a destination, and cast back when read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.leaf_values import restored
from s3pq_dagster.errors import RefusedRowsError

_JOIN_BYTES = 64 * 1024 * 1024


def joined(batches: pa.RecordBatchReader, rows: int) -> Iterator[pa.RecordBatch]:
    """Join small batches, in order, for drivers that have a cost per batch.

    Args:
        batches: The stream.
        rows: Batches are joined up to this many rows, or up to 64 MiB where rows are wide. A batch
            of at least half as many rows is yielded unchanged, without a copy.
    """
    waiting: list[pa.RecordBatch] = []
    held = size = 0
    for batch in batches:
        is_large = 2 * batch.num_rows >= rows
        if waiting and (is_large or held >= rows or size >= _JOIN_BYTES):
            yield pa.concat_batches(waiting)
            waiting, held, size = [], 0, 0
        if is_large:
            yield batch
            continue
        waiting.append(batch)
        held += batch.num_rows
        size += batch.nbytes
    if waiting:
        yield pa.concat_batches(waiting)


def regrouped(batches: pa.RecordBatchReader, rows: int) -> Iterator[pa.RecordBatch]:
    """Join and slice batches, in order, to the number of rows that an engine stores together.

    Args:
        batches: The stream.
        rows: Rows in each batch but the last. If that many rows are more than 64 MiB, each batch
            has half as many, or a quarter, and so on: fractions fill an engine's groups without
            remainder. No more than 64 MiB are joined, so a batch also ends where wider rows follow.
    """
    waiting: list[pa.RecordBatch] = []
    held = size = 0
    most = rows
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            if not waiting:
                most = _halved(rows, batch)
            piece = batch.slice(start, most - held)
            piece_bytes = piece.nbytes  # once: it takes as long as decoding a small batch
            if waiting and size + piece_bytes > _JOIN_BYTES:
                yield schemas.as_one(waiting)
                waiting, held, size = [], 0, 0
                continue
            waiting.append(piece)
            start += piece.num_rows
            held += piece.num_rows
            size += piece_bytes
            if held == most or size >= _JOIN_BYTES:
                yield schemas.as_one(waiting)
                waiting, held, size = [], 0, 0
    if waiting:
        yield schemas.as_one(waiting)


def _halved(rows: int, batch: pa.RecordBatch) -> int:
    """Halve a number of rows until that many rows as wide as the batch's fit 64 MiB."""
    row_bytes = batch.nbytes / batch.num_rows
    while rows > 1 and rows * row_bytes > _JOIN_BYTES:
        rows //= 2
    return rows


def as_stored(reader: pa.RecordBatchReader, schema: pa.Schema | None) -> pa.RecordBatchReader:
    """Cast columns back to the Arrow types they were written with.

    Args:
        reader: The rows, in the types that the engine returns.
        schema: The schema the table was written with; ``None`` keeps the engine's types.
    """
    stored = {} if schema is None else {field.name: field.type for field in schema}
    target = pa.schema([pa.field(f.name, stored.get(f.name, f.type)) for f in reader.schema])
    if target == reader.schema:
        return reader
    return pa.RecordBatchReader.from_batches(
        target,
        (
            pa.record_batch([restored(batch.column(f.name), f.type) for f in target], schema=target)
            for batch in reader
        ),
    )


@contextmanager
def converted(
    batches: pa.RecordBatchReader,
    schema: pa.Schema,
    convert: Callable[[pa.RecordBatch], pa.RecordBatch],
) -> Iterator[pa.RecordBatchReader]:
    """Convert every batch of a stream that a driver reads.

    A driver turns an exception of the stream into one of its own, with the text alone. The original
    exception of ``convert`` is raised where the context ends.

    Args:
        batches: The stream.
        schema: Schema of the batches that ``convert`` returns.
        convert: Converts one batch; may raise to refuse a value.
    """
    failed: list[Exception] = []

    def convert_or_note(batch: pa.RecordBatch) -> pa.RecordBatch:
        try:
            return convert(batch)
        except Exception as error:
            failed.append(error)
            raise

    try:
        yield pa.RecordBatchReader.from_batches(schema, map(convert_or_note, batches))
    except Exception as error:
        if failed:
            raise failed[0] from error
        raise


def cast_column(
    batch: pa.RecordBatch, name: str, kind: pa.DataType, *, into: str, shown: str | None = None
) -> pa.Array:
    """Cast a column to a type of the destination, if that changes no value.

    Args:
        batch: Rows of some objects.
        name: Name of the column.
        kind: The type to cast to.
        into: Name of the destination, for the error.
        shown: Name of the type in the destination, for the error; by default Arrow's.

    Raises:
        RefusedRowsError: A value would be changed or cut.
    """
    column = batch.column(name)
    try:
        return column if column.type == kind else column.cast(kind)
    except pa.ArrowInvalid as error:
        raise value_refused(batch, name, shown or str(kind), str(error), into=into) from error


def value_refused(
    batch: pa.RecordBatch, name: str, kind: str, found: str, *, into: str
) -> RefusedRowsError:
    """Build the error for a value that a destination cannot store.

    Args:
        batch: The rows that have the value among them.
        name: Name of the column.
        kind: The destination's type for the column.
        found: What is wrong with the value.
        into: Name of the destination.
    """
    keys = batch.column(schemas.KEY_COLUMN)
    first, last = keys[0].as_py(), keys[-1].as_py()
    where = f"object {first!r}" + (f", {last!r} or one between them" if last != first else "")
    reason = f"column {name!r} has a value that {into} cannot hold unchanged as {kind}: {found}"
    return RefusedRowsError(
        f"{reason}. It is in {where}. Convert the column in every object of the table, or leave "
        f"the table out with `skip_tables`.",
        reason=reason,
        key=first if first == last else None,
    )
