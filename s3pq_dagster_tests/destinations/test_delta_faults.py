"""A wrong, damaged or full root: a clear error, nothing half-written, all loads once repaired."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.errors import DestinationError, TableNotManagedError
from s3pq_dagster.ledger import Status
from s3pq_dagster_tests.destinations.tables import OWNER, commit, ids_by_key, load, rows
from s3pq_dagster_tests.full_disk import full_beyond
from s3pq_dagster_tests.unit.made import meta

A, B = meta("orders/a"), meta("orders/b")
OBJECTS = [meta(f"orders/{number}") for number in range(30)]
ROWS = 20_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that does not exist yet."""
    return tmp_path / "lake"


@pytest.fixture
def destination(root: Path) -> DeltaDestination:
    """A destination whose root does not exist yet."""
    return DeltaDestination(str(root), lock_timeout_seconds=1)


def asks(destination: DeltaDestination) -> list[Callable[[], object]]:
    """Return a call of each method of the destination."""
    return [
        lambda: destination.state(OWNER),
        lambda: destination.audit(OWNER),
        lambda: rows(destination),
        lambda: load(destination, (B, 1)),
        lambda: load(destination, (B, 1), refresh=True),
    ]


# Another thing in its place


@pytest.mark.parametrize("path", ["", "orders", "_s3pq_objects"])
def test_a_file_in_place_of_a_directory_is_named(
    root: Path, destination: DeltaDestination, path: str
) -> None:
    """The error names the file, which is left as it is."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("mine")
    for ask in asks(destination):
        with pytest.raises(DestinationError, match=rf"{root / path} is a file, not a directory"):
            ask()
    assert (root / path).read_text() == "mine"


def test_a_root_that_cannot_be_made_is_an_error_of_ours() -> None:
    """Nobody, root included, can make a directory under /proc; the error names it."""
    with pytest.raises(DestinationError, match=r"/proc/lake.*allow writing to /proc"):
        load(DeltaDestination("/proc/lake"), (A, 1))


def test_somebody_elses_delta_table_is_not_taken(root: Path, destination: DeltaDestination) -> None:
    """A Delta table that has the name of one of ours is refused and left alone."""
    deltalake.write_deltalake(root / "orders", pa.table({"mine": [1]}))
    for ask in asks(destination):
        with pytest.raises(TableNotManagedError, match=r"orders.*no commit of it is ours"):
            ask()
    assert deltalake.DeltaTable(root / "orders").version() == 0


def test_a_directory_with_other_things_in_it_is_not_taken(
    root: Path, destination: DeltaDestination
) -> None:
    """A table in that directory would let a vacuum delete the other files."""
    (root / "orders").mkdir(parents=True)
    (root / "orders" / "mine.csv").write_text("1")
    for refresh in (False, True):
        with pytest.raises(TableNotManagedError, match=r"'mine.csv' in it.*move that directory"):
            load(destination, (A, 1), refresh=refresh)
    assert [path.name for path in (root / "orders").iterdir()] == ["mine.csv"]
    (root / "orders" / "mine.csv").unlink()
    load(destination, (A, 1))
    assert ids_by_key(destination) == {A.key: [0]}


def test_what_a_killed_first_load_left_is_no_hindrance(
    root: Path, destination: DeltaDestination
) -> None:
    """Data files of ours in a directory without a log do not keep the table from being loaded."""
    (root / "orders").mkdir(parents=True)
    (root / "orders" / "s3pq-0123-00000.parquet").write_bytes(b"half")
    load(destination, (A, 1))
    assert ids_by_key(destination) == {A.key: [0]}


def test_a_table_that_is_deleted_as_the_error_says_is_loaded_again(
    root: Path, destination: DeltaDestination
) -> None:
    """Its directory and its rows in the ledger's two tables are deleted; other tables stay."""
    load(destination, (A, 3), (B, 1))
    for path in sorted((root / "orders").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "orders").rmdir()
    with pytest.raises(TableNotManagedError, match="delete the directory 'orders'"):
        destination.state(OWNER)
    for name in ("_s3pq_objects", "_s3pq_tables"):
        deltalake.DeltaTable(root / name).delete("table_name = 'orders'")
    assert not destination.state(OWNER).exists
    load(destination, (A, 2))
    assert ids_by_key(destination) == {A.key: [0, 1]}


# Damage


def last_commit(root: Path, table: str) -> Path:
    """Return the file of a Delta table's last commit."""
    return max((root / table / "_delta_log").glob("*.json"))


@pytest.mark.first_case
@pytest.mark.parametrize("table", ["orders", "_s3pq_objects", "_s3pq_tables"])
def test_a_last_commit_without_a_byte_is_an_error(
    root: Path, destination: DeltaDestination, table: str
) -> None:
    """A loss of power leaves one; delta-rs takes it for a commit that does nothing."""
    load(destination, (A, 3))
    load(destination, (B, 1))
    path = last_commit(root, table)
    good = path.read_bytes()
    path.write_bytes(b"")
    for ask in asks(destination):
        with pytest.raises(DestinationError, match=rf"{path.name} has 0 bytes.*Put back a copy"):
            ask()
    path.write_bytes(good)
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0]}


