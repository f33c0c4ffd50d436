"""One object's bytes as Arrow batches, every one of them checked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.errors import MalformedObjectError
from s3pq_dagster.fetcher import Fetched
from s3pq_dagster.objects import ObjectMeta

_DECODE_ROWS = 65_536
_DECODE_BYTES = 64 * 1024 * 1024
"""Rows and bytes decoded at a time, at most, whichever is fewer."""
_REASON_CHARACTERS = 500


@dataclass(slots=True, eq=False)
class OpenObject:
    """One object, opened as Parquet."""

    fetched: Fetched
    schema: pa.Schema
    """Canonical, the file's own columns."""
    rows: int
    file: pq.ParquetFile
    decoded: list[pa.RecordBatch] | None = None
    """All rows, where they were decoded whole."""

    @property
    def object(self) -> ObjectMeta:
        """The object as it was read."""
        return self.fetched.object

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.fetched.object.size

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Decode the rows.

        Raises:
            MalformedObjectError: A page cannot be decoded, or rows are missing.
        """
        if self.decoded is not None:
            yield from self.decoded
            return
        yield from _decode(self.file, self.rows, self.object.key)


def open_object(
    fetched: Fetched, *, whole: bool, on_batch: Callable[[], None] = lambda: None
) -> OpenObject:
    """Open an object as Parquet.

    Args:
        fetched: Its bytes.
        whole: Decode everything now, to find what is malformed before a row is handed on. The
            rows of a small object are kept; a large one is decoded again.
        on_batch: Called for each batch that is decoded now.

    Raises:
        MalformedObjectError: It cannot be read, whatever is tried.
        StoreError: Its bytes could not be had.
    """
    if fetched.error is not None:
        raise fetched.error
    key = fetched.object.key
    if fetched.object.size == 0:
        raise MalformedObjectError(key, "it has 0 bytes")
    try:
        file = pq.ParquetFile(
            fetched.open(),
            pre_buffer=False,
            buffer_size=1024 * 1024,
            page_checksum_verification=True,
        )
        schema = schemas.canonical(file.schema_arrow)
        rows = file.metadata.num_rows
    except Exception as error:
        raise _malformed(key, error) from error
    opened = OpenObject(fetched, schema, rows, file)
    if whole:
        kept = []
        for batch in _decode(file, rows, key):
            on_batch()
            if fetched.spool is None:
                kept.append(batch)
        opened.decoded = kept if fetched.spool is None else None
    return opened


def _decode(file: pq.ParquetFile, rows: int, key: str) -> Iterator[pa.RecordBatch]:
    """Decode and check every batch; fewer rows than the footer says is an error too."""
    found = 0
    batches = file.iter_batches(batch_size=_rows_at_a_time(file.metadata))
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                break
            batch.validate(full=True)
        except Exception as error:
            raise _malformed(key, error) from error
        found += batch.num_rows
        yield batch
    if found != rows:
        raise MalformedObjectError(key, f"its footer says {rows} rows, its pages hold {found}")


def _rows_at_a_time(metadata: pq.FileMetaData) -> int:
    """Decode fewer rows at a time where rows are wide."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    decoded_bytes: int = sum(group.total_byte_size for group in groups)
    row_bytes = max(1, decoded_bytes // max(1, int(metadata.num_rows)))
    return max(1, min(_DECODE_ROWS, _DECODE_BYTES // row_bytes))


def _malformed(key: str, error: Exception) -> MalformedObjectError:
    """Tell what is wrong with an object from what is wrong with this machine.

    Raises:
        Exception: The error itself, when memory, disk or descriptors ran out.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
        raise error
    return MalformedObjectError(key, f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS])
