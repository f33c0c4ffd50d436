"""One table in four shards on two workers of a real Celery, each of which dies once."""

import threading
from collections import Counter
from contextlib import suppress
from operator import not_
from pathlib import Path

import dagster as dg
import pytest
from tenacity import stop_after_delay

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.proxy import Request
from s3pq_dagster_tests.scaling.workers import SECONDS, environ_of, started, working
from s3pq_dagster_tests.waiting import again_while

ROWS = 50
EVENTS = {f"events/{number:02}.parquet": ROWS for number in range(24)}

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]


@pytest.fixture
def environ(bucket: Bucket, place: Place, tmp_path: Path) -> dict[str, str]:
    """Return the environment of the run and the workers: bucket, destination, broker."""
    for key, rows in EVENTS.items():
        bucket.put(key, rows)
    return environ_of(bucket, place, tmp_path)


def rows_by_key(place: Place) -> dict[str, int]:
    """Count the rows by the object they came from."""
    return dict(Counter(key for (key,) in place.select("events", ["_s3_key"])))


def some_rows(place: Place) -> dict[str, int]:
    """Count the rows, if the table exists."""
    with suppress(Exception):  # each destination has its own for that
        return rows_by_key(place)
    return {}


def loaders(home: str) -> dict[str, int | None]:
    """Name the process of each shard that was loaded in the last run."""
    with dg.DagsterInstance.from_config(home) as instance:
        (run,) = instance.get_runs(limit=1)
        events = [log.dagster_event for log in instance.all_logs(run.run_id) if log.dagster_event]
    loaded = [event for event in events if event.event_type_value == "STEP_SUCCESS"]
    return {str(e.step_key): e.pid for e in loaded if "shard_events[" in str(e.step_key)}


@pytest.mark.parametrize(
    "place", ["delta", pytest.param("postgres", marks=pytest.mark.nightly)], indirect=True
)
def test_shards_are_loaded_by_more_than_one_worker(
    place: Place, bucket: Bucket, environ: dict[str, str], tmp_path: Path
) -> None:
    """Each shard is a step, a worker runs each step, and together they load one table.

    What they tell each other is in S3.
    """
    with working(environ, tmp_path) as workers, started(environ, tmp_path) as run:
        assert run.wait(SECONDS) == 0
        found = loaders(environ["DAGSTER_HOME"])
        assert len(found) == 4
        assert set(found.values()) == {worker.pid for worker in workers}
    told = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="dagster/storage/")
    assert told["KeyCount"] > 4
    assert rows_by_key(place) == EVENTS


@pytest.mark.nightly
def test_workers_that_die_within_their_shards_lose_and_double_nothing(
    place: Place, bucket: Bucket, environ: dict[str, str], tmp_path: Path
) -> None:
    """What they committed is not read again; the next run loads the rest."""
    asked = threading.Event()

    def kill_one(request: Request) -> None:
        if request.key == "events/03.parquet" and request.is_object and not asked.is_set():
            workers[0].kill()
            asked.set()

    bucket.proxy.before = kill_one
    with working(environ, tmp_path) as workers, started(environ, tmp_path):
        assert asked.wait(SECONDS)
        again_while(not_, stop_after_delay(SECONDS))(some_rows, place)
        workers[1].kill()
        # The run would wait for lost steps for ever; Dagster's run monitoring ends it, as here.
    bucket.proxy.before = lambda _request: None
    there = rows_by_key(place)
    assert there == dict.fromkeys(there, ROWS)
    bucket.proxy.forget()
    with working(environ, tmp_path, names="xy"), started(environ, tmp_path) as run:
        assert run.wait(SECONDS) == 0
    assert rows_by_key(place) == EVENTS
    again = {request.key for request in bucket.proxy.object_reads} & set(there)
    assert not again
