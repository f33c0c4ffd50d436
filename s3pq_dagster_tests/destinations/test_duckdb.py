"""Behaviour that only the DuckDB destination has."""

import functools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.duckdb.failures import first_line
from s3pq_dagster.destinations.duckdb.names import quoted
from s3pq_dagster.destinations.duckdb.session import Session
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
    RefusedRowsError,
    TableNotManagedError,
)
from s3pq_dagster.ledger import FORMAT_VERSION, Entry, Status
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    SCHEMA,
    batch,
    commit,
    ids_by_key,
    load,
    loaded,
    sealed,
    stream,
)
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.unit.made import NOON, meta

A, B = meta("orders/a"), meta("orders/b")


@pytest.fixture
def destination(database: Path) -> DuckDBDestination:
    """A destination whose file does not exist yet."""
    return DuckDBDestination(str(database), lock_timeout_seconds=5)


def ask(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Run a statement on the file as a user would."""
    with duckdb.connect(str(database)) as connection:
        return connection.execute(sql).fetchall()


def test_opening_makes_no_file(database: Path, destination: DuckDBDestination) -> None:
    """Reading the state, or a table, leaves no file behind."""
    destination.state(OWNER)
    with pytest.raises(DestinationError, match="materialize"), destination.read("orders", None):
        pass
    assert not database.exists()


def test_a_commit_goes_into_the_file(database: Path, destination: DuckDBDestination) -> None:
    """The .wal file stays empty: closing the file would write its rows a second time."""
    wal = database.with_name(f"{database.name}.wal")
    with destination.write(OWNER, run_id="run", append=False, refresh=False) as writer:
        for found in (A, B):
            commit(writer, (found, 100_000))
            assert not wal.exists() or wal.stat().st_size < 1000
    assert {key: len(ids) for key, ids in ids_by_key(destination).items()} == {
        A.key: 100_000,
        B.key: 100_000,
    }


def test_directories_are_made(tmp_path: Path) -> None:
    """The directories above the file are created with it."""
    database = tmp_path / "a" / "b" / "lake.duckdb"
    load(DuckDBDestination(str(database)), (A, 1))
    assert database.exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where a directory should be is an error that names the place."""
    (tmp_path / "file").write_text("x")
    destination = DuckDBDestination(str(tmp_path / "file" / "lake.duckdb"))
    with pytest.raises(DestinationError, match=r"file/lake\.duckdb"):
        load(destination, (A, 1))


def test_a_directory_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    """A directory is no DuckDB file."""
    destination = DuckDBDestination(str(tmp_path), lock_timeout_seconds=1)
    for look in (lambda: load(destination, (A, 1)), lambda: destination.state(OWNER)):
        with pytest.raises(DestinationError, match=str(tmp_path)):
            look()


@pytest.mark.parametrize("spoil", [b"not a database", b"\x00" * 20_000])
def test_a_file_that_is_no_database_is_named(
    database: Path, destination: DuckDBDestination, spoil: bytes
) -> None:
    """Another kind of file is refused by name, and left as it is."""
    database.write_bytes(spoil)
    for look in (lambda: load(destination, (A, 1)), lambda: destination.state(OWNER)):
        with pytest.raises(DestinationError, match=r"lake\.duckdb"):
            look()
    assert database.read_bytes() == spoil


def test_a_damaged_file_is_an_error(database: Path, destination: DuckDBDestination) -> None:
    """A header that was overwritten does not read as an empty database."""
    load(destination, (A, 1000))
    damaged = bytearray(database.read_bytes())
    damaged[4096:12_288] = b"\xff" * 8192
    database.write_bytes(damaged)
    with pytest.raises(DestinationError, match=r"lake\.duckdb"):
        destination.state(OWNER)


def test_the_error_says_that_a_file_with_damaged_blocks_is_damaged(
    database: Path, destination: DuckDBDestination
) -> None:
    """A file that opens, but whose rows do not match their checksums, is not mended by a retry."""
    load(destination, (A, 100_000))
    damaged = bytearray(database.read_bytes())
    for block in range(12_288 + 262_144, len(damaged), 262_144):
        damaged[block + 100 : block + 3000] = b"\xff" * len(damaged[block + 100 : block + 3000])
    database.write_bytes(damaged)
    with pytest.raises(DestinationDeniedError, match=r"lake\.duckdb is damaged.*Put back a copy"):
        destination.audit(OWNER)


def test_nothing_is_there_but_tables_and_ledger(
    database: Path, destination: DuckDBDestination
) -> None:
    """One table a prefix and the three of the ledger; no view, no other schema."""
    load(destination, (A, 1))
    names = ask(database, "SELECT schema_name, table_name FROM duckdb_tables() ORDER BY 2")
    ours = ["_s3pq_objects", "_s3pq_schemas", "_s3pq_tables", "orders"]
    assert names == [("main", name) for name in ours]
    assert ask(database, "SELECT view_name FROM duckdb_views() WHERE NOT internal") == []


def test_rows_are_stored_in_whole_groups(database: Path, destination: DuckDBDestination) -> None:
    """Batches of another size are regrouped: DuckDB itself would leave row groups half full."""
    load(destination, *((meta(f"orders/{number}"), 65_536) for number in range(15)))
    groups = "SELECT sum(count) FROM pragma_storage_info('orders') WHERE segment_type = 'BIGINT'"
    counts = ask(database, f"{groups} GROUP BY row_group_id")
    assert counts == [(122_880,)] * 8


def test_the_ledger_has_every_documented_fact(
    database: Path, destination: DuckDBDestination
) -> None:
    """SQL finds the run, the version, the time and the reason of each object."""
    before = datetime.now(UTC)
    bad = Entry(B, Status.QUARANTINED, 0, "truncated")
    with destination.write(OWNER, run_id="run 7", append=False, refresh=False) as writer:
        writer.commit(
            stream(batch(A.key, 2)), schema_key=A.key, seal=lambda: sealed(loaded(A, 2), bad)
        )
    columns = "table_name, bucket, key, e_tag, size, last_modified, rows, status, reason, run_id"
    assert ask(database, f"SELECT {columns} FROM _s3pq_objects ORDER BY key") == [
        ("orders", "lake", A.key, "v1", 10, NOON, 2, "loaded", None, "run 7"),
        ("orders", "lake", B.key, "v1", 10, NOON, 0, "quarantined", "truncated", "run 7"),
    ]
    ((first, last),) = ask(database, "SELECT min(loaded_at), max(loaded_at) FROM _s3pq_objects")
    assert before <= first <= last <= datetime.now(UTC)


def test_the_ledger_has_a_row_for_each_table(
    database: Path, destination: DuckDBDestination
) -> None:
    """`_s3pq_tables` has owner, schema and its key, fingerprint, cursor and format version."""
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(
            stream(batch(A.key, 2)),
            schema_key=A.key,
            seal=lambda: Commit([loaded(A, 2)], NOON, "fingerprint"),
        )
        writer.commit(
            stream(batch(B.key, 1)), schema_key="x", seal=lambda: Commit([loaded(B, 1)], NOON, None)
        )
    columns = 'table_name, bucket, prefix, schema_key, fingerprint, "cursor", format_version'
    assert ask(database, f"SELECT {columns} FROM _s3pq_tables") == [
        ("orders", "lake", "orders/", A.key, "fingerprint", NOON, FORMAT_VERSION)
    ]
    ((data,),) = ask(database, "SELECT arrow_schema FROM _s3pq_tables")
    assert pa.ipc.read_schema(pa.py_buffer(data)) == SCHEMA


@pytest.mark.first_case
@pytest.mark.parametrize("namespace", ["raw", "Raw Data", 'q"', "MAIN", "select"])
def test_a_namespace_is_made_and_used(database: Path, namespace: str) -> None:
    """Table and ledger are in the given namespace, whatever its name and case."""
    destination = DuckDBDestination(str(database), namespace=namespace)
    load(destination, (A, 2))
    load(destination, (B, 1))
    assert destination.state(OWNER).rows == 3
    assert ids_by_key(destination) == {A.key: [0, 1], B.key: [0]}
    ((schema, count),) = ask(
        database, "SELECT schema_name, count(*) FROM duckdb_tables() GROUP BY ALL"
    )
    assert (schema.lower(), count) == (namespace.lower(), 4)


@pytest.mark.first_case
@pytest.mark.parametrize(
    "text",
    first_of(
        [
            *('"; DROP TABLE canary; --', "'; DROP TABLE canary; --", "\\'; DROP TABLE canary; --"),
            *('x" AS SELECT 1; DROP TABLE canary; --', 'x") VALUES (1); DROP TABLE canary; --'),
            *("*/ DROP TABLE canary; /*", "canary"),
            *("?", "$1", "%s{self.table}", "\n;\n"),
        ],
        keep=4,
    ),
)
def test_no_name_becomes_sql(database: Path, text: str) -> None:
    """Hostile names of tables, columns, keys, runs and namespaces leave other tables alone."""
    ask(database, "CREATE TABLE canary AS SELECT 1 AS alive")
    owner = Owner(text, text, text)
    destination = DuckDBDestination(str(database), namespace=f"s{text}")
    bad = Entry(meta(f"bad {text}", text), Status.QUARANTINED, 0, text)
    for version, refresh in (("", False), ("2", False), ("3", True)):
        found = meta(text, text + version)
        each = pa.record_batch({text: [{text: version}], "_s3_key": [text]})
        with destination.write(owner, run_id=text, append=False, refresh=refresh) as writer:
            writer.commit(
                stream(each),
                schema_key=text,
                seal=functools.partial(Commit, [loaded(found, 1), bad], NOON, text),
            )
        with destination.read(text, [text]) as reader:
            assert reader.read_all().to_pylist() == [{text: {text: version}}]
    with pytest.raises(DestinationError), destination.read(text, [f"{text} "]):
        pass
    with destination.write(owner, run_id=text, append=False, refresh=False) as writer:
        assert writer.remove([text], seal=sealed) == 1
    assert destination.state(owner).rows == 0
    found_tables = ask(database, "SELECT schema_name, table_name FROM duckdb_tables()")
    ledger = ("_s3pq_objects", "_s3pq_tables", "_s3pq_schemas")
    ours = [(f"s{text}", name) for name in (*ledger, text)]
    assert sorted(found_tables) == sorted([("main", "canary"), *ours])
    assert ask(database, "SELECT alive FROM canary") == [(1,)]


class Recorded:
    """A connection that records the SQL it runs."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.statements: list[str] = []

    def execute(self, sql: str, *parameters: Any) -> duckdb.DuckDBPyConnection:
        self.statements.append(sql)
        return self._connection.execute(sql, *parameters)

    def sql(self, sql: str, **options: Any) -> duckdb.DuckDBPyRelation:
        self.statements.append(sql)
        return self._connection.sql(sql, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def statements_for(name: str) -> list[str]:
    """Load, replace, remove and refresh a table; return the SQL with its name replaced."""
    owner = Owner(name, name, name)
    with duckdb.connect() as connection:
        recorded: Any = Recorded(connection)
        session = Session(recorded, Path(name), name, owner, run_id=name)
        session.create_ledger()
        for column in (name, "rowid"):
            with session.transaction():
                session.start_over()
            for version in (name, "v2"):
                each = pa.record_batch({column: [1], "_s3_key": [name]})
                done = [loaded(meta(name, version), 1)]
                session.commit(
                    stream(each), schema_key=name, seal=functools.partial(Commit, done, NOON, name)
                )
        session.remove([name], seal=sealed)
        session.state()
        session.stored_schema()
    return [sql.replace(quoted(name), "<name>") for sql in recorded.statements]


@pytest.mark.first_case
@pytest.mark.parametrize("name", ['"; DROP TABLE canary; --', "'x'", "?", "%s {}"])
def test_a_name_reaches_sql_quoted_or_not_at_all(name: str) -> None:
    """The statements for two names differ only in the quoted identifier."""
    assert statements_for(name) == statements_for("plain")


def test_namespaces_that_only_look_alike_are_two(database: Path) -> None:
    """DuckDB ignores the case of ASCII letters only."""
    for namespace in ("\u00e4", "\u00c4", "a\u0308"):
        assert not DuckDBDestination(str(database), namespace=namespace).state(OWNER).exists
        load(DuckDBDestination(str(database), namespace=namespace), (A, 1))
    assert ask(database, "SELECT count(*) FROM duckdb_tables()") == [(12,)]


def test_a_namespace_may_be_named_like_that_of_temporary_tables(database: Path) -> None:
    """This also holds when a column named `rowid` requires a temporary table."""
    destination = DuckDBDestination(str(database), namespace="temp")
    for found, value in ((A, 1), (B, 2), (meta(A.key, "v2"), 3)):
        each = pa.record_batch({"rowid": [value], "_s3_key": [found.key]})
        with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
            writer.commit(
                stream(each), schema_key="k", seal=functools.partial(sealed, loaded(found, 1))
            )
    assert ask(database, 'SELECT rowid FROM lake."temp".orders ORDER BY 1') == [(2,), (3,)]
    assert ask(database, "SELECT count(*) FROM duckdb_tables()") == [(4,)]


@pytest.mark.first_case
@pytest.mark.parametrize("name", ["temp", "system", "main", "a b'\";--", "_s3pq_new"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    """DuckDB names the database after the file, except for reserved names."""
    destination = DuckDBDestination(str(tmp_path / f"{name}.duckdb"))
    load(destination, (A, 1))
    load(destination, (B, 1))
    assert ids_by_key(destination) == {A.key: [0], B.key: [0]}


def test_namespaces_do_not_know_each_other(database: Path) -> None:
    """The same table name in two namespaces means two tables and two ledgers."""
    one = DuckDBDestination(str(database), namespace="one")
    other = DuckDBDestination(str(database), namespace="other")
    load(one, (A, 2))
    assert not other.state(OWNER).exists
    load(other, (B, 1))
    assert (ids_by_key(one), ids_by_key(other)) == ({A.key: [0, 1]}, {B.key: [0]})


def test_a_users_table_is_not_taken(database: Path, destination: DuckDBDestination) -> None:
    """An existing table of that name, in any case, is refused and left unchanged."""
    ask(database, "CREATE TABLE Orders AS SELECT 1 AS mine")
    for refresh in (False, True):
        with pytest.raises(TableNotManagedError, match="orders"):
            load(destination, (A, 1), refresh=refresh)
    assert ask(database, "SELECT mine FROM Orders") == [(1,)]


def test_a_users_view_is_not_taken(database: Path, destination: DuckDBDestination) -> None:
    """An existing view of that name is refused and left unchanged."""
    ask(database, "CREATE VIEW orders AS SELECT 1 AS mine")
    for refresh in (False, True):
        with pytest.raises(DestinationError, match="orders"):
            load(destination, (A, 1), refresh=refresh)
    assert ask(database, "SELECT mine FROM orders") == [(1,)]


def test_the_error_says_that_two_names_differ_only_by_case(destination: DuckDBDestination) -> None:
    """DuckDB takes both names for one; the ledger has only the other one."""
    load(destination, (meta("Tab/a"), 1), owner=Owner("Tab", "lake", "Tab/"))
    with pytest.raises(TableNotManagedError, match=r"'tab'.*'Tab'.*differ only by case"):
        load(destination, (meta("tab/a"), 1), owner=Owner("tab", "lake", "tab/"))
    assert ids_by_key(destination, "Tab") == {"Tab/a": [0]}


def test_entries_without_a_table_are_refused(
    database: Path, destination: DuckDBDestination
) -> None:
    """Loaded entries of a table that somebody dropped are an error, not "nothing to load"."""
    load(destination, (A, 1))
    ask(database, "DROP TABLE orders")
    ask(database, "DELETE FROM _s3pq_tables")
    with pytest.raises(TableNotManagedError, match="orders"):
        destination.state(OWNER)


def test_an_object_that_is_loaded_already_is_refused(destination: DuckDBDestination) -> None:
    """When two runs load the same version, the second commit fails and writes nothing."""
    load(destination, (A, 2))
    with pytest.raises(DestinationError, match="another run"):
        load(destination, (B, 1), (A, 2))
    assert ids_by_key(destination) == {A.key: [0, 1]}


def test_the_error_has_the_reason_of_a_failed_insert(destination: DuckDBDestination) -> None:
    """The error has DuckDB's message about the rows, not the one about the rollback."""
    twice = pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64()))
    each = pa.record_batch({"c": twice, "_s3_key": [A.key]})
    with (
        pytest.raises(RefusedRowsError, match=r"(?i)map.*unique|duplicate"),
        destination.write(OWNER, run_id="r", append=False, refresh=False) as writer,
    ):
        writer.commit(stream(each), schema_key=A.key, seal=lambda: sealed(loaded(A, 1)))
    assert not destination.state(OWNER).exists


