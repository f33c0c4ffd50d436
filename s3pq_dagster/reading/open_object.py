"""One object's bytes as checked Arrow batches, within bounds of memory and time."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from s3pq_dagster.decoding.column_groups import decode_column_groups
from s3pq_dagster.decoding.decode_plan import DecodePlan, plan_from_page_headers, usual_rows
from s3pq_dagster.decoding.parquet_file import (
    END_BYTES,
    OpenedFile,
    decode,
    footer_bytes,
    footer_fault,
    is_footer_within,
    open_file,
)
from s3pq_dagster.decoding.sandbox import decode_in_sandbox, reason_too_slow
from s3pq_dagster.errors import DiskError, MalformedObjectError, ReadAbandonedError, TrialError
from s3pq_dagster.layout.key_columns import KeyColumn, missing_in, with_columns
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.blame import blamed, is_doubtful
from s3pq_dagster.reading.object_bytes import DecodedObject, ObjectBytes
from s3pq_dagster.spec import MIB, S3ParquetSpec

_KEPT_BYTES = 32 * MIB
"""Decoded rows of a small object are kept if they take no more; otherwise it is decoded twice."""
CheckRows = Callable[[pa.RecordBatch, str], None]
"""Raises RefusedObjectError for rows of the object with a key that are not to be loaded."""
_DISK_FACTOR = 16
"""A row group decoded in groups of columns may take so many times the bound of memory on disk."""


@dataclass(slots=True, eq=False)
class OpenObject:
    """One object, opened as Parquet; :meth:`close` it before its bytes are freed."""

    fetched: ObjectBytes
    schema: pa.Schema
    """Canonical schema of the file's own columns, and of those that :attr:`key_columns` adds."""
    rows: int
    """Number of rows that the footer states."""
    file: OpenedFile
    plan: DecodePlan
    spec: S3ParquetSpec
    while_waiting: Callable[[], None] = lambda: None
    """Called while a sandbox process is waited for."""
    decoded: list[pa.RecordBatch] | None = None
    """All rows, if they were decoded and kept; with ``None`` they are decoded as they stream."""
    check_rows: CheckRows | None = None
    """Called with each batch before it is handed on, until all rows are known to pass."""
    key_columns: list[KeyColumn] = field(default_factory=list)
    """Columns that the object's key makes, and the file has not."""
    _seconds: float = field(default=0.0, init=False)
    """Time spent decoding so far."""

    @property
    def object(self) -> ObjectMeta:
        """The object as it was read."""
        return self.fetched.object

    @property
    def size(self) -> int:
        """Size of the object in bytes."""
        return self.fetched.object.size

    def close(self) -> None:
        """Close the file; not while another thread decodes it."""
        self.file.close(force=True)

    def add_key_columns(self, columns: Sequence[KeyColumn]) -> None:
        """Add the columns that the key makes, but for those that the file has itself."""
        if columns and (missing := missing_in(self.schema, columns)):
            self.key_columns, self.schema = missing, with_columns(self.schema, missing)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order; each batch has :attr:`schema`.

        Raises:
            MalformedObjectError: A page cannot be decoded, rows are missing, or it takes too long.
        """
        for batch in self.own_batches():
            added = [column.repeated(batch.num_rows) for column in self.key_columns]
            yield pa.record_batch([*batch.columns, *added], self.schema) if added else batch

    def own_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the file's own columns.

        Raises:
            MalformedObjectError: A page cannot be decoded, rows are missing, or it takes too long.
        """
        if self.decoded is not None:
            yield from self.decoded
            return
        found, self._seconds = 0, 0.0
        batches = self._decoded()
        while (batch := self._next(batches)) is not None:
            found += batch.num_rows
            if self.check_rows is not None:
                self.check_rows(batch, self.object.key)
            yield batch
        if found != self.rows:
            reason = f"its footer says {self.rows} rows, its pages hold {found}"
            raise MalformedObjectError(self.object.key, reason)

    def _decoded(self) -> Iterator[pa.RecordBatch]:
        rows, parts = self.plan.rows, self.plan.column_groups
        if not parts:
            return decode(self.file, rows)
        most = _DISK_FACTOR * self.spec.max_decoded_bytes
        return decode_column_groups(self.file, rows, parts, most)

    def _next(self, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        started = time.monotonic()
        try:
            batch = next(batches, None)
        except Exception as error:
            if is_doubtful(error):
                # The machine is short of something, unless the same happens in a sandbox process,
                # which raises MalformedObjectError. Not for a plan in groups of columns: a sandbox
                # process decodes all columns together, which is what the plan avoids.
                if not self.plan.column_groups:
                    _rows_after_sandbox(self.fetched, self.spec, self.plan.rows, self.while_waiting)
                raise
            if self.plan.column_groups and isinstance(error, OSError) and error.errno:
                held = f"columns of object {self.object.key!r}, too many to decode together,"
                raise DiskError(held, tempfile.gettempdir(), str(error)) from error
            raise blamed(self.object.key, error) from error
        self._seconds += time.monotonic() - started
        if self._seconds > self.spec.max_decode_seconds:
            raise MalformedObjectError(
                self.object.key, reason_too_slow(self.spec.max_decode_seconds)
            )
        return batch


def open_object(
    fetched: ObjectBytes,
    spec: S3ParquetSpec,
    *,
    whole: bool,
    wanted: pa.Schema | None = None,
    on_batch: Callable[[], None] = lambda: None,
    check_rows: CheckRows | None = None,
) -> OpenObject:
    """Open an object as Parquet.

    One whose page headers do not show that it stays within the bounds is tried in a sandbox first.

    Args:
        fetched: The object's bytes.
        spec: The bounds of memory and time.
        whole: Decode everything now, to find malformed pages before a row is handed on. Rows of a
            small object are kept if they are not many; others are decoded again.
        wanted: The table's schema, if it is known; see :func:`open_file`.
        on_batch: Called for each batch decoded now, and while a sandbox is waited for; may raise.
        check_rows: Called with what is decoded now or, with ``whole=False``, as the rows stream.

    Raises:
        MalformedObjectError: It cannot be read within the bounds.
        RefusedObjectError: A value cannot be stored.
        TrialError: The sandbox process could not be started.
        StoreError: Its bytes could not be fetched.
        DiskError: Its temporary file failed.
    """
    if fetched.error is not None:
        raise fetched.error
    if fetched.decoded is not None:
        return _decoded_early(fetched, fetched.decoded, spec, check_rows)
    opened = _open(fetched, spec, wanted, on_batch)
    opened.check_rows = check_rows
    if whole:
        _decode_whole(opened, on_batch)
    return opened


def _decoded_early(
    fetched: ObjectBytes,
    early: DecodedObject,
    spec: S3ParquetSpec,
    check_rows: CheckRows | None,
) -> OpenObject:
    if check_rows is not None:
        for batch in early.batches:
            check_rows(batch, fetched.object.key)
    plan = DecodePlan(max(1, early.rows))
    return OpenObject(
        fetched, early.schema, early.rows, early.file, plan, spec, decoded=early.batches
    )


def _open(
    fetched: ObjectBytes,
    spec: S3ParquetSpec,
    wanted: pa.Schema | None,
    on_batch: Callable[[], None],
) -> OpenObject:
    try:
        source = fetched.open()
        try:
            return _open_source(source, fetched, spec, wanted, on_batch)
        except BaseException:
            source.close()
            raise
    except (MalformedObjectError, TrialError, ReadAbandonedError):
        raise
    except Exception as error:
        raise blamed(fetched.object.key, error) from error


def _open_source(
    source: pa.NativeFile,
    fetched: ObjectBytes,
    spec: S3ParquetSpec,
    wanted: pa.Schema | None,
    on_batch: Callable[[], None],
) -> OpenObject:
    max_bytes, size = _decoding_bytes(spec), source.size()
    end = source.read_at(END_BYTES, size - END_BYTES) if size >= END_BYTES else b""
    if (fault := footer_fault(end, size)) is not None:
        raise MalformedObjectError(fetched.object.key, fault)
    if not is_footer_within(footer_bytes(source), max_bytes):
        _rows_after_sandbox(fetched, spec, 0, on_batch)
    file = open_file(source, wanted)
    schema = file.canonical_schema
    if not schema.names and file.rows:
        reason = f"it has {file.rows} rows, and no columns"
        raise MalformedObjectError(fetched.object.key, reason)
    deadline = time.monotonic() + spec.max_decode_seconds

    def on_page() -> None:
        on_batch()
        if time.monotonic() > deadline:
            raise MalformedObjectError(fetched.object.key, reason_too_slow(spec.max_decode_seconds))

    plan = plan_from_page_headers(file, source, max_bytes, on_page)
    if plan is None:
        plan = DecodePlan(_rows_after_sandbox(fetched, spec, usual_rows(file.metadata), on_batch))
    return OpenObject(fetched, schema, file.rows, file, plan, spec, on_batch)


def _decoding_bytes(spec: S3ParquetSpec) -> int:
    """Return half of the bound; the other half is for the copies on the way to the destination."""
    return max(1, spec.max_decoded_bytes // 2)


def _rows_after_sandbox(
    fetched: ObjectBytes,
    spec: S3ParquetSpec,
    rows_at_a_time: int,
    while_waiting: Callable[[], None] = lambda: None,
) -> int:
    return decode_in_sandbox(
        fetched.object.key,
        fetched.data if fetched.spool is None else fetched.spool.fileno(),
        rows_at_a_time,
        max_bytes=_decoding_bytes(spec),
        max_seconds=spec.max_decode_seconds,
        while_waiting=while_waiting,
    )


def _decode_whole(opened: OpenObject, on_batch: Callable[[], None]) -> None:
    """Decode all rows now; keep those of a small object if they are not many."""
    most = min(_KEPT_BYTES, opened.spec.max_decoded_bytes // 4)
    kept: list[pa.RecordBatch] | None = [] if opened.fetched.spool is None else None
    kept_bytes = 0
    try:
        for batch in opened.batches():
            on_batch()
            kept_bytes += batch.nbytes
            if kept is not None and kept_bytes <= most:
                kept.append(batch)
            else:
                kept = None
    except BaseException:
        opened.close()
        raise
    opened.decoded, opened.check_rows = kept, None
