"""A Parquet file decoded some columns at a time, where all together take too much memory."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.decoding.parquet_file import decode_group

MOST_PARTS = 64
"""Each is a file while a row group is decoded."""
_TOO_LARGE = (
    "decoded some columns at a time, a row group takes more of the disk than 16 times "
    "max_decoded_bytes; raise it if this machine has the room"
)
_UNEVEN = "the columns of a row group have different numbers of rows"


def decode_in_parts(
    file: pq.ParquetFile, rows_at_a_time: int, parts: Sequence[range], max_disk_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Decode the rows; every batch is checked and has canonical types.

    The columns of a part are decoded for a whole row group and put aside on disk; once all parts
    are there, their rows are read back side by side.

    Args:
        file: The opened file.
        rows_at_a_time: Of a batch.
        parts: Leaf columns, all of them in order; those of one column are in one part.
        max_disk_bytes: What a row group may take on disk.

    Raises:
        Exception: Whatever pyarrow has for a page that is none; :class:`ValueError` where a row
            group takes more, or its columns have different numbers of rows.
        OSError: The disk is full; it has an ``errno``.
    """
    for group in range(file.metadata.num_row_groups):
        with ExitStack() as opened:
            left, written = max_disk_bytes, []
            for part in parts:
                aside = opened.enter_context(tempfile.TemporaryFile(prefix="s3pq-"))
                left -= _put_aside(aside, decode_group(file, group, rows_at_a_time, part), left)
                written.append(aside)
            if not any(aside.tell() for aside in written):
                continue  # no rows
            if not all(aside.tell() for aside in written):
                raise ValueError(_UNEVEN)
            sources = [opened.enter_context(pa.OSFile(f"/dev/fd/{f.fileno()}")) for f in written]
            yield from _side_by_side([pa.ipc.open_stream(source) for source in sources])


def _put_aside(aside: IO[bytes], batches: Iterable[pa.RecordBatch], most: int) -> int:
    """Write batches into a file; give its bytes."""
    with ExitStack() as opened:
        writer: pa.RecordBatchWriter | None = None
        for batch in batches:
            if writer is None:
                writer = opened.enter_context(pa.ipc.new_stream(aside, batch.schema))
            if aside.tell() + batch.nbytes > most:
                raise ValueError(_TOO_LARGE)
            writer.write_batch(batch)
    aside.flush()
    return aside.tell()


def _side_by_side(parts: Sequence[pa.RecordBatchReader]) -> Iterator[pa.RecordBatch]:
    """Put the columns of all parts beside each other, as many rows at a time as all have."""
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
