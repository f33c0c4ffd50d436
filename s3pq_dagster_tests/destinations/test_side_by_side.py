"""Several steps load one table at a time, in each destination; no row is lost or doubled."""

import resource
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.errors import (
    DestinationError,
    DiskError,
    QuarantineLimitError,
    ReadAbandonedError,
)
from s3pq_dagster.ledger import Entry, Ledger, Status
from s3pq_dagster.loading.concurrent_writer import ConcurrentWriter
from s3pq_dagster.loading.key_ranges import KeyRange, split
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.destinations.places.all_places import ALL_PLACES
from s3pq_dagster_tests.interrupts import interrupting
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Request
from s3pq_dagster_tests.unit.made import Lines, listed, logger, opened, spec

OBJECTS = {f"t/{number}": number + 1 for number in range(12)}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A new place of each kind of destination."""
    found: Place = PLACES[request.param](tmp_path)
    yield found
    found.discard()


@pytest.fixture
def load(bucket: Bucket) -> Iterator[TableLoad]:
    """A load of twelve objects, with a checkpoint for each."""
    for key, rows in OBJECTS.items():
        bucket.put(key, rows)
    with opened(bucket) as store:
        yield TableLoad(
            plan=LoadPlan(
                spec=spec(**bucket.spec, checkpoint_bytes=1),
                owner=Owner("t", bucket.name, "t/"),
                listing=listed(store, "t/"),
                options=LoadOptions(),
            ),
            store=store,
            log=logger(Lines()),
            run_id="run",
        )


def side_by_side(load: TableLoad, place: Place, keys: KeyRange) -> LoadReport:
    """Load the objects of a range of keys, as one of several steps does."""
    return load.shard_into(place.open(lock_timeout_seconds=60), keys)


def planned(load: TableLoad, **fields: Any) -> TableLoad:
    """Copy a load, with some fields of its plan changed."""
    return replace(load, plan=replace(load.plan, **fields))


def rows_by_key(place: Place) -> dict[str, int]:
    """Count the rows in the table by key."""
    return dict(Counter(key for (key,) in place.select("t", ["_s3_key"])))


@pytest.mark.first_case
@pytest.mark.parametrize("place", first_of(PLACES, keep=2), indirect=True)
def test_all_write_at_once(load: TableLoad, place: Place) -> None:
    """Four steps load a range each and report it; a load of the whole table then reads nothing."""
    ranges = split(load.plan.listing, 4)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda keys: side_by_side(load, place, keys), ranges))
    assert rows_by_key(place) == OBJECTS
    assert sum(report.objects for report in reports) == len(OBJECTS)
    last = replace(load, earlier=reports).into(place.open())
    assert (last.rows, last.objects) == (sum(OBJECTS.values()), len(OBJECTS))
    assert last.table_rows == last.ledger_rows == last.rows
    assert last.cursor == max(load.plan.listing.frame["last_modified"])
    alone = load.into(place.open())
    assert (alone.objects, alone.fingerprint) == (0, last.fingerprint)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [kind for kind in ALL_PLACES if kind not in PLACES])
def test_all_write_at_once_in_s3(load: TableLoad, tmp_path: Path, kind: str) -> None:
    """Writers wait for the lease, or repeat a commit that lost against another."""
    place = ALL_PLACES[kind](tmp_path)
    some = planned(load, listing=Listing(load.plan.listing.frame.head(4)))
    with ThreadPoolExecutor(2) as pool:
        ranges = split(some.plan.listing, 2)
        reports = list(pool.map(lambda keys: side_by_side(some, place, keys), ranges))
    assert rows_by_key(place) == {key: OBJECTS[key] for key in some.plan.listing.frame["key"]}
    assert [report.objects for report in reports] == [len(r.of(some.plan.listing)) for r in ranges]
    place.discard()


@pytest.mark.thorough
def test_who_was_late_where_nobody_waits_tries_again(load: TableLoad, tmp_path: Path) -> None:
    """Delta Lake in S3: a commit that came second is repeated, without reading rows again."""
    place = ALL_PLACES["delta on S3"](tmp_path)
    mine, others = (
        planned(load, listing=keys.of(load.plan.listing)) for keys in split(load.plan.listing, 2)
    )
    looks: list[Ledger] = []

    def meanwhile(ledger: Ledger, _commit: Commit) -> None:
        looks.append(ledger)
        if len(looks) == 1:
            some = Listing(others.plan.listing.frame.head(1))
            planned(others, listing=some).into(place.open())

    writer = ConcurrentWriter(
        place.open(), load.plan.owner, run_id="run", append=False, check=meanwhile
    )
    writer.state()
    entry = Entry(next(iter(mine.plan.listing)), Status.QUARANTINED, 0, "no Parquet")
    writer.commit(None, schema_key=None, seal=lambda: Commit([entry], None, None))
    assert [ledger.frame.height for ledger in looks] == [0, 1]
    assert place.open().state(load.plan.owner).ledger.frame.height == 2
    place.discard()


@pytest.mark.parametrize("place", first_of(PLACES), indirect=True)
def test_nobody_waits_for_anothers_requests(load: TableLoad, bucket: Bucket, place: Place) -> None:
    """A step that waits for S3 holds no lock, so another commits meanwhile."""
    first, second = split(load.plan.listing, 2)
    slow = second.of(load.plan.listing).frame["key"][0]
    answer, asked = threading.Event(), threading.Event()

    def wait(request: Request) -> None:
        if request.key == slow and request.is_object:
            asked.set()
            assert answer.wait(120)

    bucket.proxy.before = wait
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(side_by_side, load, place, second)
        assert asked.wait(120)
        try:
            assert side_by_side(load, place, first).objects == len(first.of(load.plan.listing))
        finally:
            answer.set()
        assert waiting.result().objects == len(second.of(load.plan.listing))
    assert rows_by_key(place) == OBJECTS


@pytest.mark.parametrize("place", first_of(PLACES), indirect=True)
def test_who_was_taken_for_dead_commits_nothing(
    load: TableLoad, bucket: Bucket, place: Place
) -> None:
    """A step finds out, when it gets the lock, that another run has loaded its objects."""
    answer, asked = threading.Event(), threading.Event()

    def wait(request: Request) -> None:
        if request.key == "t/5" and request.is_object and not asked.is_set():
            asked.set()
            assert answer.wait(120)

    bucket.proxy.before = wait
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(side_by_side, load, place, KeyRange("t/5", "t/6"))
        assert asked.wait(120)
        try:
            load.into(place.open())
        finally:
            answer.set()
        with pytest.raises(DestinationError, match="meanwhile"):
            late.result()
    assert rows_by_key(place) == OBJECTS
    assert place.open().state(load.plan.owner).ledger.count(Status.LOADED) == len(OBJECTS)


@pytest.mark.parametrize("place", first_of(PLACES), indirect=True)
def test_nothing_to_do_takes_no_lock(load: TableLoad, place: Place) -> None:
    """A step whose range is loaded already does not wait for the lock."""
    load.into(place.open())
    with place.open().write(load.plan.owner, run_id="other", append=False, refresh=False):
        if isinstance(place.open(), DuckDBDestination):
            return  # its file is open to nobody else
        assert side_by_side(load, place, KeyRange()).objects == 0


@pytest.mark.first_case
def test_what_is_set_aside_is_counted_together(
    load: TableLoad, bucket: Bucket, place: Place
) -> None:
    """Each step meets a few malformed objects; the limit counts those of all steps."""
    for number in (0, 4, 9):
        bucket.put(f"t/{number}", b"PAR1 no PAR1")
    listing = listed(load.store, "t/")
    few = spec(**bucket.spec, checkpoint_bytes=1, max_quarantined_fraction=0.2)
    together = planned(load, listing=listing, spec=few)
    for number in (0, 4):
        side_by_side(together, place, KeyRange(f"t/{number}", f"t/{number}~"))
    with pytest.raises(QuarantineLimitError, match="3 of 12 listed"):
        side_by_side(together, place, KeyRange("t/9"))


@pytest.mark.parametrize("place", first_of(PLACES), indirect=True)
def test_others_quarantined_objects_do_not_stop_one_that_tries_again(
    load: TableLoad, bucket: Bucket, place: Place
) -> None:
    """With ``retry_quarantined`` the limit counts only quarantined objects of the step itself."""
    for number in (0, 4, 9):
        bucket.put(f"t/{number}", b"PAR1 no PAR1")
    there = planned(load, listing=listed(load.store, "t/"))
    there.into(place.open())
    strict = spec(**bucket.spec, checkpoint_bytes=1, max_quarantined_fraction=0.1)
    again = planned(there, spec=strict, options=LoadOptions(retry_quarantined=True))
    report = side_by_side(again, place, KeyRange("t/4", "t/4~"))
    assert list(report.quarantined_keys) == ["t/4"]


@pytest.mark.first_case
def test_nothing_is_committed_once_that_is_not_wanted(load: TableLoad, place: Place) -> None:
    """An abandoned writer does not commit even if it gets the lock."""
    writer = ConcurrentWriter(place.open(), load.plan.owner, run_id="run", append=False)
    writer.state()
    writer.abandon()
    entry = Entry(next(iter(load.plan.listing)), Status.QUARANTINED, 0, "no Parquet")
    with pytest.raises(ReadAbandonedError):
        writer.commit(None, schema_key=None, seal=lambda: Commit([entry], None, None))
    assert not place.open().state(load.plan.owner).ledger.frame.height


@pytest.mark.first_case
def test_a_cancelled_step_that_waits_for_its_turn_commits_nothing(
    load: TableLoad, bucket: Bucket, place: Place
) -> None:
    """The lock is released after the interrupt, and the step still commits nothing."""
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with place.open().write(load.plan.owner, run_id="other", append=False, refresh=False):
            taken.set()
            assert release.wait(60)

    with ThreadPoolExecutor(1) as pool, interrupting() as interrupt_after:

        def before(request: Request) -> None:
            if request.key == "t/0" and request.is_object and not taken.is_set():
                pool.submit(hold)
                assert taken.wait(60)
                interrupt_after(2)  # by then the lock is waited for
                threading.Timer(5, release.set).start()  # an interrupt is heard within a second

        bucket.proxy.before = before
        try:
            with pytest.raises(KeyboardInterrupt):
                side_by_side(load, place, KeyRange("t/0", "t/1"))
        finally:
            release.set()
    assert not place.open().state(load.plan.owner).ledger.frame.height


@pytest.mark.thorough
@pytest.mark.parametrize("rows_in_a_batch", [pytest.param(50, marks=pytest.mark.nightly), 100_000])
@pytest.mark.parametrize("place", first_of(PLACES, others=pytest.mark.nightly), indirect=True)
def test_a_full_disk_under_rows_that_wait(
    load: TableLoad, bucket: Bucket, place: Place, rows_in_a_batch: int
) -> None:
    """The error names the local disk; nothing is written, and the next load works."""
    body = pa.BufferOutputStream()
    pq.write_table(numbers(200_000), body, row_group_size=rows_in_a_batch)
    bucket.put("t/0", body.getvalue().to_pybytes())
    large = planned(load, listing=listed(load.store, "t/"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    place.open().state(load.plan.owner)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        with pytest.raises(DiskError, match=r"rows of table 't' that wait.*TMPDIR"):
            side_by_side(large, place, KeyRange("t/0", "t/1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert side_by_side(large, place, KeyRange()).objects == len(OBJECTS)
    assert rows_by_key(place) == OBJECTS | {"t/0": 200_000}
