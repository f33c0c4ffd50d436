"""Which fetched objects may be decoded early, before they are needed, and how."""

import time
from collections.abc import Callable, Iterable
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.decoding.decode_plan import DecodePlan, plan_from_page_headers
from s3pq_dagster.decoding.parquet_file import decode, footer_bytes, is_footer_within, open_file
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.object_bytes import DecodedObject, ObjectBytes
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_SHARE = 128
"""The rows of an object that is decoded early take at most this part of ``max_decoded_bytes``, and
so do its bytes and its footer: 8 MiB by default."""
_DECODING_SHARE = 16
"""Decoding it takes at most this part, for that while: 64 MiB by default. A bound by page headers
is far above what rows take: each row might have the longest value of its dictionary."""
_MOST_ROWS = 65_536
_MOST_COLUMNS = 64
_MOST_GROUPS = 16
_MOST_SECONDS = 2
"""Early decoding of one object is given up after so long."""
_COLUMN_BYTES = 4096
"""Bytes that a column takes in a parsed footer, and in a batch, besides its values; 3,400 were
measured."""


def build_fetcher(
    store: Store, objects: Iterable[ObjectMeta], spec: S3ParquetSpec, *, shares: int = 1
) -> Fetcher:
    """Build a :class:`Fetcher` that decodes small, ordinary objects while they wait."""
    within_bounds = partial(decode_early, spec=spec)
    return Fetcher(store, objects, spec, shares=shares, decode_early=within_bounds)


def decode_early(
    fetched: ObjectBytes,
    is_wanted: Callable[[], bool],
    *,
    spec: S3ParquetSpec,
    max_seconds: float = _MOST_SECONDS,
) -> DecodedObject | None:
    """Decode an object before it is needed, if its page headers show that this takes little.

    No sandbox process is started, and nothing is written to disk.

    Args:
        fetched: The object's bytes.
        is_wanted: Asked now and then; ``False`` ends the decoding.
        spec: The bounds of memory.
        max_seconds: Longest time it may take.

    Returns:
        All rows; ``None`` says nothing about the object, not even that it is malformed: it will be
        opened when it is needed.
    """
    until = time.monotonic() + max_seconds

    def check_wanted() -> None:
        if not is_wanted() or time.monotonic() > until:
            raise _GivenUpError

    try:
        with fetched.open() as source:
            return _decoded(source, spec.max_decoded_bytes, check_wanted)
    except Exception:  # noqa: BLE001 - the same is raised, and handled, when the object is needed
        return None


class _GivenUpError(Exception):
    """Decoding takes too long, or nobody wants the rows any more."""


def _decoded(
    source: pa.NativeFile, bound: int, check_wanted: Callable[[], None]
) -> DecodedObject | None:
    max_bytes = bound // _SHARE
    if source.size() > max_bytes or not is_footer_within(footer_bytes(source), max_bytes):
        return None
    file = open_file(source)
    footer = file.metadata
    if file.int96 or file.enums:  # their types are those of the table, which is not known here
        return None
    if not _is_ordinary(footer, max_bytes):
        return None
    rows = max(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
    # One batch a row group: each of many small batches would take far more than its values.
    plan = plan_from_page_headers(file, source, bound // _DECODING_SHARE, check_wanted, rows)
    if plan != DecodePlan(rows):
        return None
    batches: list[pa.RecordBatch] = []
    left, size = footer.num_rows, 0
    for batch in decode(file, rows):
        check_wanted()
        batches.append(batch)
        left -= batch.num_rows
        size += batch.get_total_buffer_size()
        # The pages may hold more than the footer states.
        if left < 0 or len(batches) > footer.num_row_groups or size > max_bytes:
            return None
    if left:
        return None
    size += _COLUMN_BYTES * footer.num_columns * (1 + len(batches))
    return DecodedObject(file.canonical_schema, footer.num_rows, batches, file, size)


def _is_ordinary(footer: pq.FileMetaData, max_bytes: int) -> bool:
    """Return whether the counts and sizes in a footer are those of a small file."""
    groups = range(footer.num_row_groups)
    stated_bytes = sum(max(0, footer.row_group(group).total_byte_size) for group in groups)
    return bool(
        0 < footer.num_columns <= _MOST_COLUMNS
        and 0 < footer.num_row_groups <= _MOST_GROUPS
        and 0 < footer.num_rows <= _MOST_ROWS
        and stated_bytes <= max_bytes
    )
