"""The background reader keeps the order, reads a bounded part in advance, and ends early."""

import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from s3pq_dagster.loading.background_reader import read_in_background

SCHEMA = pa.schema({"id": pa.int64()})
MIB_OF_ROWS = 1024 * 1024 // 8


def batch(start: int, rows: int) -> pa.RecordBatch:
    """Make a batch of consecutive numbers."""
    return pa.record_batch([pa.array(np.arange(start, start + rows))], schema=SCHEMA)


def stream(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    """Read batches in the background."""
    return read_in_background(pa.RecordBatchReader.from_batches(SCHEMA, batches))


@pytest.mark.parametrize("rows", [1, 500, MIB_OF_ROWS, 20 * MIB_OF_ROWS])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_every_row_comes_once_and_in_order(rows: int, count: int) -> None:
    """Whatever the size of the batches, and if there are none."""
    made = (batch(number * rows, rows) for number in range(count))
    found = stream(made).read_all().column("id").to_numpy()
    assert np.array_equal(found, np.arange(count * rows))


def test_what_the_stream_raises_is_raised() -> None:
    """The exception is passed on unchanged, after some rows or before the first."""

    def broken(good: int) -> Iterator[pa.RecordBatch]:
        for number in range(good):
            yield batch(number, MIB_OF_ROWS)
        raise LookupError

    for good in (0, 1, 20):
        with pytest.raises(LookupError):
            stream(broken(good)).read_all()


def test_a_part_is_read_while_the_one_before_is_written() -> None:
    """Eight MiB are read in advance, and no more."""
    taken = []
    enough = threading.Event()

    def counted() -> Iterator[pa.RecordBatch]:
        for number in range(64):
            taken.append(number)
            if len(taken) == 16:
                enough.set()
            yield batch(number, MIB_OF_ROWS)

    reader = stream(counted())
    reader.read_next_batch()
    assert enough.wait(20)
    assert len(taken) == 16  # 8 MiB being written, 8 MiB that come next


def test_nobody_waits_for_a_stream_that_is_not_wanted_any_more() -> None:
    """Closing the reader does not wait for a stalled stream; its thread ends with its part."""
    go_on = threading.Event()

    def stalled() -> Iterator[pa.RecordBatch]:
        for number in range(8):
            yield batch(number, MIB_OF_ROWS)
        go_on.wait(60)
        yield batch(8, 1)

    reader = stream(stalled())
    reader.read_next_batch()
    reader.close()
    del reader
    before = [thread for thread in threading.enumerate() if "s3pq-background" in thread.name]
    go_on.set()
    for thread in before:
        thread.join(20)
        assert not thread.is_alive()
