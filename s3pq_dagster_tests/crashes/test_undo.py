"""Taking a load back may be killed at any step: all of it is done then, or nothing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import UndoRefusedError
from s3pq_dagster.loading.undo import undo
from s3pq_dagster_tests.crashes.steps import Kill, kills
from s3pq_dagster_tests.crashes.undoing import BAD, GOOD, fill, found_in, taken_back
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.places.all_places import ALL_PLACES
from s3pq_dagster_tests.destinations.tables import OWNER, ids_by_key

pytestmark = pytest.mark.timeout(1_200)
BEFORE = {"orders/a": [0, 1, 2], "orders/b": [0, 1, 2, 3], "orders/c": list(range(5))}
BEFORE["orders/d"] = [0]
AFTER = {"orders/a": [0, 1, 2]}
KINDS = [
    pytest.param(kind, marks=pytest.mark.thorough if kind == "duckdb" else pytest.mark.nightly)
    for kind in ("duckdb", "postgres", "delta", "parquet", "delta on S3")
]


def entries(destination: Destination) -> list[tuple[str, str, str, int]]:
    """Return key, status, run and rows of each ledger entry."""
    columns = ("key", "status", "run_id", "rows")
    return sorted(destination.entries(OWNER).select(*columns).rows())


BEFORE_ENTRIES = [
    ("orders/a", "loaded", GOOD, 3),
    ("orders/b", "loaded", BAD, 4),
    ("orders/c", "loaded", BAD, 5),
    ("orders/d", "loaded", BAD, 1),
]
AFTER_ENTRIES = [
    BEFORE_ENTRIES[0],
    *((key, "quarantined", BAD, 0) for key, *_ in BEFORE_ENTRIES[1:]),
]
WHOLE = [(BEFORE, BEFORE_ENTRIES), (AFTER, AFTER_ENTRIES)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_may_be_killed_at_each_step(kind: str, tmp_path: Path) -> None:
    """Rows and ledger agree after each kill, and the same command then completes it."""
    template = tmp_path / "template"
    template.mkdir()
    place = ALL_PLACES[kind](template)
    fill(place.open())

    @contextmanager
    def copied(name: str) -> Iterator[Place]:
        directory = tmp_path / name
        shutil.copytree(template, directory)
        copy = place.copied_to(directory)
        yield copy
        copy.discard()
        shutil.rmtree(directory)

    with copied("whole") as copy:
        steps = taken_back(kind, copy)
        assert steps
    moments: list[Kill] = [*kills(steps, after=False), *kills(steps, after=True)]
    ends = set()
    for number, kill in enumerate(moments):
        with copied(f"killed-{number}") as copy:
            assert taken_back(kind, copy, kill) is None, kill
            destination = copy.open(lock_timeout_seconds=30)
            left = entries(destination)  # of S3 and Delta, it may finish what the run left
            found = ids_by_key(destination), left
            assert found in WHOLE, kill
            ends.add(WHOLE.index(found))
            if found[1] == BEFORE_ENTRIES:
                assert undo(destination, OWNER, found_in(destination)) == 10
            else:
                with pytest.raises(UndoRefusedError, match="taken back already"):
                    found_in(destination)
            assert (ids_by_key(destination), entries(destination)) == WHOLE[1], kill
    assert ends == {0, 1}
    place.discard()
