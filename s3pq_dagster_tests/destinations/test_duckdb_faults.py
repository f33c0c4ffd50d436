"""A DuckDB file that fails: a clear error, no partial write, and a correct load once repaired."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.duckdb.failures import after_commit
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.ledger import Status
from s3pq_dagster_tests.destinations.tables import OWNER, commit, ids_by_key, load, rows
from s3pq_dagster_tests.full_disk import full_beyond
from s3pq_dagster_tests.unit.made import meta

OBJECTS = [meta(f"orders/{number}") for number in range(30)]
ROWS = 20_000


@pytest.fixture
def destination(database: Path) -> DuckDBDestination:
    """A destination whose file does not exist yet."""
    return DuckDBDestination(str(database), lock_timeout_seconds=1)


def backfill(destination: DuckDBDestination) -> None:
    """Load the pending ones of many objects, with a checkpoint for each."""
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        known = writer.state().ledger
        for found in OBJECTS:
            if not known.holds(found):
                commit(writer, (found, ROWS))


def test_a_disk_that_is_full_from_the_start_leaves_nothing(
    database: Path, destination: DuckDBDestination
) -> None:
    """No empty file is left, which DuckDB would refuse to open; with space again the load works."""
    with full_beyond(0), pytest.raises(DestinationError, match=r"lake\.duckdb.*Make room"):
        load(destination, (OBJECTS[0], 3))
    assert list(database.parent.iterdir()) == []
    load(destination, (OBJECTS[0], 3))
    assert ids_by_key(destination) == {OBJECTS[0].key: [0, 1, 2]}


@pytest.mark.thorough
def test_a_disk_that_fills_up_leaves_the_committed_checkpoints(
    database: Path, destination: DuckDBDestination
) -> None:
    """Each checkpoint has its rows and entries or neither; with space again the rest is loaded."""
    load(destination, (OBJECTS[0], ROWS))
    with (
        full_beyond(database.stat().st_size + 1_000_000),
        pytest.raises(DestinationError, match=r"lake\.duckdb.*[Rr]un again"),
    ):
        backfill(destination)
    left = destination.state(OWNER)
    assert ROWS <= left.rows < ROWS * len(OBJECTS)
    assert left.rows == left.ledger.rows == ROWS * left.ledger.count(Status.LOADED)
    backfill(destination)
    assert {key: len(ids) for key, ids in ids_by_key(destination).items()} == {
        found.key: ROWS for found in OBJECTS
    }


def test_a_commit_that_fails_is_looked_up(database: Path, destination: DuckDBDestination) -> None:
    """DuckDB fails in COMMIT while it writes into the file; the error says what the file shows."""
    load(destination, (OBJECTS[0], 400_000))
    with (
        full_beyond(database.stat().st_size),
        pytest.raises(DestinationError, match="as a look into the file shows") as caught,
    ):
        load(destination, (OBJECTS[1], 30_000))
    stands = destination.state(OWNER).ledger.holds(OBJECTS[1])
    assert ("is committed all the same" in str(caught.value)) is stands
    assert ("is rolled back" in str(caught.value)) is not stands


def test_an_error_of_reading_says_that_nothing_is_changed(
    database: Path, destination: DuckDBDestination
) -> None:
    """There is no transaction that could be rolled back."""
    load(destination, (OBJECTS[0], 3))
    with duckdb.connect(str(database)) as connection:
        connection.execute("ALTER TABLE _s3pq_objects DROP COLUMN reason")
    with pytest.raises(DestinationError, match="only read, and nothing is changed") as caught:
        destination.state(OWNER)
    assert "rolled back" not in str(caught.value)


@pytest.mark.parametrize(
    ("stands", "words"),
    [(True, "is committed all the same"), (False, "is rolled back"), (None, "could not be looked")],
)
def test_the_error_of_a_failed_commit_says_whether_it_stands(
    database: Path, *, stands: bool | None, words: str
) -> None:
    """Nothing is claimed that nobody knows."""
    assert words in str(after_commit(database, DestinationError("disk full"), stands=stands))


def overwrite_header(data: bytes) -> bytes:
    """Overwrite the header of the file."""
    return b"\xff" * 4096 + data[4096:]


def flip_blocks(data: bytes) -> bytes:
    """Flip a byte in the middle of each of DuckDB's blocks; they carry checksums."""
    spoiled = bytearray(data)
    for start in range(3 * 4096 + 100_000, len(data), 262_144):
        spoiled[start] ^= 0xFF
    return bytes(spoiled)


def cut_off(data: bytes) -> bytes:
    """Truncate the file to its first half."""
    return data[: len(data) // 2]


def empty(_data: bytes) -> bytes:
    """Empty the file."""
    return b""


@pytest.mark.first_case
@pytest.mark.parametrize("spoil", [overwrite_header, flip_blocks, cut_off, empty])
def test_a_spoiled_file_is_an_error_of_ours_and_left_as_it_is(
    database: Path, destination: DuckDBDestination, spoil: Callable[[bytes], bytes]
) -> None:
    """Reading it raises an error that names the file; with the good file back, loading works."""
    load(destination, (OBJECTS[0], 300_000))
    good = database.read_bytes()
    spoiled = spoil(good)
    database.write_bytes(spoiled)
    with pytest.raises(DestinationError, match=r"lake\.duckdb"):
        rows(destination)
    assert database.read_bytes() == spoiled
    database.write_bytes(good)
    load(destination, (OBJECTS[1], 3))
    assert destination.state(OWNER).rows == 300_003


def test_a_spoiled_log_is_an_error_of_ours(database: Path, destination: DuckDBDestination) -> None:
    """A flipped byte in the write-ahead log loses no rows silently; the error says what to do."""
    load(destination, (OBJECTS[0], 3))
    with duckdb.connect(str(database)) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("UPDATE orders SET id = id + 10")
    log = database.with_name("lake.duckdb.wal")
    good = log.read_bytes()
    middle = len(good) // 2
    log.write_bytes(good[:middle] + bytes([good[middle] ^ 0xFF]) + good[middle + 1 :])
    for look in (lambda: destination.state(OWNER), lambda: load(destination, (OBJECTS[1], 1))):
        with pytest.raises(DestinationError, match=r"lake\.duckdb.*put back a copy"):
            look()
    log.write_bytes(good)
    assert ids_by_key(destination) == {OBJECTS[0].key: [10, 11, 12]}


def test_a_file_whose_directory_is_not_writable_is_an_error_of_ours() -> None:
    """Not even root can create a file under /proc; the error names the directory."""
    destination = DuckDBDestination("/proc/lake.duckdb")
    with pytest.raises(DestinationError, match=r"/proc/lake\.duckdb.*allow writing to /proc"):
        load(destination, (OBJECTS[0], 1))