def test_a_memory_limit_is_duckdbs_own(database: Path) -> None:
    """A limit that DuckDB refuses is an error with DuckDB's message, and is not retried."""
    with pytest.raises(DestinationDeniedError, match=r"memory_limit 'many'.*number") as caught:
        load(DuckDBDestination(str(database), memory_limit="many"), (A, 1))
    assert "damaged" not in str(caught.value)
    load(DuckDBDestination(str(database), memory_limit="200MB"), (A, 50_000))


_READ_ONE = """
import sys
from s3pq_dagster.destinations.duckdb import DuckDBDestination
destination = DuckDBDestination(sys.argv[1])
with destination.read("orders", None) as reader:
    reader.read_next_batch()
with destination.read("orders", ["id"]) as again:
    print(again.read_all().num_rows)
"""


def test_a_file_that_is_open_in_this_process_is_waited_for(database: Path) -> None:
    """DuckDB's error about another configuration does not count as a damaged file."""
    destination = DuckDBDestination(str(database), lock_timeout_seconds=0.2)
    load(destination, (A, 1))
    with (
        duckdb.connect(str(database)),
        pytest.raises(DestinationLockedError, match="in this process"),
    ):
        load(destination, (B, 1))
    load(destination, (B, 1))


def test_a_file_has_one_lock_whatever_its_name(database: Path, tmp_path: Path) -> None:
    """A writer that opens the file by a link waits for a reader of the file."""
    load(DuckDBDestination(str(database)), (A, 1))
    link = tmp_path / "link.duckdb"
    link.symlink_to(database)
    writer = DuckDBDestination(str(link), lock_timeout_seconds=0.2)
    with (
        DuckDBDestination(str(database)).read("orders", None),
        pytest.raises(DestinationLockedError, match="drain or close"),
    ):
        load(writer, (B, 1))
    load(writer, (B, 1))


