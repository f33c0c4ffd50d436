"""A load that is taken back in a process of its own, which may be killed at any step."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.loading.undo import Undo, find_undo, undo
from s3pq_dagster_tests.crashes.steps import Kill, Steps
from s3pq_dagster_tests.crashes.watches import WATCHES
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.tables import OWNER, commit
from s3pq_dagster_tests.servers import use_credentials
from s3pq_dagster_tests.unit.made import meta

GOOD, BAD = "good", "bad"
_started = multiprocessing.get_context("forkserver")
_started.set_forkserver_preload(["s3pq_dagster_tests.crashes.preload"])


def fill(destination: Destination) -> None:
    """Load an object in one run; in another its next version, and two objects more."""
    runs = {GOOD: [(meta("orders/a"), 3), (meta("orders/b"), 2)], BAD: []}
    runs[BAD] = [(meta("orders/b", e_tag="v2"), 4), (meta("orders/c"), 5), (meta("orders/d"), 1)]
    for run_id, objects in runs.items():
        with destination.write(OWNER, run_id=run_id, append=False, refresh=False) as writer:
            commit(writer, *objects)


def found_in(destination: Destination) -> Undo:
    """Return what taking back the second run does."""
    return find_undo(destination.entries(OWNER), OWNER.table, BAD)


def taken_back(kind: str, place: Place, kill: Kill | None = None) -> list[str] | None:
    """Take the second run back; return the steps, or ``None`` if the process was killed."""
    heard, said = _started.Pipe(duplex=False)
    process = _started.Process(target=_work, args=(kind, place, kill, said))
    process.start()
    said.close()
    try:
        steps: list[str] = heard.recv()
    except EOFError:
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, process.exitcode
        return None
    process.join(60)
    return steps


def _work(kind: str, place: Place, kill: Kill | None, said: Connection) -> None:
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    use_credentials()
    steps = Steps(kill)
    WATCHES[kind](steps)  # before anything is opened: DuckDB's instance is made once
    destination = place.open()
    undo(destination, OWNER, found_in(destination))
    said.send(steps.names)
