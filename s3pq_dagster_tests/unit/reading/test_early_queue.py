"""Objects opened while they wait for their turn."""

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


class Door:
    """A way of opening that can be held up; it notes what it opened."""

    def __init__(self, held_bytes: int = MIB) -> None:
        self.free = threading.Event()
        self.free.set()
        self.begun: list[str] = []
        self._held_bytes = held_bytes

    def __call__(self, fetched: ObjectBytes, is_wanted: Callable[[], bool]) -> DecodedObject | None:
        self.begun.append(fetched.object.key)
        while is_wanted() and not self.free.wait(0.01):
            pass
        if not is_wanted():
            return None
        rows = parquet(numbers(1))
        found = decode_early(whole(rows), is_wanted, spec=spec())
        return None if found is None else replace(found, held_bytes=self._held_bytes)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Nothing is opened on once all is closed."""
    with none_left("s3pq-open"):
        yield


def many(count: int) -> list[ObjectBytes]:
    """Make so many that wait."""
    return [ObjectBytes(meta(f"k{number}"), parts_left=0) for number in range(count)]


def whole(body: bytes) -> ObjectBytes:
    """Give a body as if it had been fetched."""
    return ObjectBytes(meta("k", size=len(body)), data=body, parts_left=0)


def held_up(*waiting: ObjectBytes) -> tuple[Door, EarlyQueue]:
    """Have objects opened, the first of which takes until its door is free."""
    door = Door()
    door.free.clear()
    opening = EarlyQueue(door, MIB)
    for fetched in waiting:
        opening.add(fetched)
    wait_until(lambda: door.begun == ["k0"])
    return door, opening


def wanted() -> bool:
    """Say that somebody waits."""
    return True


def nothing() -> None:
    """Do nothing while something is waited for."""


def rows(of: OpenObject) -> pa.Table:
    """Drain an object."""
    return pa.Table.from_batches(list(of.batches()))


def test_what_waits_is_opened_up_to_the_bound_and_then_in_the_place_of_what_is_released() -> None:
    """Rows take more memory than the bytes they come from."""
    door, waiting = Door(), many(5)
    opening = EarlyQueue(door, 3 * MIB)
    for fetched in waiting:
        opening.add(fetched)
    wait_until(lambda: waiting[2].decoded is not None)
    assert door.begun == ["k0", "k1", "k2"]
    opening.release(waiting[0])
    wait_until(lambda: waiting[3].decoded is not None)
    assert door.begun == ["k0", "k1", "k2", "k3"]
    assert waiting[0].decoded is None
    opening.close(wait=True)


def test_the_smallest_objects_are_not_opened_without_end() -> None:
    """Each has a footer, whatever its rows take."""
    door, waiting = Door(held_bytes=0), many(9)
    opening = EarlyQueue(door, 4 * 64 * 1024)
    for fetched in waiting:
        opening.add(fetched)
    wait_until(lambda: waiting[3].decoded is not None)
    opening.close(wait=True)
    assert door.begun == ["k0", "k1", "k2", "k3"]
    assert not any(fetched.decoded for fetched in waiting)


def test_whose_turn_comes_is_waited_for_only_while_it_is_being_opened() -> None:
    """One that is not begun is left to its turn: nobody opens it beside that."""
    first, second = many(2)
    door, opening = held_up(first, second)
    opening.settle(second, nothing)
    settled = threading.Event()

    def settle() -> None:
        opening.settle(first, nothing)
        assert first.decoded is not None
        settled.set()

    asking = threading.Thread(target=settle)
    asking.start()
    assert not settled.wait(0.1)
    door.free.set()
    assert settled.wait(SECONDS)
    asking.join()
    opening.close(wait=True)
    assert door.begun == ["k0"]


def test_closing_stops_what_is_being_opened() -> None:
    """A cancelled run does not wait for it."""
    first, second = many(2)
    door, opening = held_up(first, second)
    opening.close(wait=True)
    assert door.begun == ["k0"]
    assert first.decoded is None


def test_nobody_waits_for_ever_for_an_opening_that_blew_up() -> None:
    """A library's panic is no exception that anybody expects."""
    begun = threading.Event()

    def blow_up(_fetched: ObjectBytes, _is_wanted: Callable[[], bool]) -> DecodedObject | None:
        begun.set()
        raise SystemExit

    opening = EarlyQueue(blow_up, MIB)
    (only,) = many(1)
    opening.add(only)
    assert begun.wait(SECONDS)
    opening.settle(only, nothing)
    assert only.decoded is None
    opening.close(wait=True)


def test_a_cancel_is_heard_while_an_opening_is_waited_for() -> None:
    """It is asked about again and again."""
    (only,) = many(1)
    _, opening = held_up(only)

    def cancelled() -> None:
        raise ReadAbandonedError

    with pytest.raises(ReadAbandonedError):
        opening.settle(only, cancelled)
    opening.close(wait=True)


