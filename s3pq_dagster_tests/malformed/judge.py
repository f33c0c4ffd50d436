"""One file read by the real reader, and whether the result is allowed."""

import ctypes
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.destinations.duckdb.types import check_schema
from s3pq_dagster.errors import MalformedObjectError, SchemaMismatchError, UnsupportedSchemaError
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.readable_objects import ReadableObjects
from s3pq_dagster.reading.table_stream import Checkpoint, TableStream
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

RIGHT, QUARANTINED, REFUSED, WRONG = "right rows", "quarantined", "refused", "wrong"
_OURS = ["_cq_id", "_cq_parent_id", "_s3_key"]
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of reading a file."""

    outcome: str
    detail: str
    peak: int
    """Bytes by which reading the file raised the peak memory of the process."""
    seconds: float


def judge(
    store: Store, spec: S3ParquetSpec, body: bytes, found: ObjectMeta, rows: int | None
) -> Verdict:
    """Read an object, and compare the rows with those that pyarrow reads from the same bytes.

    Args:
        store: Where the object is.
        spec: The bounds.
        body: The object's bytes.
        found: The object.
        rows: The expected number of rows, if the file is too large for a comparison; negative if
            it must be quarantined.
    """
    counted = rows is not None
    with measured() as peak:
        started = time.monotonic()
        outcome, detail, batches, count = _read(store, spec, found, keep=not counted)
        seconds = time.monotonic() - started
    if outcome == RIGHT and counted and count != rows:
        outcome, detail = WRONG, f"{count} rows"
    elif outcome == RIGHT and not counted and (difference := _difference(body, batches)):
        outcome, detail = WRONG, difference
    elif outcome == QUARANTINED and counted and rows is not None and rows >= 0:
        outcome, detail = WRONG, f"quarantined: {detail}"
    return Verdict(outcome, detail, peak[0], seconds)


def _read(
    store: Store, spec: S3ParquetSpec, found: ObjectMeta, *, keep: bool
) -> tuple[str, str, list[pa.RecordBatch], int]:
    pending = Listing.of([found])
    batches: list[pa.RecordBatch] = []
    entries: list[Entry] = []
    count = 0
    log = logging.Logger("judge", logging.CRITICAL)  # noqa: LOG001 - outside the tree of loggers
    try:
        fetcher = build_fetcher(store, pending, spec)
        objects = ReadableObjects(fetcher, ProgressLog("t", pending, log))
        with TableStream(objects, None) as stream:
            for checkpoint in stream.checkpoints():
                if checkpoint.schema is not None:
                    check_schema(checkpoint.schema, None)
                for batch in _drained(checkpoint):
                    count += batch.num_rows
                    batches += [batch] if keep else []
                entries += checkpoint.entries
    except (SchemaMismatchError, UnsupportedSchemaError) as error:
        return REFUSED, str(error), [], 0
    (entry,) = entries
    if entry.status is Status.QUARANTINED:
        assert entry.reason
        return QUARANTINED, entry.reason, [], 0
    assert entry.rows == count
    return RIGHT, "", batches, count


def _drained(checkpoint: Checkpoint) -> Iterator[pa.RecordBatch]:
    # A large object is rolled back alone; its entry says so.
    with suppress(MalformedObjectError):
        yield from checkpoint.batches or ()


def _difference(body: bytes, found: list[pa.RecordBatch]) -> str:
    """Say in which column rows differ from those pyarrow reads; nothing where they are the same."""
    expected = pq.read_table(pa.BufferReader(body))
    if not found:
        return f"no rows instead of {expected.num_rows}" if expected.num_rows else ""
    got = pa.Table.from_batches(found)
    got = got.drop_columns([n for n in _OURS if n not in expected.column_names])
    if (got.num_rows, got.column_names) != (expected.num_rows, expected.column_names):
        return f"{got.num_rows} rows of {got.column_names} instead of {expected.num_rows}"
    for name, kind in zip(got.column_names, got.schema.types, strict=True):
        wanted = [schemas.conform_column(part, kind) for part in expected[name].chunks]
        if not _are_same(got[name], pa.chunked_array(wanted, kind)):
            return f"column {name!r} differs"
    return ""


def _are_same(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Compare values; as text if they are not equal, since NaN is equal to nothing."""
    return bool(one.equals(other)) or _written(one) == _written(other)


def _written(column: pa.ChunkedArray) -> str:
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return str(array.to_string(window=len(array), container_window=1000))


@contextmanager
def measured() -> Iterator[list[int]]:
    """Measure the peak growth of the process's memory."""
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(
        0
    )  # else memory that was freed before would be reused without being counted
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before, peak = _memory("VmRSS"), [0]
    try:
        yield peak
    finally:
        peak[0] = max(0, _memory("VmHWM") - before)


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found: Any = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found[1]) * _KIB
