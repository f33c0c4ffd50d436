"""How a Parquet file is decoded a few columns at a time, if all together take too much memory."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import IO

import pyarrow as pa

from s3pq_dagster.decoding.parquet_file import OpenedFile, decode_group

MOST_COLUMN_GROUPS = 64
"""Most groups of columns: each has a temporary file while a row group is decoded."""
_TOO_LARGE = (
    "decoded some columns at a time, a row group takes more of the disk than 16 times "
    "max_decoded_bytes; raise it if this machine has the room"
)
_UNEVEN = "the columns of a row group have different numbers of rows"


def decode_column_groups(
    file: OpenedFile, rows_at_a_time: int, column_groups: Sequence[range], max_disk_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Decode the rows; every batch is validated and has canonical types.

    For each row group, the columns of a column group are decoded and spooled to a temporary file.
    Once all column groups are spooled, their rows are read back side by side.

    Args:
        file: The opened file.
        rows_at_a_time: Most rows in a batch.
        column_groups: Indices of leaf columns, all of them in order. The leaves of one column are
            in one group.
        max_disk_bytes: Most bytes that a row group may take on disk.

    Raises:
        Exception: Whatever pyarrow raises for a page that cannot be decoded; :class:`ValueError`
            if a row group takes more disk, or its columns have different numbers of rows.
        OSError: The disk is full. The error has an ``errno``.
    """
    for group in range(file.metadata.num_row_groups):
        with ExitStack() as opened:
            left, written = max_disk_bytes, []
            for leaves in column_groups:
                spool = opened.enter_context(tempfile.TemporaryFile(prefix="s3pq-"))
                left -= _spool(spool, decode_group(file, group, rows_at_a_time, leaves), left)
                written.append(spool)
            if not any(spool.tell() for spool in written):
                continue  # no rows
            if not all(spool.tell() for spool in written):
                raise ValueError(_UNEVEN)
            sources = [opened.enter_context(pa.OSFile(f"/dev/fd/{f.fileno()}")) for f in written]
            yield from _side_by_side([pa.ipc.open_stream(source) for source in sources])


def _spool(spool: IO[bytes], batches: Iterable[pa.RecordBatch], most: int) -> int:
    """Write batches into a file, and return its size in bytes."""
    with ExitStack() as opened:
        writer: pa.RecordBatchWriter | None = None
        for batch in batches:
            if writer is None:
                writer = opened.enter_context(pa.ipc.new_stream(spool, batch.schema))
            if spool.tell() + batch.nbytes > most:
                raise ValueError(_TOO_LARGE)
            writer.write_batch(batch)
    spool.flush()
    return spool.tell()


def _side_by_side(parts: Sequence[pa.RecordBatchReader]) -> Iterator[pa.RecordBatch]:
    """Join the columns of all streams; a batch has as many rows as every stream has ready."""
    schema = pa.schema([field for part in parts for field in part.schema])
    none = pa.record_batch([], schema=pa.schema([]))
    heads = [next(part, none) for part in parts]
    while rows := min(head.num_rows for head in heads):
        columns = [column for head in heads for column in head.slice(0, rows).columns]
        yield pa.record_batch(columns, schema=schema)
        rests = [head.slice(rows) for head in heads]
        heads = [
            rest if rest.num_rows else next(part, none)
            for rest, part in zip(rests, parts, strict=True)
        ]
    if any(head.num_rows for head in heads):
        raise ValueError(_UNEVEN)