def test_a_file_is_made_where_there_are_no_hard_links(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another process created meanwhile is not replaced."""

    def hardlink_to(self: Path, made: Path) -> None:
        if self.parent.name == "taken":
            self.write_bytes(b"another's")
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    load(DuckDBDestination(str(database)), (A, 1))
    assert ids_by_key(DuckDBDestination(str(database))).keys() == {A.key}
    taken = database.parent / "taken" / "lake.duckdb"
    with pytest.raises(DestinationError):
        load(DuckDBDestination(str(taken), lock_timeout_seconds=1), (A, 1))
    assert taken.read_bytes() == b"another's"


def test_an_error_without_a_word_has_its_name() -> None:
    """An error of DuckDB without a message is shown by its class."""
    assert first_line(duckdb.IOException("")) == "IOException"


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[duckdb.DuckDBPyConnection]:
    """All connections opened during the test, in order."""
    opened: list[duckdb.DuckDBPyConnection] = []
    connect = duckdb.connect

    def kept(*arguments: Any, **options: Any) -> duckdb.DuckDBPyConnection:
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(duckdb, "connect", kept)
    return opened


def test_a_connection_reaches_no_file_and_draws_no_bar(
    destination: DuckDBDestination, connections: list[duckdb.DuckDBPyConnection]
) -> None:
    """A connection reads only its own file and prints nothing, and no statement can change that.

    The same holds for a second reader, which shares the open file with the first.
    """
    load(destination, (A, 1))
    with destination.read("orders", None), destination.read("orders", None):
        for cursor in (connections[-1].cursor(), connections[-1].cursor()):
            for setting in ("enable_progress_bar", "enable_external_access", "lock_configuration"):
                said = cursor.execute(f"SELECT current_setting('{setting}')").fetchall()
                assert said == [(setting == "lock_configuration",)]
            with pytest.raises(duckdb.Error, match="locked"):
                cursor.execute("SET enable_progress_bar = true")
            with pytest.raises(duckdb.Error, match="disabled"):
                cursor.execute("SELECT * FROM read_csv('/etc/passwd')")
            cursor.close()


def test_a_writers_configuration_is_locked(
    destination: DuckDBDestination, connections: list[duckdb.DuckDBPyConnection]
) -> None:
    """No statement can change what the connection may access."""
    load(destination, (A, 1))
    written = destination.write(OWNER, run_id="r", append=False, refresh=False)
    with written, pytest.raises(duckdb.Error, match="locked"):
        connections[-1].cursor().execute("SET enable_progress_bar = true")


def test_many_threads_may_read_at_a_time(destination: DuckDBDestination) -> None:
    """Readers in several threads share one open file."""
    load(destination, (A, 1))
    with ExitStack() as held:
        readers = [held.enter_context(destination.read("orders", None)) for _ in range(3)]
        with ThreadPoolExecutor(4) as pool:
            states = list(pool.map(lambda _: destination.state(OWNER), range(8)))
        assert {state.rows for state in states} == {1}
        assert [reader.read_all().num_rows for reader in readers] == [1, 1, 1]


def test_a_reader_that_stops_early_does_not_hold_the_file(
    database: Path, destination: DuckDBDestination
) -> None:
    """After one batch of a reader the file can be opened again; a hang ends with the process."""
    load(destination, (A, 100_000))
    done = subprocess.run(
        [sys.executable, "-c", _READ_ONE, str(database)],
        timeout=20,
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"100000"]


def test_the_file_is_free_between_calls(database: Path, destination: DuckDBDestination) -> None:
    """Other connections can open the file after each call, failed calls included."""
    load(destination, (A, 1))
    destination.state(OWNER)
    ids_by_key(destination)
    with pytest.raises(DestinationError), destination.read("nothing", None):
        pass
    assert ask(database, "SELECT count(*) FROM orders") == [(1,)]


def test_rows_can_be_replaced_after_duckdb_compacted(
    database: Path, destination: DuckDBDestination
) -> None:
    """Old rows are still told from new ones after a deletion and a CHECKPOINT."""
    load(destination, (A, 200_000), (B, 5))
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.remove([A.key], seal=sealed)
    ask(database, "CHECKPOINT")
    load(destination, (meta(B.key, "v2"), 3), start=50)
    load(destination, (meta(A.key, "v2"), 4))
    load(destination, (meta(A.key, "v3"), 2), start=90)
    assert ids_by_key(destination) == {A.key: [90, 91], B.key: [50, 51, 52]}


def test_a_process_keeps_few_instances(
    tmp_path: Path, connections: list[duckdb.DuckDBPyConnection]
) -> None:
    """One instance attaches a file whenever it is opened; those of other files are closed."""
    for number in range(6):
        destination = DuckDBDestination(str(tmp_path / f"{number}.duckdb"))
        load(destination, (A, 1), start=number)
        load(destination, (B, 1), start=number)
        assert ids_by_key(destination) == {A.key: [number], B.key: [number]}
    assert len(connections) == 12  # each file is created by another one
    assert sum(map(is_open, connections)) <= 4


def is_open(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a connection takes statements."""
    try:
        connection.execute("SELECT 1")
    except duckdb.ConnectionException:
        return False
    return True


def test_another_memory_limit_is_another_instance(database: Path) -> None:
    """Where nobody has the file open it is taken at once, else it is waited for."""
    small, large = (
        DuckDBDestination(str(database), memory_limit=limit, lock_timeout_seconds=0.2)
        for limit in ("100MB", "200MB")
    )
    load(small, (A, 1))
    load(large, (B, 1))
    with small.read("orders", None), pytest.raises(DestinationLockedError, match="memory_limit"):
        large.state(OWNER)
    assert large.state(OWNER).rows == 2


def test_a_file_with_the_name_of_duckdbs_own_database(tmp_path: Path) -> None:
    """The instance that attaches a file has a database in memory, of the name ``memory``."""
    destination = DuckDBDestination(str(tmp_path / "memory.duckdb"))
    load(destination, (A, 2))
    assert ids_by_key(destination) == {A.key: [0, 1]}


def test_a_default_may_name_the_file(database: Path, destination: DuckDBDestination) -> None:
    """A file is attached under the name it has where people open it."""
    load(destination, (A, 1))
    name = database.stem
    ask(
        database,
        f"CREATE SEQUENCE ids; ALTER TABLE orders ADD COLUMN mine INTEGER; "
        f"ALTER TABLE orders ALTER COLUMN mine SET DEFAULT nextval('{name}.main.ids')",
    )
    load(destination, (B, 2))
    assert ask(database, "SELECT count(mine) FROM orders") == [(2,)]


def test_nothing_is_left_beside_the_file(
    database: Path, connections: list[duckdb.DuckDBPyConnection]
) -> None:
    """What spills leaves no directory of temporary files while the process goes on."""
    destination = DuckDBDestination(str(database), memory_limit="64MB")
    load(destination, (A, 1))
    with destination.read("orders", None), connections[-1].cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE spilled AS SELECT md5(range::TEXT) FROM range(3000000)")
        assert database.with_name(f"{database.name}.tmp").exists()
    assert [each.name for each in database.parent.iterdir()] == [database.name]


def test_no_thread_is_left(destination: DuckDBDestination) -> None:
    """DuckDB's threads end with its connection."""
    before = threading.active_count()
    load(destination, (A, 100_000))
    assert threading.active_count() <= before
