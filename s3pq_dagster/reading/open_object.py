"""One object's bytes as checked Arrow batches, within bounds of memory and time."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.decoding.column_groups import decode_in_parts
from s3pq_dagster.decoding.decode_plan import Plan, safe_plan, usual_rows
from s3pq_dagster.decoding.parquet_file import decode, footer_bytes, is_footer_within, open_file
from s3pq_dagster.decoding.sandbox import rows_after_trial, too_slow
from s3pq_dagster.errors import DiskError, MalformedObjectError, ReadAbandonedError, TrialError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.spec import MIB, S3ParquetSpec

_KEPT_BYTES = 32 * MIB
"""Rows of a small object are kept up to this; one that has more of them is decoded twice."""
_REASON_CHARACTERS = 500
_DISK = 16
"""How many times the bound of memory a row group may take on disk, decoded in parts."""


@dataclass(slots=True, eq=False)
class OpenObject:
    """One object, opened as Parquet."""

    fetched: ObjectBytes
    schema: pa.Schema
    """Canonical, the file's own columns."""
    rows: int
    file: pq.ParquetFile
    plan: Plan
    spec: S3ParquetSpec
    while_waiting: Callable[[], None] = lambda: None
    """Called while a trial is waited for."""
    decoded: list[pa.RecordBatch] | None = None
    """All rows, where they were decoded whole."""
    _seconds: float = field(default=0.0, init=False)
    """Spent decoding so far."""

    @property
    def object(self) -> ObjectMeta:
        """The object as it was read."""
        return self.fetched.object

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.fetched.object.size

    def close(self) -> None:
        """Let go of the bytes; not while another thread decodes."""
        self.file.close(force=True)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give the rows; batches have the schema.

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
            yield batch
        if found != self.rows:
            reason = f"its footer says {self.rows} rows, its pages hold {found}"
            raise MalformedObjectError(self.object.key, reason)

    def _decoded(self) -> Iterator[pa.RecordBatch]:
        rows, parts = self.plan.rows, self.plan.parts
        if not parts:
            return decode(self.file, rows)
        most = _DISK * self.spec.max_decoded_bytes
        return decode_in_parts(self.file, rows, parts, most)

    def _next(self, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        started = time.monotonic()
        try:
            batch = next(batches, None)
        except Exception as error:
            if _is_doubtful(error):
                # It is the machine's, unless the same happens where there is enough of everything.
                # There all columns would be decoded together, and parts were chosen for a reason.
                if not self.plan.parts:
                    _try_apart(self.fetched, self.spec, self.plan.rows, self.while_waiting)
                raise
            if self.plan.parts and isinstance(error, OSError) and error.errno:
                aside = (
                    f"columns of object {self.object.key!r}, which has too many to decode together,"
                )
                raise DiskError(aside, tempfile.gettempdir(), str(error)) from error
            raise _malformed(self.object.key, error) from error
        self._seconds += time.monotonic() - started
        if self._seconds > self.spec.max_decode_seconds:
            raise MalformedObjectError(self.object.key, too_slow(self.spec.max_decode_seconds))
        return batch


def open_object(
    fetched: ObjectBytes,
    spec: S3ParquetSpec,
    *,
    whole: bool,
    on_batch: Callable[[], None] = lambda: None,
) -> OpenObject:
    """Open an object as Parquet.

    What cannot be shown to stay within the bounds by its page headers is decoded for trial in
    another process first.

    Args:
        fetched: Its bytes.
        spec: The bounds of memory and time.
        whole: Decode everything now, to find what is malformed before a row is handed on. The
            rows of a small object are kept if they are not many; others are decoded again. Nothing
            is left to do where it was opened ahead.
        on_batch: Called for each batch that is decoded now, and while a trial is waited for.

    Raises:
        MalformedObjectError: It cannot be read within the bounds, whatever is tried.
        TrialError: It could not be tried.
        StoreError: Its bytes could not be had.
    """
    if fetched.error is not None:
        raise fetched.error
    if (ahead := fetched.decoded) is not None:
        plan = Plan(max(1, ahead.rows))
        return OpenObject(
            fetched, ahead.schema, ahead.rows, ahead.file, plan, spec, on_batch, ahead.batches
        )
    key = fetched.object.key
    if fetched.object.size == 0:
        raise MalformedObjectError(key, "it has 0 bytes")
    try:
        opened = _opened(fetched, spec, on_batch)
    except (MalformedObjectError, TrialError, ReadAbandonedError):
        raise
    except Exception as error:
        raise _malformed(key, error) from error
    if whole:
        try:
            _decode_whole(opened, on_batch)
        except BaseException:
            opened.close()
            raise
    return opened


def _opened(fetched: ObjectBytes, spec: S3ParquetSpec, on_batch: Callable[[], None]) -> OpenObject:
    source = fetched.open()
    try:
        return _opened_source(source, fetched, spec, on_batch)
    except BaseException:
        source.close()
        raise


def _opened_source(
    source: pa.NativeFile,
    fetched: ObjectBytes,
    spec: S3ParquetSpec,
    on_batch: Callable[[], None],
) -> OpenObject:
    max_bytes = _decoding_bytes(spec)
    if not is_footer_within(footer_bytes(source), max_bytes):
        _try_apart(fetched, spec, 0, on_batch)
    file = open_file(source)
    schema = schemas.canonical(file.schema_arrow)
    if not schema.names and file.metadata.num_rows:
        reason = f"it has no columns, and {file.metadata.num_rows} rows of them"
        raise MalformedObjectError(fetched.object.key, reason)
    deadline = time.monotonic() + spec.max_decode_seconds

    def on_page() -> None:
        on_batch()
        if time.monotonic() > deadline:
            raise MalformedObjectError(fetched.object.key, too_slow(spec.max_decode_seconds))

    plan = safe_plan(file, source, max_bytes, on_page)
    if plan is None:
        plan = Plan(_try_apart(fetched, spec, usual_rows(file.metadata), on_batch))
    return OpenObject(fetched, schema, file.metadata.num_rows, file, plan, spec, on_batch)


def _decoding_bytes(spec: S3ParquetSpec) -> int:
    """Give half of the bound; the other half is for the copies on the way to the destination."""
    return max(1, spec.max_decoded_bytes // 2)


def _try_apart(
    fetched: ObjectBytes,
    spec: S3ParquetSpec,
    rows_at_a_time: int,
    while_waiting: Callable[[], None] = lambda: None,
) -> int:
    return rows_after_trial(
        fetched.object.key,
        fetched.data if fetched.spool is None else fetched.spool.fileno(),
        rows_at_a_time,
        max_bytes=_decoding_bytes(spec),
        max_seconds=spec.max_decode_seconds,
        while_waiting=while_waiting,
    )


def _decode_whole(opened: OpenObject, on_batch: Callable[[], None]) -> None:
    kept: list[pa.RecordBatch] | None = [] if opened.fetched.spool is None else None
    kept_bytes = 0
    for batch in opened.batches():
        on_batch()
        kept_bytes += batch.nbytes
        if kept is not None and kept_bytes <= min(_KEPT_BYTES, opened.spec.max_decoded_bytes // 4):
            kept.append(batch)
        else:
            kept = None
    opened.decoded = kept


def _is_doubtful(error: Exception) -> bool:
    """Tell whether an error may come of what this machine is short of: memory, threads."""
    return isinstance(error, MemoryError) or type(error) is pa.ArrowException  # "Unknown error"


def _malformed(key: str, error: Exception) -> MalformedObjectError:
    """Tell what is wrong with an object from what is wrong with this machine.

    Raises:
        Exception: The error itself, when memory, disk or descriptors ran out.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
        raise error
    return MalformedObjectError(key, f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS])
