"""A stream of batches that a thread reads in advance, while its consumer is busy writing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import pyarrow as pa

_BUFFER_BYTES = 8 * 1024 * 1024


def read_in_background(
    batches: pa.RecordBatchReader, lock: AbstractContextManager[object] | None = None
) -> pa.RecordBatchReader:
    """Read the next batches in a thread while the consumer writes the ones before.

    The thread reads 8 MiB in advance, or one batch if that is larger. A consumer that stops early
    waits for nothing: the thread ends once it has read the part that it is at.

    Args:
        batches: The stream; nobody else may read it from now on, unless it holds ``lock``.
        lock: Held while the thread reads.

    Returns:
        The same batches in the same order.
    """

    def next_part() -> list[pa.RecordBatch]:
        taken, size = [], 0
        with lock or nullcontext():
            for batch in batches:
                taken.append(batch)
                size += batch.get_total_buffer_size()  # constant time; `nbytes` visits each column
                if size >= _BUFFER_BYTES:
                    break
        return taken

    def parts() -> Iterator[pa.RecordBatch]:
        pool = ThreadPoolExecutor(1, "s3pq-background")
        try:
            coming = pool.submit(next_part)
            while part := coming.result():
                coming = pool.submit(next_part)
                yield from part
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return pa.RecordBatchReader.from_batches(batches.schema, parts())
