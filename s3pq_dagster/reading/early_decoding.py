"""Small, ordinary objects decoded before their turn; any other one is left to it."""

import time
from collections.abc import Callable, Iterable
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.decoding.decode_plan import Plan, safe_plan
from s3pq_dagster.decoding.parquet_file import decode, footer_bytes, is_footer_within, open_file
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.object_bytes import DecodedObject, ObjectBytes
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_SHARE = 128
"""Decoding an object ahead takes at most this part of ``max_decoded_bytes``, and so do its rows:
8 MiB by default."""
_MOST_ROWS = 65_536
_MOST_COLUMNS = 64
_MOST_GROUPS = 16
_SECONDS = 2
"""After these an object is left to its turn."""
_COLUMN_BYTES = 4096
"""What a column takes in a footer that was read, and in a batch, whatever is in it: 3,400 were
seen."""


def build_fetcher(
    store: Store, objects: Iterable[ObjectMeta], spec: S3ParquetSpec, *, shares: int = 1
) -> Fetcher:
    """Fetch objects, and open small, ordinary ones while they wait; see :class:`Fetcher`."""
    opening = partial(decode_early, spec=spec)
    return Fetcher(store, objects, spec, shares=shares, decode_early=opening)


def decode_early(
    fetched: ObjectBytes, is_wanted: Callable[[], bool], *, spec: S3ParquetSpec
) -> DecodedObject | None:
    """Decode an object before its turn, if its page headers show that this takes little.

    Nothing is tried in another process, and nothing is written to a disk.

    Args:
        fetched: Its bytes.
        is_wanted: Asked now and then; where it says no, this ends.
        spec: The bounds.

    Returns:
        ``None`` says nothing about the object: its turn will tell what there is to tell.
    """
    until = time.monotonic() + _SECONDS

    def go_on() -> None:
        if not is_wanted() or time.monotonic() > until:
            raise _LeftToItsTurnError

    try:
        with fetched.open() as source:
            return _opened(source, spec.max_decoded_bytes // _SHARE, go_on)
    except Exception:  # noqa: BLE001 - the same comes again when it is its turn, and is told then
        return None


class _LeftToItsTurnError(Exception):
    """This is not for now."""


def _opened(source: pa.NativeFile, most: int, go_on: Callable[[], None]) -> DecodedObject | None:
    if source.size() > most or not is_footer_within(footer_bytes(source), most):
        return None
    file = open_file(source)
    footer = file.metadata
    if not _is_ordinary(footer, most):
        return None
    rows = max(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
    # One batch a row group: of many small ones each takes far more than its values.
    if safe_plan(file, source, most, go_on, rows) != Plan(rows):
        return None
    batches: list[pa.RecordBatch] = []
    left, size = footer.num_rows, 0
    for batch in decode(file, rows):
        go_on()
        batches.append(batch)
        left -= batch.num_rows
        size += batch.get_total_buffer_size()
        # Its pages may hold more than it says.
        if left < 0 or len(batches) > footer.num_row_groups or size > most:
            return None
    if left:
        return None
    size += _COLUMN_BYTES * footer.num_columns * (1 + len(batches))
    return DecodedObject(schemas.canonical(file.schema_arrow), footer.num_rows, batches, file, size)


def _is_ordinary(footer: pq.FileMetaData, most: int) -> bool:
    """Tell by what a footer says of its file whether it is worth a closer look."""
    groups = range(footer.num_row_groups)
    said_bytes = sum(max(0, footer.row_group(group).total_byte_size) for group in groups)
    return bool(
        0 < footer.num_columns <= _MOST_COLUMNS
        and 0 < footer.num_row_groups <= _MOST_GROUPS
        and 0 < footer.num_rows <= _MOST_ROWS
        and said_bytes <= most
    )
