"""Behaviour that only the PostgreSQL destination has."""

import datetime as dt
import functools
import signal
import threading
from collections.abc import Iterator
from decimal import Context, Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import stop_after_delay

from s3pq_dagster.destinations.postgres import values
from s3pq_dagster.destinations.postgres.destination import PostgresDestination
from s3pq_dagster.destinations.postgres.names import stored_name
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.errors import (
    ConfigurationError,
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
    TableNotManagedError,
    UnsupportedSchemaError,
)
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster_tests.destinations.places import held
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace, run_on_server
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    SCHEMA,
    batch,
    commit,
    entries,
    ids_by_key,
    load,
    loaded,
    sealed,
    stream,
)
from s3pq_dagster_tests.examples import examples
from s3pq_dagster_tests.unit.made import NOON, meta
from s3pq_dagster_tests.waiting import again_while

A, B = meta("orders/a"), meta("orders/b")
LEDGER = {"_s3pq_objects", "_s3pq_tables", "_s3pq_schemas"}
OTHER = pa.record_batch({"other": [1.5], "_s3_key": [A.key]})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    """A new database."""
    found = PostgresPlace(tmp_path)
    yield found
    found.discard()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPlace]:
    """One database for all examples of a property."""
    found = PostgresPlace(tmp_path_factory.mktemp("lake"))
    yield found
    found.discard()


@pytest.fixture
def destination(place: PostgresPlace) -> PostgresDestination:
    """The database as a destination."""
    return PostgresDestination(place.url, lock_timeout_seconds=5)


def load_batch(
    destination: PostgresDestination, each: pa.RecordBatch, owner: Owner = OWNER
) -> None:
    """Load a batch as one object."""
    key = each.column("_s3_key")[0].as_py()
    with destination.write(owner, run_id="r", append=False, refresh=False) as writer:
        writer.commit(
            stream(each), schema_key=key, seal=lambda: sealed(loaded(meta(key), each.num_rows))
        )


def refresh_with(destination: PostgresDestination, each: pa.RecordBatch) -> None:
    """Refresh the table with a batch as its only object."""
    with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
        writer.commit(stream(each), schema_key=A.key, seal=lambda: sealed(loaded(A, each.num_rows)))


# What is read


