"""Objects decoded early, while they wait to be taken."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s3pq_dagster.errors import MalformedObjectError, ReadAbandonedError
from s3pq_dagster.reading.early_decoding import build_fetcher, decode_early
from s3pq_dagster.reading.early_queue import EarlyQueue
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.object_bytes import DecodedObject, ObjectBytes
from s3pq_dagster.reading.open_object import OpenObject, open_object
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.readable_objects import ReadableObjects
from s3pq_dagster.reading.table_stream import TableStream
from s3pq_dagster.spec import MIB
from s3pq_dagster_tests.buckets import Bucket, numbers, parquet
from s3pq_dagster_tests.unit.decoding.test_sandbox import children, wait_until
from s3pq_dagster_tests.unit.made import listed, meta, opened, spec
from s3pq_dagster_tests.unit.threads import none_left

SECONDS = 20


class Decoder:
    """A way of decoding that can be made to wait; it records which objects it began."""

    def __init__(self, held_bytes: int = MIB) -> None:
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.begun: list[str] = []
        self._held_bytes = held_bytes

    def __call__(self, fetched: ObjectBytes, is_wanted: Callable[[], bool]) -> DecodedObject | None:
        self.begun.append(fetched.object.key)
        while is_wanted() and not self.may_go_on.wait(0.01):
            pass
        if not is_wanted():
            return None
        rows = parquet(numbers(1))
        found = decode_early(whole(rows), is_wanted, spec=spec())
        return None if found is None else replace(found, held_bytes=self._held_bytes)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """No decoding thread is left once everything is closed."""
    with none_left("s3pq-decode"):
        yield


def many(count: int) -> list[ObjectBytes]:
    """Make so many fetched objects."""
    return [ObjectBytes(meta(f"k{number}"), parts_left=0) for number in range(count)]


def whole(body: bytes) -> ObjectBytes:
    """Make a fetched object with this body."""
    return ObjectBytes(meta("k", size=len(body)), data=body, parts_left=0)


def held_back(*waiting: ObjectBytes) -> tuple[Decoder, EarlyQueue]:
    """Queue objects; decoding the first takes until the decoder may go on."""
    decoder = Decoder()
    decoder.may_go_on.clear()
    queue = EarlyQueue(decoder, MIB)
    for fetched in waiting:
        queue.add(fetched)
    wait_until(lambda: decoder.begun == ["k0"])
    return decoder, queue


def wanted() -> bool:
    """Return that somebody still wants the rows."""
    return True


def nothing() -> None:
    """Do nothing while something is waited for."""


def rows(of: OpenObject) -> pa.Table:
    """Read all rows of an object."""
    return pa.Table.from_batches(list(of.batches()))


def test_objects_are_decoded_up_to_the_bound_and_then_as_others_are_released() -> None:
    """Rows take more memory than the bytes they come from."""
    decoder, waiting = Decoder(), many(5)
    queue = EarlyQueue(decoder, 3 * MIB)
    for fetched in waiting:
        queue.add(fetched)
    wait_until(lambda: waiting[2].decoded is not None)
    assert decoder.begun == ["k0", "k1", "k2"]
    queue.release(waiting[0])
    wait_until(lambda: waiting[3].decoded is not None)
    assert decoder.begun == ["k0", "k1", "k2", "k3"]
    assert waiting[0].decoded is None
    queue.close(wait=True)


def test_the_smallest_objects_count_against_the_bound() -> None:
    """Each counts as 64 KiB at least: its footer takes memory, whatever its rows take."""
    decoder, waiting = Decoder(held_bytes=0), many(9)
    queue = EarlyQueue(decoder, 4 * 64 * 1024)
    for fetched in waiting:
        queue.add(fetched)
    wait_until(lambda: waiting[3].decoded is not None)
    queue.close(wait=True)
    assert decoder.begun == ["k0", "k1", "k2", "k3"]
    assert not any(fetched.decoded for fetched in waiting)


def test_an_object_is_waited_for_only_while_it_is_being_decoded() -> None:
    """One that is still queued leaves the queue: its consumer decodes it."""
    first, second = many(2)
    decoder, queue = held_back(first, second)
    queue.settle(second, nothing)
    settled = threading.Event()

    def settle() -> None:
        queue.settle(first, nothing)
        assert first.decoded is not None
        settled.set()

    asking = threading.Thread(target=settle)
    asking.start()
    assert not settled.wait(0.1)
    decoder.may_go_on.set()
    assert settled.wait(SECONDS)
    asking.join()
    queue.close(wait=True)
    assert decoder.begun == ["k0"]


def test_closing_stops_the_decoding_under_way() -> None:
    """A cancelled run does not wait for it."""
    first, second = many(2)
    decoder, queue = held_back(first, second)
    queue.close(wait=True)
    assert decoder.begun == ["k0"]
    assert first.decoded is None


def test_nobody_waits_for_ever_for_a_decoder_that_panicked() -> None:
    """A library's panic is no subclass of Exception."""
    begun = threading.Event()

    def panic(_fetched: ObjectBytes, _is_wanted: Callable[[], bool]) -> DecodedObject | None:
        begun.set()
        raise SystemExit

    queue = EarlyQueue(panic, MIB)
    (only,) = many(1)
    queue.add(only)
    assert begun.wait(SECONDS)
    queue.settle(only, nothing)
    assert only.decoded is None
    queue.close(wait=True)