def test_a_loss_of_power_during_a_commit_is_mended_as_the_error_says(
    root: Path, destination: DeltaDestination
) -> None:
    """The empty commit is deleted, and the object it loaded is loaded again."""
    load(destination, (A, 3))
    ledger = {name: last_commit(root, name) for name in ("_s3pq_objects", "_s3pq_tables")}
    load(destination, (B, 1))
    for name, before in ledger.items():  # it comes after the table's, so it was not there yet
        last = last_commit(root, name)
        assert last != before
        last.unlink()
    last_commit(root, "orders").unlink()
    assert destination.state(OWNER).rows == 3
    load(destination, (B, 1))
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0]}


@pytest.mark.parametrize("table", ["orders", "_s3pq_objects"])
def test_a_torn_commit_is_an_error(root: Path, destination: DeltaDestination, table: str) -> None:
    """The error names the log, in one line."""
    load(destination, (A, 3))
    path = last_commit(root, table)
    good = path.read_bytes()
    path.write_bytes(good[:100])
    for ask in asks(destination):
        with pytest.raises(DestinationError, match=rf"log of .*{table} cannot be read") as caught:
            ask()
        assert "\n" not in str(caught.value)
    path.write_bytes(good)
    assert ids_by_key(destination) == {A.key: [0, 1, 2]}


@pytest.mark.thorough
def test_a_table_that_was_put_back_to_an_earlier_version_is_refused(
    root: Path, destination: DeltaDestination
) -> None:
    """Its ledger is later; what only the ledger has would never be loaded again."""
    load(destination, (A, 3))
    load(destination, (B, 1))
    last_commit(root, "orders").unlink()
    for ask in asks(destination):
        with pytest.raises(TableNotManagedError, match=r"it is at \d+, _s3pq_objects at \d+"):
            ask()


def cut_off(data: bytes) -> bytes:
    """Leave the first half."""
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    """Spoil the footer."""
    return data[:-200] + bytes(200)


@pytest.mark.first_case
@pytest.mark.parametrize("spoil", [cut_off, flip, None])
def test_a_spoiled_data_file_is_an_error_of_ours(
    root: Path, destination: DeltaDestination, spoil: Callable[[bytes], bytes] | None
) -> None:
    """Reading or rewriting a damaged or missing file is an error; put back, it has all its rows."""
    load(destination, (A, 3), (B, 2))
    (path,) = (root / "orders").glob("*.parquet")
    good = path.read_bytes()
    if spoil is None:
        path.unlink()
    else:
        path.write_bytes(spoil(good))
    for ask in (lambda: rows(destination), lambda: load(destination, (meta(A.key, "v2"), 1))):
        with pytest.raises(DestinationError, match=rf"{root}/orders"):
            ask()
    path.write_bytes(good)
    load(destination, (meta(A.key, "v2"), 1))
    assert ids_by_key(destination) == {A.key: [0], B.key: [0, 1]}


# A full disk


@pytest.mark.first_case
@pytest.mark.parametrize("size", [0, 100, 800, 1_200, 2_500, 4_000])
def test_a_disk_that_is_full_at_any_point_loses_and_doubles_nothing(
    root: Path, destination: DeltaDestination, size: int
) -> None:
    """Whichever file does not fit: rows and ledger agree, and with room again all is loaded."""
    load(destination, (A, 2))
    with full_beyond(size), suppress(DestinationError):
        load(destination, (B, 200))
    state = destination.state(OWNER)
    assert state.rows == state.ledger.rows
    if not state.ledger.holds(B):
        load(destination, (B, 200))
    assert ids_by_key(destination) == {A.key: [0, 1], B.key: list(range(200))}


def test_a_disk_that_is_full_from_the_start_leaves_nothing(
    root: Path, destination: DeltaDestination
) -> None:
    """Nothing exists afterwards, and with room again all is loaded."""
    with full_beyond(0), pytest.raises(DestinationError, match=str(root)):
        load(destination, (A, 3))
    assert not destination.state(OWNER).exists
    load(destination, (A, 3))
    assert ids_by_key(destination) == {A.key: [0, 1, 2]}


def backfill(destination: DeltaDestination, rows_an_object: int) -> None:
    """Load the pending ones of many objects, each in a checkpoint of its own."""
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        known = writer.state().ledger
        for number, found in enumerate(OBJECTS):
            if not known.holds(found):
                commit(writer, (found, rows_an_object * (number // 20 + 1)))


@pytest.mark.thorough
def test_a_disk_that_fills_up_leaves_the_committed_checkpoints(
    root: Path, destination: DeltaDestination
) -> None:
    """Each checkpoint is there with rows and ledger or not at all; with room again, all loads."""
    load(destination, (OBJECTS[0], ROWS))
    (path,) = (root / "orders").glob("*.parquet")
    with (
        full_beyond(path.stat().st_size * 3 // 2),
        pytest.raises(DestinationError, match="Run again"),
    ):
        backfill(destination, ROWS)
    left = destination.state(OWNER)
    assert left.rows == left.ledger.rows == ROWS * left.ledger.count(Status.LOADED) > 0
    backfill(destination, ROWS)
    assert destination.state(OWNER).rows == ROWS * (20 + 2 * 10)
