"""Streams of Arrow batches: regrouped and cast for a destination, and cast back when read."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster import schemas
from s3pq_dagster.errors import UnsupportedSchemaError

_JOIN_BYTES = 64 * 1024 * 1024
_UUID_LENGTH = 36
_DAY_NANOSECONDS = 86_400 * 10**9


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
            pa.record_batch(
                [_restored(batch.column(f.name), f.type) for f in target], schema=target
            )
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
        UnsupportedSchemaError: A value would be changed or cut.
    """
    column = batch.column(name)
    try:
        return column if column.type == kind else column.cast(kind)
    except pa.ArrowInvalid as error:
        raise value_refused(batch, name, shown or str(kind), str(error), into=into) from error


def value_refused(
    batch: pa.RecordBatch, name: str, kind: str, found: str, *, into: str
) -> UnsupportedSchemaError:
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
    return UnsupportedSchemaError(
        f"column {name!r} has a value that {into} cannot hold unchanged as {kind}: {found}. "
        f"It is in {where}. Convert the column in every object of the table, or leave the table "
        f"out with `skip_tables`."
    )


def _restored(column: pa.Array, written: pa.DataType) -> pa.Array:
    """Cast a column back to the type it was written with, without changing a value.

    Raises:
        pa.ArrowInvalid: A value does not fit the type: somebody else wrote it.
    """
    returned = column.type
    if returned == written:
        return column
    if isinstance(returned, pa.OpaqueType):
        return _restored(column.storage, written)
    if pa.types.is_null(written) and column.null_count == len(column):
        return pa.nulls(len(column))
    if pa.types.is_list(returned) and isinstance(returned.value_type, pa.BaseExtensionType):
        values = _restored(column.values, written.value_type)
        return pa.ListArray.from_arrays(column.offsets, values, mask=column.is_null()).cast(written)
    if isinstance(written, pa.UuidType) and not isinstance(returned, pa.BaseExtensionType):
        return _uuids(column)
    if isinstance(written, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(written, _restored(column, written.storage_type))
    if pa.types.is_interval(returned) and pa.types.is_duration(written):
        return _durations(column).cast(written)
    return schemas.conform_column(column, written)


def _uuids(column: pa.Array) -> pa.Array:
    """Convert UUIDs from their text of 36 characters."""
    # Arrow has no cast from text to UUID. The dashes are removed and the hexadecimal digits of all
    # rows decoded at once; nulls stand for zeros meanwhile, so that every row has its 16 bytes.
    texts = column.cast(pa.string()).fill_null(str(uuid.UUID(int=0)))
    if pc.any(pc.not_equal(pc.binary_length(texts), _UUID_LENGTH)).as_py():
        msg = "a UUID does not have 36 characters"
        raise pa.ArrowInvalid(msg)
    digits = pc.replace_substring(texts, "-", "")
    data = bytes.fromhex("".join(digits.to_pylist()))
    ids = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(column), [None, pa.py_buffer(data)]
    )
    nothing = pa.scalar(None, ids.type)
    return pa.ExtensionArray.from_storage(pa.uuid(), pc.if_else(column.is_null(), nothing, ids))


def _durations(column: pa.Array) -> pa.Array:
    """Convert intervals to durations; a month has no fixed length and is refused."""
    intervals = column.to_pylist()
    if any(each is not None and each.months for each in intervals):
        raise pa.ArrowInvalid("an interval with months is not a duration")
    made = [None if i is None else i.days * _DAY_NANOSECONDS + i.nanoseconds for i in intervals]
    return pa.array(made, pa.duration("ns"))