def test_rows_of_a_large_table_come_back_in_order(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """PostgreSQL lets a scan begin where another one has just been, unless it is told not to."""
    count = 24_000  # more than a quarter of shared_buffers
    large = {"id": range(count), "text": ["x" * 1700] * count, "_s3_key": [A.key] * count}
    load_batch(destination, pa.record_batch(large))
    with psycopg.connect(place.url) as other:
        other.execute("DECLARE half CURSOR FOR SELECT id FROM orders")
        other.execute(f"FETCH {count // 2} FROM half")
    with destination.read("orders", ["id"]) as reader:
        assert reader.read_all()["id"].to_pylist() == list(range(count))


# What is created


def test_looking_makes_nothing(place: PostgresPlace, destination: PostgresDestination) -> None:
    """Reading the state, an audit or a table creates nothing."""
    destination.state(OWNER)
    destination.audit(OWNER)
    with pytest.raises(DestinationError, match="materialize"), destination.read("orders", None):
        pass
    assert place.tables() == set()


def test_nothing_else_is_left_in_the_database(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """After loads and refreshes only the table and the ledger exist."""
    load(destination, (A, 1))
    refresh_with(destination, batch(A.key, 1))
    refresh_with(destination, OTHER)
    assert place.tables() == {"orders", *LEDGER}


def test_types_are_postgresqls_own(place: PostgresPlace, destination: PostgresDestination) -> None:
    """SQL can work with the values, nested ones included."""
    row = {"at": NOON, "tags": ["a", "b"], "nested": {"n": 5, "m": [{"k": "v"}]}, "_s3_key": "k"}
    load_batch(destination, pa.RecordBatch.from_pylist([row]))
    sql = "SELECT extract(year FROM at)::int, tags[2], nested->'m'->0->>'k' FROM orders"
    assert place.run(sql) == [(NOON.year, "b", "v")]


@pytest.mark.first_case
@pytest.mark.parametrize("namespace", ["raw", "Raw Data", 'q"', "PUBLIC", "select", "ü" * 31])
def test_a_namespace_is_made_and_used(place: PostgresPlace, namespace: str) -> None:
    """Table and ledger are in the given namespace, whatever its name and case."""
    destination = PostgresDestination(place.url, namespace=namespace)
    load(destination, (A, 2))
    load(destination, (B, 1))
    assert destination.state(OWNER).rows == 3
    assert ids_by_key(destination) == {A.key: [0, 1], B.key: [0]}
    sql = "SELECT schemaname::text, count(*) FROM pg_tables WHERE tablename::text IN "
    found = place.run(f"{sql} ('orders', '_s3pq_objects', '_s3pq_tables') GROUP BY 1")
    assert found == [(namespace, 3)]


@pytest.mark.parametrize("namespace", ["", "a\x00b", "n" * 64, "ü" * 32])
def test_a_namespace_that_would_be_another_is_refused(namespace: str) -> None:
    """PostgreSQL would truncate the name to 63 bytes."""
    with pytest.raises(ConfigurationError, match="namespace"):
        PostgresDestination("postgresql://u@h/d", namespace=namespace)


def test_namespaces_do_not_know_each_other(place: PostgresPlace) -> None:
    """The same table name in two namespaces means two tables, two ledgers and two locks."""
    one = PostgresDestination(place.url, namespace="one")
    other = PostgresDestination(place.url, namespace="other")
    load(one, (A, 2))
    assert not other.state(OWNER).exists
    with one.write(OWNER, run_id="r", append=False, refresh=False):
        load(other, (B, 1))
    assert (ids_by_key(one), ids_by_key(other)) == ({A.key: [0, 1]}, {B.key: [0]})


@pytest.mark.first_case
@pytest.mark.parametrize(
    "text",
    [
        *('"; DROP TABLE canary; --', "'; DROP TABLE canary; --", "\\'; DROP TABLE canary; --"),
        *('x" () ; DROP TABLE canary; --', 'x") VALUES (1); DROP TABLE canary; --', "{a,b}"),
        *("*/ DROP TABLE canary; /*", "canary", "$1", "%s{self.sql}", "\n;\n"),
    ],
)
def test_no_name_becomes_sql(place: PostgresPlace, text: str) -> None:
    """Hostile names of tables, columns, keys, runs and namespaces leave other tables alone."""
    place.run("CREATE TABLE canary AS SELECT 1 AS alive")
    owner = Owner(text, text, text)
    destination = PostgresDestination(place.url, namespace=f"s{text}")
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
    assert place.tables() == {"canary", *LEDGER, text}
    assert place.run("SELECT alive FROM canary") == [(1,)]


# Limits of names, columns and values


def test_long_names_of_tables_stay_apart(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """PostgreSQL would truncate three names to the same one, so they get a hash."""
    names = [f"{'t' * 70}{number}" for number in range(3)]
    for number, name in enumerate(names):
        load(destination, (A, number + 1), owner=Owner(name, "lake", name))
    for number, name in enumerate(names):
        assert ids_by_key(destination, name) == {A.key: list(range(number + 1))}
        assert destination.state(Owner(name, "lake", name)).rows == number + 1
    assert place.tables() == {*LEDGER, *map(stored_name, names)}


@pytest.mark.parametrize("table", ["t" * 63, "t" * 64, "ü" * 40, "\U0001f600" * 20])
def test_a_stored_name_fits(table: str) -> None:
    """A name that fits is kept; a longer one is shortened between characters."""
    found = stored_name(table)
    assert len(found.encode()) <= 63
    assert (found == table) == (len(table.encode()) <= 63)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["c" * 64], "'c{64}' has a name of more than 63 bytes"),
        (["ü" * 32], "more than 63 bytes"),
        (["ctid", "xmin"], "'ctid' has a name that PostgreSQL keeps.*'xmin'"),
        ([f"c{n}" for n in range(1_600)], "1601, more than PostgreSQL's 1600"),
    ],
    ids=["long", "long in bytes", "system", "many"],
)
def test_columns_that_cannot_be_made_are_refused(
    destination: PostgresDestination, names: list[str], reason: str
) -> None:
    """The columns are refused before anything is written, and the error says what to do."""
    each = pa.record_batch({**{name: [1] for name in names}, "_s3_key": [A.key]})
    with pytest.raises(UnsupportedSchemaError, match=f"(?s){reason}.*skip_tables"):
        load_batch(destination, each)
    assert not destination.state(OWNER).exists


