"""One object's bytes as Arrow batches, every one of them checked."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.errors import MalformedObjectError
from s3pq_dagster.fetcher import Fetched
from s3pq_dagster.objects import ObjectMeta

_DECODE_ROWS = 65_536
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


def open_object(fetched: Fetched, *, whole: bool) -> OpenObject:
    """Open an object as Parquet.

    Args:
        fetched: Its bytes.
        whole: Decode everything now, to find what is malformed before a row is handed on. The
            rows of a small object are kept; a large one is decoded again.

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
        raise MalformedObjectError(key, _reason(error)) from error
    opened = OpenObject(fetched, schema, rows, file)
    if whole:
        decoded = list(_decode(file, rows, key)) if fetched.spool is None else None
        if decoded is None:
            for _ in _decode(file, rows, key):
                pass
        opened.decoded = decoded
    return opened


def _decode(file: pq.ParquetFile, rows: int, key: str) -> Iterator[pa.RecordBatch]:
    """Decode and check every batch; fewer rows than the footer says is an error too."""
    found = 0
    batches = file.iter_batches(batch_size=_DECODE_ROWS)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                break
            batch.validate(full=True)
        except Exception as error:
            raise MalformedObjectError(key, _reason(error)) from error
        found += batch.num_rows
        yield batch
    if found != rows:
        raise MalformedObjectError(key, f"its footer says {rows} rows, its pages hold {found}")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS]