def test_what_comes_after_the_end_is_not_kept() -> None:
    """A request may end later than the run that made it."""
    door, (only,) = Door(), many(1)
    opening = EarlyQueue(door, MIB)
    opening.close(wait=True)
    opening.add(only)
    assert door.begun == []
    assert sys.getrefcount(only) <= 3  # `only`, the argument, and pytest's look at the line


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"row_group_size": 300}])
def test_what_is_opened_ahead_has_the_rows_it_has_in_its_turn(options: dict[str, object]) -> None:
    """In every way of writing it."""
    table = pa.table(
        {
            "id": range(3000),
            "name": [f"name {i % 7}" for i in range(3000)],
            "tags": [["a"] * (i % 3) for i in range(3000)],
        }
    )
    fetched = whole(parquet(table, **options))
    in_turn = open_object(fetched, spec(), whole=True)
    fetched.decoded = decode_early(fetched, wanted, spec=spec())
    assert fetched.decoded is not None
    assert fetched.decoded.held_bytes > table.nbytes
    ahead = open_object(fetched, spec(), whole=True)
    assert ahead.rows == in_turn.rows == 3000
    assert ahead.schema == in_turn.schema
    assert rows(ahead).equals(rows(in_turn))
    ahead.close()
    in_turn.close()


def one_page_a_column(columns: dict[str, pa.Array]) -> bytes:
    """Write columns with all values in one page, as they are."""
    return parquet(
        pa.table(columns), use_dictionary=False, compression="none", data_page_size=2**30
    )


LEFT = {
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
                [pa.array(range(8700), pa.int32())] * 60, [f"f{n}" for n in range(60)]
            )
        }
    ),
    "columns that fit in some at a time": one_page_a_column(
        {f"c{n}": pa.array(range(20_000)) for n in range(40)}
    ),
}


@pytest.mark.parametrize("body", LEFT.values(), ids=LEFT)
def test_what_is_not_small_and_ordinary_is_left_to_its_turn(body: bytes) -> None:
    """To decode it may take another process, the disk, or far more memory than its values."""
    before = children()
    fetched = whole(body)
    assert decode_early(fetched, wanted, spec=spec(max_decoded_bytes=512 * MIB)) is None
    assert fetched.error is None
    assert children() == before


def test_a_footer_that_says_less_than_there_is_is_found_out_in_its_turn() -> None:
    """The file's number of rows; those of its row groups are right."""
    body = parquet(numbers(3000))
    length = int.from_bytes(body[-8:-4], "little")
    data, footer = body[: -8 - length], body[-8 - length :]
    lie = data + footer.replace(b"\xf0\x2e", b"\x86\x00", 1)  # zigzag varints of 3000 and 3
    assert pq.ParquetFile(pa.BufferReader(lie)).metadata.num_rows == 3
    assert decode_early(whole(lie), wanted, spec=spec()) is None
    with pytest.raises(MalformedObjectError, match="says 3 rows, its pages hold 3000"):
        open_object(whole(lie), spec(), whole=True)


def test_what_nobody_wants_is_not_opened() -> None:
    """The run was cancelled."""
    body = parquet(numbers(10))
    assert decode_early(whole(body), wanted, spec=spec()) is not None
    assert decode_early(whole(body), lambda: False, spec=spec()) is None


def test_what_takes_long_is_left_to_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it would wait for that first."""
    monkeypatch.setattr("s3pq_dagster.reading.early_decoding._SECONDS", 0)
    assert decode_early(whole(parquet(numbers(10))), wanted, spec=spec()) is None


def test_a_stream_takes_what_was_opened(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """It does not decode anything twice: here there are no bytes left to decode."""
    for number in range(3):
        bucket.put(f"k{number}", parquet(numbers(10)))
    with opened(bucket) as store:
        found = listed(store)
        fetcher = build_fetcher(store, found, spec())
        fetcher.begin()
        waiting = list(fetcher._admission.admitted)  # noqa: SLF001 - they are nobody's yet
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


def test_objects_are_opened_while_nobody_takes_them(bucket: Bucket) -> None:
    """That is what the time is for in which the table before is committed."""
    for number in range(5):
        bucket.put(f"k{number}", parquet(numbers(10)))
    bucket.put("k5", b"damaged")
    with opened(bucket) as store, build_fetcher(store, listed(store), spec()) as fetcher:
        taken = iter(fetcher)
        first = next(taken)
        rest: list[ObjectBytes] = list(fetcher._admission.admitted)  # noqa: SLF001 - they are nobody's yet
        wait_until(lambda: all(each.decoded is not None for each in rest[:4]))
        assert rest[4].decoded is None
        assert not any(each.error for each in rest)
        assert [first, *taken] == [first, *rest]
        for each in (first, *rest):
            fetcher.release(each)
        assert not any(each.decoded for each in rest)


def test_without_a_way_of_opening_nothing_is(bucket: Bucket) -> None:
    """A fetcher fetches, whoever opens."""
    bucket.put("k", parquet(numbers(10)))
    with opened(bucket) as store, Fetcher(store, listed(store), spec()) as fetcher:
        (only,) = fetcher
        assert only.decoded is None