def test_a_row_that_fits_no_page_is_refused(destination: PostgresDestination) -> None:
    """A row of more than 8 kB is an error that is not retried, and nothing is written."""
    each = pa.record_batch({**{f"c{n}": [1] for n in range(1_500)}, "_s3_key": [A.key]})
    with pytest.raises(UnsupportedSchemaError, match=r"row is too big.*skip_tables"):
        load_batch(destination, each)
    assert not destination.state(OWNER).exists


def test_many_columns_come_back(destination: PostgresDestination) -> None:
    """As many columns as fit a page can be stored and read."""
    each = pa.record_batch({**{f"c{n}": [n] for n in range(900)}, "_s3_key": [A.key]})
    load_batch(destination, each)
    with destination.read("orders", None) as reader:
        assert reader.read_all().to_batches() == [each]


def test_large_values_come_back(destination: PostgresDestination) -> None:
    """A value of tens of megabytes is stored and read."""
    each = pa.record_batch({"text": ["x" * 30_000_000, "y"], "_s3_key": [A.key] * 2})
    load_batch(destination, each)
    with destination.read("orders", None) as reader:
        assert reader.read_all().equals(pa.table(each))


def test_a_value_that_is_refused_names_its_object(destination: PostgresDestination) -> None:
    """The error names column, object and PostgreSQL's type, and says what to do."""
    each = pa.record_batch({"t": ["fine", "NUL \x00"], "_s3_key": [A.key] * 2})
    with pytest.raises(
        UnsupportedSchemaError, match=r"column 't'.*as text: it has NUL.*'orders/a'.*Convert"
    ):
        load_batch(destination, each)


def test_text_that_is_no_json_is_refused(destination: PostgresDestination) -> None:
    """A column of the JSON type with other text is refused, with what the server says."""
    each = pa.record_batch(
        [pa.array(["{}", "{no"], pa.json_()), pa.array([A.key] * 2)], ["c", "_s3_key"]
    )
    with pytest.raises(UnsupportedSchemaError, match=r"(?s)json.*column c.*skip_tables"):
        load_batch(destination, each)
    assert not destination.state(OWNER).exists


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [float("-inf")]], ids=["nan", "inf", "deep"]
)
def test_numbers_that_json_does_not_have_are_refused(
    destination: PostgresDestination, value: object
) -> None:
    """NaN and infinity are refused only inside nested values, which are stored as JSON."""
    with pytest.raises(UnsupportedSchemaError, match=r"'n'.*as json: JSON would change"):
        load_batch(destination, pa.record_batch({"n": [{"f": value}], "_s3_key": [A.key]}))


def test_nested_values_come_back_from_many_batches(destination: PostgresDestination) -> None:
    """Nulls at every depth, extreme values and text that JSON escapes are kept."""
    rows: list[dict[str, object] | None] = [
        None,
        {"a": None, "b": [], "at": None},
        {"a": 2**63 - 1, "b": [[('k\n"\\\u2028', 0.1)], None, []], "at": NOON},
        {"a": -(2**63), "b": [[("", 5e-324), ("", -0.0)]], "at": NOON},
    ]
    kind = pa.struct(
        [
            ("a", pa.int64()),
            ("b", pa.list_(pa.map_(pa.string(), pa.float64()))),
            ("at", pa.timestamp("ns", "Europe/Berlin")),
        ]
    )
    column = pa.array(rows * 20_000, kind)
    each = pa.record_batch([column, pa.array([A.key] * len(column))], ["n", "_s3_key"])
    load_batch(destination, each)
    with destination.read("orders", ["n"]) as reader:
        assert reader.read_all().column("n").combine_chunks().equals(column)


