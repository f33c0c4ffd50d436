"""Reading and writing side by side."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

_AHEAD_BYTES = 8 * 1024 * 1024


def read_in_background(batches: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Read on in a thread of its own while what was read is written.

    A part of 8 MiB, or one batch, is read ahead. Whoever stops early waits for nothing: the thread
    ends with the part it is at.

    Args:
        batches: The stream, which nobody else reads from now on.
    """

    def part() -> list[pa.RecordBatch]:
        taken, size = [], 0
        for batch in batches:
            taken.append(batch)
            size += batch.get_total_buffer_size()  # at once; `nbytes` looks at each column
            if size >= _AHEAD_BYTES:
                break
        return taken

    def parts() -> Iterator[pa.RecordBatch]:
        pool = ThreadPoolExecutor(1, "s3pq-ahead")
        try:
            coming = pool.submit(part)
            while some := coming.result():
                coming = pool.submit(part)
                yield from some
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return pa.RecordBatchReader.from_batches(batches.schema, parts())
