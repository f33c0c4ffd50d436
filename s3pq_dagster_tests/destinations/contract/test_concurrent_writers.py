"""Several writers at the same time, in one process and in two."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    DestinationError,
)
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.destinations.contract.objects import A1, B1
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.places.all_places import ALL_PLACES
from s3pq_dagster_tests.destinations.tables import (
    commit,
    ids_by_key,
    load,
    write,
)
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.unit.made import meta


def test_two_writers_of_one_process_take_turns(place: Place) -> None:
    """The second writer waits for the first, and then sees what the first committed.

    Where writers do not wait, the second commit fails with the reason and leaves nothing; a retry
    sees what the first committed.
    """
    seen: list[int] = []
    failed: list[DestinationError] = []
    about_to_write = threading.Event()

    def second() -> None:
        about_to_write.set()
        try:
            with write(place.open()) as writer:
                seen.append(writer.state().rows)
                commit(writer, (B1, 2))
        except DestinationError as error:
            failed.append(error)

    writing = threading.Thread(target=second)
    with write(place.open()) as writer:
        writing.start()
        assert about_to_write.wait(20)
        if not place.takes_turns:
            writing.join(20)
        try:
            commit(writer, (A1, 3))
        except DestinationError as error:
            failed.append(error)
    writing.join(20)
    if place.takes_turns:
        assert (seen, failed) == ([3], [])
    else:
        (lost,) = failed
        assert "another run" in str(lost)
        assert lost.retryable
        assert ids_by_key(place.open()) == {B1.key: [0, 1]}
        load(place.open(), (A1, 3))
    assert ids_by_key(place.open()) == {A1.key: [0, 1, 2], B1.key: [0, 1]}


def test_two_tables_are_written_at_once(place: Place) -> None:
    """Different tables can be written at once, even before the ledger exists."""
    owners = [Owner(name, "lake", f"{name}/") for name in ("orders", "returns", "invoices")]
    together = threading.Barrier(len(owners))

    def fill(owner: Owner) -> None:
        together.wait(20)
        for number in range(3):
            load(place.open(lock_timeout_seconds=60), (meta(f"k{number}"), 2), owner=owner)

    with ThreadPoolExecutor(len(owners)) as pool:
        list(pool.map(fill, owners))
    for owner in owners:
        assert ids_by_key(place.open(), owner.table) == {f"k{n}": [0, 1] for n in range(3)}
        assert place.open().state(owner).ledger.rows == 6


@pytest.mark.thorough
@pytest.mark.parametrize(
    "place", first_of(sorted(ALL_PLACES), others=pytest.mark.nightly), indirect=True
)
def test_two_processes_load_each_object_once(place: Place) -> None:
    """Two processes load the same objects at once; each object is loaded by one of them."""
    objects = [meta(f"orders/{number}", second=number) for number in range(6)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill_from, args=(place, objects)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert ids_by_key(place.open()) == {found.key: [0, 1, 2] for found in objects}


def fill_from(place: Place, objects: list[ObjectMeta]) -> None:
    """Load what is pending, one object per checkpoint; retry if another process was quicker."""

    def once() -> None:
        with write(place.open(lock_timeout_seconds=60)) as writer:
            known = writer.state().ledger
            for found in objects:
                if not known.holds(found):
                    commit(writer, (found, 3))

    Retrying(
        retry=retry_if_exception_type(DestinationError),
        stop=stop_after_attempt(20),
        wait=wait_random(0, 0.5),
        reraise=True,
    )(once)