def test_a_key_with_nul_is_refused(destination: PostgresDestination) -> None:
    """A key with NUL is refused even for a quarantined object; NUL in a reason is escaped."""
    for found, reason in ((meta("orders/\x00"), "bad"), (A, "bytes \x00\x01")):
        bad = Entry(found, Status.QUARANTINED, 0, reason)
        with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
            write = functools.partial(
                writer.commit, None, schema_key=None, seal=functools.partial(sealed, bad)
            )
            if found is A:
                write()
                continue
            with pytest.raises(UnsupportedSchemaError, match=r"'orders/\\x00'.*NUL.*skip_tables"):
                write()
    assert entries(destination) == [(A.key, "v1", "quarantined")]
    assert list(destination.state(OWNER).ledger.frame["reason"]) == ["bytes \\x00\x01"]


# Ownership


@pytest.mark.parametrize("kind", ["TABLE", "VIEW", "MATERIALIZED VIEW"])
def test_what_is_a_users_is_not_taken(
    place: PostgresPlace, destination: PostgresDestination, kind: str
) -> None:
    """An existing table or view of that name is refused and left unchanged."""
    place.run(f"CREATE {kind} orders AS SELECT 1 AS mine")
    for refresh in (False, True):
        with pytest.raises(TableNotManagedError, match="orders"):
            load(destination, (A, 1), refresh=refresh)
    assert place.run("SELECT mine FROM orders") == [(1,)]


