"""The tables of one run spread over the workers of a real Celery, one of which dies."""

import threading
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.proxy import Request
from s3pq_dagster_tests.scaling.workers import SECONDS, environ_of, started, working

TABLES = [f"t{number}" for number in range(6)]
OBJECTS, ROWS = 3, 50
EVERY_ROW = {f"{t}/{number}.parquet": ROWS for t in TABLES for number in range(OBJECTS)}

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(500)]


@pytest.fixture
def environ(bucket: Bucket, place: Place, tmp_path: Path) -> dict[str, str]:
    """Return the environment of the run and the workers: bucket, destination, broker."""
    for table in TABLES:
        for number in range(OBJECTS):
            bucket.put(f"{table}/{number}.parquet", ROWS)
    return environ_of(bucket, place, tmp_path)


def rows_by_key(place: Place) -> dict[str, int]:
    """Count the rows by the object they came from."""
    return dict(Counter(key for t in TABLES for (key,) in place.select(t, ["_s3_key"])))


def processes(home: str) -> set[int | None]:
    """Name the processes that loaded tables."""
    with dg.DagsterInstance.from_config(home) as instance:
        logs = [log for run in instance.get_runs() for log in instance.all_logs(run.run_id)]
    events = [log.dagster_event for log in logs if log.dagster_event is not None]
    return {event.pid for event in events if event.event_type_value == "STEP_START"}


def test_tables_are_loaded_by_more_than_one_worker(
    place: Place, environ: dict[str, str], tmp_path: Path
) -> None:
    """Each table is a step, and a worker runs each step."""
    with working(environ, tmp_path) as workers, started(environ, tmp_path) as run:
        assert run.wait(SECONDS) == 0
        assert processes(environ["DAGSTER_HOME"]) == {worker.pid for worker in workers}
    assert rows_by_key(place) == EVERY_ROW


@pytest.mark.parametrize("place", ["delta", "postgres"], indirect=True)
def test_a_worker_that_dies_half_way_loses_and_doubles_nothing(
    place: Place, bucket: Bucket, environ: dict[str, str], tmp_path: Path
) -> None:
    """Celery gives a step that was begun to nobody else; the next run loads what is missing."""
    killed = threading.Event()
    with working(environ, tmp_path) as workers, working(environ, tmp_path, names="xy") as others:

        def kill_the_first(request: Request) -> None:
            if request.is_object and request.key == "t2/1.parquet" and not killed.is_set():
                for worker in workers:
                    worker.kill()
                killed.set()

        bucket.proxy.before = kill_the_first
        with started(environ, tmp_path):
            assert killed.wait(SECONDS)
            # It would wait for the lost step for ever; Dagster's run monitoring ends it, as here.
        assert all(worker.poll() is None for worker in others)
        with started(environ, tmp_path) as run:
            assert run.wait(SECONDS) == 0
    assert rows_by_key(place) == EVERY_ROW
