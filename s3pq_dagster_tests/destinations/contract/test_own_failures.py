"""A failure of the destination itself sets no object aside; the next load has all of them."""

import logging
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.ledger import Status
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.destinations.contract.parameters import ONE_OF_EACH_KIND
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Request
from s3pq_dagster_tests.unit.made import listed, opened, spec

OBJECTS = {"t/a": 10, "t/b": 200_000, "t/c": 10}
_END = (
    "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def load(bucket: Bucket, destination: Destination, *, refresh: bool) -> LoadReport:
    """Load the prefix ``t/``, each object in a checkpoint of its own."""
    with opened(bucket) as store:
        plan = LoadPlan(
            spec=spec(**bucket.spec, checkpoint_bytes=1, concurrency=1),
            owner=Owner("t", bucket.name, "t/"),
            listing=listed(store, "t/"),
            options=LoadOptions(full_refresh=refresh),
        )
        made = TableLoad(plan=plan, store=store, log=logging.getLogger(__name__), run_id="run")
        return made.into(destination)


@contextmanager
def failing(place: Place, bucket: Bucket) -> Iterator[None]:
    """End PostgreSQL's connections while ``t/b`` is fetched; elsewhere files cannot grow then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fail(request: Request) -> None:
        if request.key != "t/b" or not request.is_object:
            return
        if isinstance(place, PostgresPlace):
            place.run(_END)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))

    bucket.proxy.before = fail
    try:
        yield
    finally:
        bucket.proxy.before = lambda _request: None
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("refresh", first_of([False, True]), ids=["load", "refresh"])
def test_a_full_disk_or_a_lost_connection_sets_nothing_aside(
    bucket: Bucket, place: Place, destination: Destination, *, refresh: bool
) -> None:
    """The load fails with the destination's error, and nothing is in quarantine."""
    for key, rows in OBJECTS.items():
        bucket.put(key, numbers(rows))
    with failing(place, bucket), pytest.raises(DestinationError):
        load(bucket, destination, refresh=refresh)
    ledger = place.open().state(Owner("t", bucket.name, "t/")).ledger
    assert ledger.count(Status.QUARANTINED) == 0
    assert ledger.count(Status.LOADED) < len(OBJECTS)
    load(bucket, place.open(), refresh=refresh)
    ledger = place.open().state(Owner("t", bucket.name, "t/")).ledger
    assert ledger.count(Status.LOADED) == len(OBJECTS)
    assert ledger.rows == sum(OBJECTS.values())