def test_a_users_table_of_another_case_is_another(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """Quoted names are case-sensitive."""
    place.run('CREATE TABLE "Orders" AS SELECT 1 AS mine')
    load(destination, (A, 1))
    assert place.run('SELECT mine FROM "Orders"') == [(1,)]


def test_rows_without_an_entry_are_not_doubled(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """After entries were deleted by hand, a load that would double rows is refused."""
    load(destination, (A, 3), (B, 2))
    place.run(f"DELETE FROM _s3pq_objects WHERE key = '{A.key}'")
    with pytest.raises(TableNotManagedError, match="3 rows in the table and 0 in _s3pq_objects"):
        load(destination, (A, 3))
    load(destination, (meta(B.key, "v2"), 1), start=70)
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [70]}


def test_an_object_that_is_loaded_already_is_refused(destination: PostgresDestination) -> None:
    """Should two runs get that far, the second commit of one version writes nothing."""
    load(destination, (A, 2))
    with pytest.raises(DestinationError, match="another run"):
        load(destination, (B, 1), (A, 2))
    assert ids_by_key(destination) == {A.key: [0, 1]}


def test_rows_that_do_not_go_are_not_doubled(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """If old rows cannot be deleted, here because of a trigger, nothing is committed.

    The same count catches an old row whose ``xmin`` equals the number of the present transaction:
    a row has only 32 bits of that number.
    """
    load(destination, (A, 3))
    place.run("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    place.run("CREATE TRIGGER keep BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION keep()")
    with pytest.raises(DestinationError, match=r"5 rows of 1 replaced objects instead of 2"):
        load(destination, (meta(A.key, "v2"), 2))
    assert entries(destination) == [(A.key, "v1", "loaded")]
    assert ids_by_key(destination) == {A.key: [0, 1, 2]}


# Locks


def test_the_lock_is_gone_with_the_writer(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """The lock is released even if the context ends with an error."""
    load(destination, (A, 1))
    with (
        pytest.raises(ZeroDivisionError),
        destination.write(OWNER, run_id="r", append=False, refresh=False),
    ):
        raise ZeroDivisionError
    sql = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
    here = "locktype = 'advisory' AND datname = current_database()"
    assert place.run(f"{sql} WHERE {here}") == [(0,)]


def test_the_error_names_the_holder_of_the_lock(place: PostgresPlace) -> None:
    """The error names the server process, its user and its start."""
    destination = PostgresDestination(place.url, lock_timeout_seconds=0.2)
    with (
        held(place, OWNER.table),
        pytest.raises(
            DestinationLockedError,
            match=r"'orders' in .* by another process \(server process \d+ of postgres, .*since 20",
        ),
    ):
        load(destination, (A, 1))


def test_a_writer_that_waits_for_s3_is_not_idle_in_a_transaction(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """A server may end such connections, and they keep old rows from being vacuumed."""
    sql = f"SELECT DISTINCT state FROM pg_stat_activity WHERE datname = '{place.database}'"
    other = " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        assert place.run(sql + other) == [("idle",)]
        commit(writer, (A, 1))
        assert place.run(sql + other) == [("idle",)]


def test_a_refresh_keeps_what_people_gave_the_table(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """A refresh with the same columns keeps privileges, views and indexes."""
    load(destination, (A, 3))
    place.run("CREATE VIEW seen AS SELECT count(*) AS n FROM orders")
    place.run("CREATE INDEX by_key ON orders (_s3_key)")
    place.run("GRANT SELECT ON orders TO public")
    refresh_with(destination, batch(A.key, 2))
    assert place.run("SELECT n FROM seen") == [(2,)]
    assert place.run("SELECT relacl::text ~ '=r/' FROM pg_class WHERE relname = 'orders'") == [
        (True,)
    ]
    assert place.run("SELECT count(*) FROM pg_indexes WHERE indexname = 'by_key'") == [(1,)]


def test_a_refresh_with_other_columns_does_not_take_a_view_with_it(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """The refresh fails without a retry, names the view, and leaves the old table."""
    load(destination, (A, 3))
    place.run("CREATE VIEW seen AS SELECT count(*) AS n FROM orders")
    with pytest.raises(DestinationDeniedError, match=r"view seen depends on.*Drop what depends"):
        refresh_with(destination, OTHER)
    assert place.run("SELECT n FROM seen") == [(3,)]
    assert destination.state(OWNER).schema == SCHEMA
    place.run("DROP VIEW seen")
    refresh_with(destination, OTHER)
    assert destination.state(OWNER).schema == OTHER.schema


def test_a_refresh_to_nothing_leaves_nothing(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """After a refresh without objects the table does not exist."""
    load(destination, (A, 3))
    with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
        writer.commit(None, schema_key=None, seal=sealed)
        assert writer.state().rows == 0
    assert not destination.state(OWNER).exists
    assert place.tables() == LEDGER


def test_a_refresh_mends_a_table_whose_columns_somebody_changed(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """A refresh creates a table that somebody altered again, instead of filling it."""
    load(destination, (A, 3))
    place.run("ALTER TABLE orders ALTER COLUMN id TYPE integer")
    refresh_with(destination, batch(A.key, 2))
    assert place.stored_type("orders", "id") == "bigint"
    assert ids_by_key(destination) == {A.key: [0, 1]}


def test_an_open_reader_keeps_its_table(place: PostgresPlace) -> None:
    """A refresh with other columns waits for readers up to its timeout, and can be retried."""
    destination = PostgresDestination(place.url, lock_timeout_seconds=0.3)
    load(destination, (A, 3))
    with destination.read("orders", ["id"]) as reader:
        refresh_with(destination, batch(A.key, 2))  # the same columns: nobody waits
        with pytest.raises(DestinationLockedError, match="another process"):
            refresh_with(destination, OTHER)
        assert reader.read_all().column("id").to_pylist() == [0, 1, 2]
    refresh_with(destination, OTHER)
    assert destination.state(OWNER).schema == OTHER.schema


def test_a_reader_that_stops_early_holds_nothing(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """After one batch of a reader its connection is closed."""
    load(destination, (A, 100_000))
    with destination.read("orders", None) as reader:
        reader.read_next_batch()
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{place.database}'"
    assert place.run(f"{sql} AND pid <> pg_backend_pid() AND state <> 'idle'") == [(0,)]
    refresh_with(destination, OTHER)


def test_columns_are_found_whatever_case_they_are_asked_in(
    destination: PostgresDestination,
) -> None:
    """Columns are found in any case, as in other destinations; PostgreSQL itself compares case."""
    load_batch(destination, pa.record_batch({"Id": [1], "_s3_key": [A.key]}))
    with destination.read("orders", ["ID"]) as reader:
        assert reader.read_all().to_pylist() == [{"Id": 1}]


def test_no_thread_is_left(destination: PostgresDestination) -> None:
    """The driver's threads end with its connection."""
    before = threading.active_count()
    load(destination, (A, 100_000))
    assert threading.active_count() <= before


def test_a_table_that_is_not_ours_can_be_read(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """A table without an entry in the ledger is read in the types of the driver."""
    place.run("CREATE TABLE mine AS SELECT 1::bigint AS n, 'x'::text AS t")
    with destination.read("mine", None) as reader:
        assert reader.read_all().to_pylist() == [{"n": 1, "t": "x"}]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "UTF8"])
def test_no_url_changes_the_encoding(place: PostgresPlace, encoding: str) -> None:
    """Rows and parameters are sent as UTF-8, so a key with an accent is found and replaced."""
    separator = "&" if "?" in place.url else "?"
    destination = PostgresDestination(f"{place.url}{separator}client_encoding={encoding}")
    found = meta("orders/é", "v1")
    load(destination, (found, 2))
    load(destination, (meta(found.key, "v2"), 3), start=10)
    assert ids_by_key(destination) == {found.key: [10, 11, 12]}
    assert entries(destination) == [(found.key, "v2", "loaded")]


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DateStyle", "German"),
        ("DateStyle", "SQL, DMY"),
        ("TimeZone", "Factory"),
        ("TimeZone", "<-03>+3"),
        ("bytea_output", "escape"),
        ("IntervalStyle", "iso_8601"),
        ("search_path", ""),
        ("default_transaction_isolation", "serializable"),
    ],
)
def test_how_people_set_up_their_database_does_not_matter(
    place: PostgresPlace, destination: PostgresDestination, setting: str, value: str
) -> None:
    """Settings of the database do not change what is read from the ledger."""
    place.run(f"ALTER DATABASE {place.database} SET {setting} = '{value}'")
    load(destination, (A, 2))
    frame = destination.state(OWNER).ledger.frame
    assert frame["last_modified"].to_list() == [A.last_modified]
    load(destination, (B, 1))
    assert ids_by_key(destination) == {A.key: [0, 1], B.key: [0]}


@pytest.mark.parametrize(
    ("kind", "shown"), [("numeric", "numeric"), ("double precision", "double precision")]
)
def test_a_column_that_was_altered_is_not_filled(
    place: PostgresPlace, destination: PostgresDestination, kind: str, shown: str
) -> None:
    """COPY's binary format has no types, so the server would misread the values."""
    load(destination, (A, 2))
    place.run(f"ALTER TABLE orders ALTER COLUMN id TYPE {kind}")
    with pytest.raises(UnsupportedSchemaError, match=f"'id' is {shown}, not bigint.*full_refresh"):
        load(destination, (B, 1))
    assert [int(number) for (number,) in place.select("orders", ["id"])] == [0, 1]
    load(destination, (A, 1), refresh=True)
    assert place.stored_type("orders", "id") == "bigint"


def test_a_text_column_may_have_a_limit(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """A column altered to varchar is accepted; the server refuses longer text."""
    load(destination, (A, 2))
    place.run("ALTER TABLE orders ALTER COLUMN _s3_key TYPE varchar(20)")
    load(destination, (B, 1))
    with pytest.raises(UnsupportedSchemaError, match="too long"):
        load(destination, (meta("orders/" + "x" * 20), 1))


def test_an_interrupted_statement_is_cancelled_and_lets_the_table_go(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """The statement is cancelled; otherwise the server would go on and keep the table locked."""
    load(destination, (A, 1))

    def interrupt(*_: object) -> None:
        raise Interrupted

    def stopped() -> None:
        with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            writer._connection.run("SELECT pg_sleep(60)")  # noqa: SLF001 - any statement

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            stopped()
    finally:
        signal.signal(signal.SIGALRM, before)
    load(destination, (B, 1))
    busy = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{place.database}' AND state = 'active'"
    assert run_on_server(busy) == []


class Interrupted(BaseException):
    """An error like the one that Dagster raises in a signal handler."""


# COPY's binary format


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda digits: Decimal(digits).scaleb(-scale, _EXACT))


def _integers(least: int, bits: int) -> st.SearchStrategy[int]:
    return st.integers(least, least + 2**bits - 1)


_EXACT = Context(prec=76)
_ANY = {
    pa.bool_(): st.booleans(),
    **{pa.type_for_alias(f"int{n}"): _integers(-(2 ** (n - 1)), n) for n in (8, 16, 32, 64)},
    **{pa.type_for_alias(f"uint{n}"): _integers(0, n) for n in (8, 16, 32, 64)},
    pa.float16(): st.floats(allow_nan=False, width=16),
    pa.float32(): st.floats(allow_nan=False, width=32),
    pa.float64(): st.floats(allow_nan=False),
    pa.string(): st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    pa.binary(): st.binary(),
    pa.uuid(): st.uuids(),
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(dt.UTC)),
    pa.duration("us"): st.timedeltas(dt.timedelta(days=-99_999), dt.timedelta(days=99_999)),
    pa.decimal128(38, 9): _decimals(38, 9),
    pa.decimal128(9, 0): _decimals(9, 0),
    pa.decimal256(76, 30): _decimals(76, 30),
}
_IN_LISTS = _ANY.keys() - {pa.uuid(), pa.duration("us")}


@st.composite
def _columns(draw: st.DrawFn) -> dict[str, pa.Array]:
    rows = draw(st.integers(1, 12))
    columns = {}
    for kind, one in _ANY.items():
        some = st.lists(st.none() | one, min_size=rows, max_size=rows)
        columns[str(kind)] = pa.array(draw(some), kind)
        if kind in _IN_LISTS:
            lists = st.none() | st.lists(st.none() | one, max_size=3)
            many = st.lists(lists, min_size=rows, max_size=rows)
            columns[f"list of {kind}"] = pa.array(draw(many), pa.list_(kind))
    return columns


@pytest.mark.nightly
@settings(max_examples=examples(40))
@given(_columns(), st.integers(1, 3000))
def test_every_value_comes_back_from_pieces_of_any_size(
    lake: PostgresPlace, columns: dict[str, pa.Array], size: int
) -> None:
    """Values are kept when lists and texts of a batch are sent in slices of any size."""
    rows = len(next(iter(columns.values())))
    ours = {"row": pa.array(range(rows)), "_s3_key": pa.array([A.key] * rows)}
    written = pa.record_batch(columns | ours)
    destination = PostgresDestination(lake.url, piece_bytes=size)
    refresh_with(destination, written)
    with destination.read(OWNER.table, None) as reader:
        assert reader.read_all().sort_by("row").equals(pa.table(written))


# Speed, as counts


@pytest.mark.parametrize("width", [1, 1000, 50_000])
def test_the_server_gets_rows_in_small_pieces(width: int) -> None:
    """Every row is in one piece, no piece is empty, and all but single rows are small."""
    rows = 3000
    texts = pa.array(["x" * width] * rows)
    large = pa.record_batch({"id": pa.array(range(rows)), "text": texts})
    sizes = [
        (sent.num_rows, sent.nbytes)
        for _, pieces in values.sendable(
            pa.RecordBatchReader.from_batches(large.schema, [large]), 32_768
        )
        for sent in pieces
    ]
    assert sum(count for count, _ in sizes) == rows
    assert all(count == 1 or size <= 640 * 1024 for count, size in sizes)
    assert len(sizes) <= 2 + large.nbytes // (256 * 1024)


def test_reading_the_state_takes_one_connection(place: PostgresPlace) -> None:
    """Reading the state opens one connection each time."""
    load(place.open(), (A, 1))
    sql = f"SELECT sessions FROM pg_stat_database WHERE datname = '{place.database}'"

    def settled(at_least: int) -> int:
        until = again_while(lambda found: found < at_least, stop_after_delay(20))
        return int(until(lambda: run_on_server(sql)[0][0]))

    before = settled(1)
    for _ in range(5):
        assert place.open().state(OWNER).rows == 1
    assert settled(before + 5) == before + 5