def test_a_cancel_ends_the_wait_for_a_decoding() -> None:
    """The callback runs every second of the wait, and may raise."""
    (only,) = many(1)
    _, queue = held_back(only)

    def cancelled() -> None:
        raise ReadAbandonedError

    with pytest.raises(ReadAbandonedError):
        queue.settle(only, cancelled)
    queue.close(wait=True)


def test_an_object_queued_after_close_is_not_kept() -> None:
    """A request may end later than the run that made it."""
    decoder, (only,) = Decoder(), many(1)
    queue = EarlyQueue(decoder, MIB)
    queue.close(wait=True)
    queue.add(only)
    assert decoder.begun == []
    assert sys.getrefcount(only) <= 3  # `only`, the argument, and pytest's look at the line


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"row_group_size": 300}])
def test_rows_decoded_early_are_those_decoded_when_needed(options: dict[str, object]) -> None:
    """Whatever the compression and the size of row groups."""
    table = pa.table(
        {
            "id": range(3000),
            "name": [f"name {i % 7}" for i in range(3000)],
            "tags": [["a"] * (i % 3) for i in range(3000)],
        }
    )
    fetched = whole(parquet(table, **options))
    when_needed = open_object(fetched, spec(), whole=True)
    fetched.decoded = decode_early(fetched, wanted, spec=spec())
    assert fetched.decoded is not None
    assert fetched.decoded.held_bytes > table.nbytes
    early = open_object(fetched, spec(), whole=True)
    assert early.rows == when_needed.rows == 3000
    assert early.schema == when_needed.schema
    assert rows(early).equals(rows(when_needed))
    early.close()
    when_needed.close()


def one_page_a_column(columns: dict[str, pa.Array]) -> bytes:
    """Write columns with all values in one page, as they are."""
    return parquet(
        pa.table(columns), use_dictionary=False, compression="none", data_page_size=2**30
    )


NOT_DECODED = {
    "nothing": b"",
    "its magic": b"PAR1",
    "text": b"no Parquet at all",
    "cut off": parquet(numbers(1000))[:-20],
    "no row": parquet(numbers(0)),
    "many rows": parquet(numbers(70_000)),
    "many columns": parquet(pa.table({f"c{n}": [1] for n in range(100)})),
    "many row groups": parquet(numbers(100), row_group_size=1),
    "many nulls": parquet(pa.table({"nothing": pa.nulls(2_000_000)})),
    "a wide struct that fits in with few rows at a time": one_page_a_column(
        {
            "wide": pa.StructArray.from_arrays(
                [pa.array([True, False] * 30_000)] * 60, [f"f{n}" for n in range(60)]
            )
        }
    ),
    "columns that fit in some at a time": one_page_a_column(
        {f"c{n}": pa.array(range(20_000)) for n in range(40)}
    ),
}


