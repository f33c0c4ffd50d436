"""A full disk while Parquet files are written: nothing half-written, and all loads later."""

from pathlib import Path

import pytest

from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.ledger import Status
from s3pq_dagster_tests.destinations.tables import OWNER, commit, ids_by_key, load
from s3pq_dagster_tests.full_disk import full_beyond
from s3pq_dagster_tests.unit.made import meta

OBJECTS = [meta(f"orders/{number}") for number in range(5)]


def files(root: Path) -> list[Path]:
    """Return every file below a root except locks."""
    return sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_disk_that_is_full_from_the_start_leaves_nothing(tmp_path: Path) -> None:
    """Not even an empty file is left; with room again all is loaded."""
    destination = ParquetDestination(str(tmp_path))
    with full_beyond(0), pytest.raises(DestinationError, match=f"{tmp_path}.*Make room"):
        load(destination, (OBJECTS[0], 3))
    assert files(tmp_path) == []
    assert not destination.state(OWNER).exists
    load(destination, (OBJECTS[0], 3))
    assert ids_by_key(destination) == {OBJECTS[0].key: [0, 1, 2]}


@pytest.mark.parametrize("rows", [3, 200_000])
def test_a_disk_without_room_for_the_ledger_keeps_the_old_one(tmp_path: Path, rows: int) -> None:
    """Whether the rows or only the ledger do not fit, what is committed stands."""
    destination = ParquetDestination(str(tmp_path))
    load(destination, *((found, 3) for found in OBJECTS[:3]))
    before = files(tmp_path)
    ledger = (tmp_path / "_s3pq_objects" / "orders.parquet").stat().st_size
    with full_beyond(ledger - 1), pytest.raises(DestinationError, match="Make room"):
        load(destination, (OBJECTS[3], rows))
    assert files(tmp_path) == before
    assert destination.state(OWNER).ledger.count(Status.LOADED) == 3
    load(destination, (OBJECTS[3], rows))
    assert destination.state(OWNER).rows == 9 + rows


def test_a_disk_that_fills_up_in_a_refresh_leaves_the_old_table(tmp_path: Path) -> None:
    """The old table is whole, and the files of the refresh are deleted."""
    destination = ParquetDestination(str(tmp_path))
    load(destination, (OBJECTS[0], 3), (OBJECTS[1], 2))
    before = files(tmp_path)

    def refresh() -> None:
        with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
            commit(writer, (OBJECTS[0], 5))
            with full_beyond(1000):
                commit(writer, (OBJECTS[2], 200_000))

    with pytest.raises(DestinationError, match="Make room"):
        refresh()
    assert files(tmp_path) == before
    assert ids_by_key(destination) == {OBJECTS[0].key: [0, 1, 2], OBJECTS[1].key: [0, 1]}
