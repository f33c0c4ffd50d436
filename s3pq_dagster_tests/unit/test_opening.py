"""Objects opened while they wait for their turn."""

import threading
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from s3pq_dagster.decoder import OpenObject, fetcher_of, open_ahead, open_object
from s3pq_dagster.fetched import Fetched, Opened
from s3pq_dagster.fetcher import Fetcher
from s3pq_dagster.opening import Opening
from s3pq_dagster.spec import MIB
from s3pq_dagster_tests.buckets import Bucket, numbers, parquet
from s3pq_dagster_tests.unit.made import listed, meta, opened, spec
from s3pq_dagster_tests.unit.test_trial import children, wait_until

SECONDS = 20


class Room:
    """An opened object that holds so many bytes."""

    def __init__(self, kept_bytes: int) -> None:
        self.kept_bytes = kept_bytes


class Door:
    """A way of opening that can be held up; it notes what it opened."""

    def __init__(self, kept_bytes: int = MIB) -> None:
        self.free = threading.Event()
        self.free.set()
        self.begun: list[str] = []
        self._kept_bytes = kept_bytes

    def __call__(self, fetched: Fetched, is_wanted: Callable[[], bool]) -> Opened | None:
        self.begun.append(fetched.object.key)
        while is_wanted() and not self.free.wait(0.01):
            pass
        return Room(self._kept_bytes) if is_wanted() else None


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Nothing is opened on once all is closed."""
    yield
    left = [t for t in threading.enumerate() if t.name.startswith("s3pq-open")]
    for thread in left:
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()]


def many(count: int) -> list[Fetched]:
    """Make so many that wait."""
    return [Fetched(meta(f"k{number}"), parts_left=0) for number in range(count)]


def whole(body: bytes) -> Fetched:
    """Give a body as if it had been fetched."""
    return Fetched(meta("k", size=len(body)), data=body, parts_left=0)


def rows(of: OpenObject) -> pa.Table:
    """Drain an object."""
    return pa.Table.from_batches(list(of.batches()))


def test_what_waits_is_opened_up_to_the_bound_and_then_in_the_place_of_what_is_released() -> None:
    """Rows take more memory than the bytes they come from."""
    door, waiting = Door(), many(5)
    opening = Opening(door, 3 * MIB)
    for fetched in waiting:
        opening.add(fetched)
    wait_until(lambda: waiting[2].opened is not None)
    assert door.begun == ["k0", "k1", "k2"]
    opening.release(waiting[0])
    wait_until(lambda: waiting[3].opened is not None)
    assert door.begun == ["k0", "k1", "k2", "k3"]
    assert waiting[0].opened is None
    opening.close(wait=True)


def test_the_smallest_objects_are_not_opened_without_end() -> None:
    """Each has a footer, whatever its rows take."""
    door, waiting = Door(kept_bytes=0), many(9)
    opening = Opening(door, 4 * 64 * 1024)
    for fetched in waiting:
        opening.add(fetched)
    wait_until(lambda: waiting[3].opened is not None)
    opening.close(wait=True)
    assert door.begun == ["k0", "k1", "k2", "k3"]
    assert not any(fetched.opened for fetched in waiting)


def test_whose_turn_comes_is_waited_for_only_while_it_is_being_opened() -> None:
    """One that is not begun is left to its turn: nobody opens it beside that."""
    door, (first, second) = Door(), many(2)
    door.free.clear()
    opening = Opening(door, MIB)
    opening.add(first)
    opening.add(second)
    wait_until(lambda: door.begun == ["k0"])
    opening.settle(second)
    settled = threading.Event()

    def settle() -> None:
        opening.settle(first)
        assert first.opened is not None
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
    door, (first, second) = Door(), many(2)
    door.free.clear()
    opening = Opening(door, MIB)
    opening.add(first)
    opening.add(second)
    wait_until(lambda: door.begun == ["k0"])
    opening.close(wait=True)
    assert door.begun == ["k0"]
    assert first.opened is None


def test_nobody_waits_for_ever_for_an_opening_that_blew_up() -> None:
    """A library's panic is no exception that anybody expects."""

    def blow_up(_fetched: Fetched, _is_wanted: Callable[[], bool]) -> Opened | None:
        raise SystemExit

    opening = Opening(blow_up, MIB)
    (only,) = many(1)
    opening.add(only)
    opening.settle(only)
    assert only.opened is None
    opening.close(wait=True)


def test_what_is_opened_ahead_has_the_rows_it_has_in_its_turn() -> None:
    """In every way of writing it."""
    table = pa.table({"id": range(3000), "name": [f"name {i % 7}" for i in range(3000)]})
    for options in ({}, {"compression": "zstd"}, {"row_group_size": 100}):
        body = parquet(table, **options)
        ahead = open_ahead(whole(body), lambda: True, spec=spec())
        in_turn = open_object(whole(body), spec(), whole=True)
        assert ahead is not None
        assert ahead.decoded is not None
        assert ahead.kept_bytes >= rows(in_turn).nbytes
        assert ahead.rows == 3000
        assert rows(ahead).equals(rows(in_turn))
        assert ahead.schema == in_turn.schema


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"PAR1",
        b"no Parquet at all",
        parquet(numbers(1000))[:-20],
        parquet(numbers(300_000)),  # of more rows than are kept
        parquet(pa.table({"half": pa.array([0.5] * 10, pa.float16())})),
    ],
    ids=["nothing", "magic", "text", "cut off", "many rows", "unusual"],
)
def test_opening_ahead_says_nothing_about_an_object_and_starts_no_process(body: bytes) -> None:
    """It is small and sound, or it is left to its turn."""
    before = children()
    fetched = whole(body)
    found = open_ahead(fetched, lambda: True, spec=spec(max_decoded_bytes=64 * MIB))
    assert found is None or rows(found).num_rows == 10
    assert fetched.error is None
    assert children() == before


def test_what_nobody_wants_is_not_opened() -> None:
    """The run was cancelled."""
    assert open_ahead(whole(parquet(numbers(10))), lambda: False, spec=spec()) is None


def test_objects_are_opened_while_nobody_takes_them(bucket: Bucket) -> None:
    """That is what the time is for in which the table before is committed."""
    for number in range(5):
        bucket.put(f"k{number}", parquet(numbers(10)))
    bucket.put("k5", b"damaged")
    with opened(bucket) as store, fetcher_of(store, listed(store), spec()) as fetcher:
        taken = iter(fetcher)
        first = next(taken)
        rest: list[Fetched] = list(fetcher._admitted)  # noqa: SLF001 - they are nobody's yet
        wait_until(lambda: all(each.opened is not None for each in rest[:4]))
        assert rest[4].opened is None
        assert not any(each.error for each in rest)
        assert [first, *taken] == [first, *rest]
        for each in (first, *rest):
            fetcher.release(each)
        assert not any(each.opened for each in rest)


def test_without_a_way_of_opening_nothing_is(bucket: Bucket) -> None:
    """A fetcher fetches, whoever opens."""
    bucket.put("k", parquet(numbers(10)))
    with opened(bucket) as store, Fetcher(store, listed(store), spec()) as fetcher:
        (only,) = fetcher
        assert only.opened is None