@pytest.mark.parametrize("body", NOT_DECODED.values(), ids=NOT_DECODED)
def test_what_is_not_small_and_ordinary_is_not_decoded_early(body: bytes) -> None:
    """Decoding it may take another process, the disk, or far more memory than its values."""
    before = children()
    fetched = whole(body)
    assert decode_early(fetched, wanted, spec=spec(max_decoded_bytes=512 * MIB)) is None
    assert fetched.error is None
    assert children() == before


def test_a_footer_that_states_too_few_rows_is_found_out_when_needed() -> None:
    """The file's number of rows is wrong; those of its row groups are right."""
    body = parquet(numbers(3000))
    length = int.from_bytes(body[-8:-4], "little")
    data, footer = body[: -8 - length], body[-8 - length :]
    lie = data + footer.replace(b"\xf0\x2e", b"\x86\x00", 1)  # zigzag varints of 3000 and 3
    assert pq.ParquetFile(pa.BufferReader(lie)).metadata.num_rows == 3
    assert decode_early(whole(lie), wanted, spec=spec()) is None
    with pytest.raises(MalformedObjectError, match="says 3 rows, its pages hold 3000"):
        open_object(whole(lie), spec(), whole=True)


def test_an_object_that_nobody_wants_is_not_decoded() -> None:
    """The run was cancelled."""
    body = parquet(numbers(10))
    assert decode_early(whole(body), wanted, spec=spec()) is not None
    assert decode_early(whole(body), lambda: False, spec=spec()) is None


def test_decoding_that_takes_long_is_given_up() -> None:
    """Whoever needs the object would have to wait for that first."""
    body = whole(parquet(numbers(10)))
    assert decode_early(body, wanted, spec=spec(), max_seconds=0) is None


def test_a_stream_takes_the_rows_that_were_decoded_early(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is decoded twice: here there are no bytes left to decode."""
    for number in range(3):
        bucket.put(f"k{number}", parquet(numbers(10)))
    with opened(bucket) as store:
        found = listed(store)
        fetcher = build_fetcher(store, found, spec())
        fetcher.begin()
        waiting = list(fetcher._admission.admitted)  # noqa: SLF001 - not handed out yet
        wait_until(lambda: all(each.decoded is not None for each in waiting))
        for each in waiting:
            each.data = b""
        log = logging.getLogger(__name__)
        objects = ReadableObjects(fetcher, ProgressLog("t", found, log))
        with TableStream(objects, None) as stream:
            read = sum(
                batch.num_rows for part in stream.checkpoints() for batch in part.batches or ()
            )
        assert read == 30
        assert not caplog.records
        assert not any(each.decoded for each in waiting)


def test_objects_are_decoded_while_nobody_takes_them(bucket: Bucket) -> None:
    """So the time in which the table before is committed is used."""
    for number in range(5):
        bucket.put(f"k{number}", parquet(numbers(10)))
    bucket.put("k5", b"damaged")
    with opened(bucket) as store, build_fetcher(store, listed(store), spec()) as fetcher:
        taken = iter(fetcher)
        first = next(taken)
        rest: list[ObjectBytes] = list(fetcher._admission.admitted)  # noqa: SLF001 - not handed out yet
        wait_until(lambda: all(each.decoded is not None for each in rest[:4]))
        assert rest[4].decoded is None
        assert not any(each.error for each in rest)
        assert [first, *taken] == [first, *rest]
        for each in (first, *rest):
            fetcher.release(each)
        assert not any(each.decoded for each in rest)


def test_without_a_decoder_nothing_is_decoded_early(bucket: Bucket) -> None:
    """A fetcher by itself only fetches."""
    bucket.put("k", parquet(numbers(10)))
    with opened(bucket) as store, Fetcher(store, listed(store), spec()) as fetcher:
        (only,) = fetcher
        assert only.decoded is None
