"""A PostgreSQL server that fails or refuses: a clear error that says what to do next."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from adbc_driver_manager import AdbcStatusCode
from adbc_driver_postgresql import dbapi

from s3pq_dagster.destinations.postgres.connection import connected
from s3pq_dagster.destinations.postgres.destination import PostgresDestination
from s3pq_dagster.destinations.postgres.failures import as_ours, cannot_connect
from s3pq_dagster.destinations.postgres.url import parsed
from s3pq_dagster.errors import (
    ConfigurationError,
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
    S3ParquetError,
    UnsupportedSchemaError,
)
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace, role, url_of
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
)
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.unit.made import meta

A, B, C = meta("orders/a"), meta("orders/b"), meta("orders/c")
CANARY = "canary@secret/#?%41"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    """A new database."""
    found = PostgresPlace(tmp_path)
    yield found
    found.discard()


@contextmanager
def user(place: PostgresPlace, options: str = "", *rights: str) -> Iterator[PostgresDestination]:
    """Create a user with some privileges, and yield the destination that connects as this user."""
    name = f"u_{uuid.uuid4().hex}"
    with role(name, "secret", options):
        for right in rights:
            place.run(f"GRANT {right} TO {name}")
        try:
            yield PostgresDestination(url_of(place.database, f"{name}:secret"))
        finally:
            place.run(f"DROP OWNED BY {name}")


def refused(ask: Callable[[], object], match: str, *, retryable: bool) -> S3ParquetError:
    """Check that a call fails with a matching error, and return it."""
    with pytest.raises(DestinationError, match=match) as caught:
        ask()
    assert caught.value.retryable == retryable
    assert isinstance(caught.value, DestinationDeniedError) != retryable
    return caught.value


# Connecting


def test_a_server_that_is_not_there(place: PostgresPlace) -> None:
    """A closed port or an unknown host may be temporary, so the error can be retried."""
    nobody = f"postgresql://me@127.0.0.1:{free_port()}/lake"
    for url in (nobody, "postgresql://me@no-such-host.invalid/lake"):
        shown = url.replace("me@", "")
        destination = PostgresDestination(url)
        for ask in (
            lambda d=destination: d.state(OWNER),
            lambda d=destination: load(d, (A, 1)),
            lambda d=destination: ids_by_key(d),
        ):
            refused(ask, f"cannot reach PostgreSQL at {shown}: .*Check host", retryable=True)


@pytest.mark.parametrize(
    ("who", "database", "found"),
    [
        ("postgres", "no_such_database", r'"no_such_database" does not exist.*Create the database'),
        ("no_such_user", "postgres", r'"no_such_user".*Check user and password.*PGPASSWORD'),
    ],
)
def test_what_the_server_does_not_know(who: str, database: str, found: str) -> None:
    """An unknown database or user is an error that names it and is not retried."""
    destination = PostgresDestination(url_of(database, who))
    refused(lambda: destination.state(OWNER), f"refuses the connection: .*{found}", retryable=False)


@pytest.mark.parametrize("given", [f":{CANARY[:6]}-wrong", ""], ids=["wrong", "none"])
def test_a_wrong_password(
    place: PostgresPlace, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a wrong or missing password the error says where to set it, and shows none."""
    name = f"u_{uuid.uuid4().hex}"
    with role(name, CANARY), monkeypatch.context() as patch:
        patch.delenv("PGPASSWORD", raising=False)
        destination = PostgresDestination(url_of(place.database, f"{name}{given}"))
        error = refused(
            lambda: destination.state(OWNER),
            r"refuses the connection: .*password.*Check user and password: .*pgpass",
            retryable=False,
        )
    assert "canary" not in str(error)


@pytest.mark.parametrize(
    "spelled", ["canary%40secret%2F%23%3F%2541", "canary@secret%2F%23%3F%2541"]
)
def test_a_password_may_hold_anything(place: PostgresPlace, spelled: str) -> None:
    """A password may have any character if it is percent-encoded; an @ need not be."""
    name = f"u_{uuid.uuid4().hex}"
    with role(name, CANARY):
        url = url_of(place.database, f"{name}:{spelled}")
        assert not PostgresDestination(url).state(OWNER).exists


def test_a_password_may_come_from_the_environment(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The password is taken from PGPASSWORD or the file PGPASSFILE."""
    name = f"u_{uuid.uuid4().hex}"
    with role(name, "secret"):
        destination = PostgresDestination(url_of(place.database, name))
        with monkeypatch.context() as patch:
            patch.setenv("PGPASSWORD", "secret")
            assert not destination.state(OWNER).exists
        file = tmp_path / "pgpass"
        file.write_text(f"*:*:*:{name}:secret\n")
        file.chmod(0o600)
        with monkeypatch.context() as patch:
            patch.delenv("PGPASSWORD", raising=False)
            patch.setenv("PGPASSFILE", str(file))
            assert not destination.state(OWNER).exists


def test_a_server_without_a_free_connection(place: PostgresPlace) -> None:
    """Too many connections is an error that can be retried."""
    with user(place, "CONNECTION LIMIT 0") as destination:
        refused(
            lambda: destination.state(OWNER),
            r"too many connections.*max_connections.*Run again later",
            retryable=True,
        )


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://me@h/lake?colour=red", '"colour"'),
        ("postgresql://me@127.0.0.1/lake?sslmode=foo", 'invalid sslmode value: "foo"'),
        ("postgresql://me@127.0.0.1:99999/lake", "99999"),
        ("postgresql://me@127.0.0.1/lake?connect_timeout=abc", "abc"),
        ("postgresql://me@127.0.0.1/lake?target_session_attrs=foo", "foo"),
        ("postgresql://me@a..b/lake", "label"),
    ],
)
def test_what_libpq_cannot_use_is_a_mistake_in_the_url(url: str, found: str) -> None:
    """A bad parameter, value, port or host is a configuration error, without a retry."""
    with pytest.raises(ConfigurationError, match=f"not one for libpq: .*{found}"):
        PostgresDestination(url).state(OWNER)


def test_of_several_hosts_each_is_named_once() -> None:
    """The error names each host once, with its own failure."""
    first, second = free_port(), free_port()
    url = f"postgresql://me@127.0.0.1:{first},127.0.0.1:{second}/lake"
    error = refused(
        lambda: PostgresDestination(url).state(OWNER), "cannot reach PostgreSQL", retryable=True
    )
    said = str(error).partition("/lake: ")[2]
    for port in (first, second):
        assert said.count(f"port {port} failed: Connection refused") == 1
    assert "?" not in said


# Rights


def test_a_user_who_may_not_create(place: PostgresPlace) -> None:
    """Without permission to create tables or a namespace, the error says what to grant."""
    with user(place) as destination:
        assert not destination.state(OWNER).exists
        refused(lambda: load(destination, (A, 1)), r"denied.*GRANT CREATE", retryable=False)
        elsewhere = PostgresDestination(destination._url.text, namespace="new")  # noqa: SLF001
        refused(lambda: load(elsewhere, (A, 1)), r"denied for database.*GRANT", retryable=False)
    assert place.tables() == set()


def test_a_user_who_may_only_read(place: PostgresPlace) -> None:
    """With SELECT alone, reading works, and writing is refused without a change."""
    load(place.open(), (A, 2))
    with user(place, "", "SELECT ON ALL TABLES IN SCHEMA public") as destination:
        assert destination.state(OWNER).rows == 2
        assert ids_by_key(destination) == {A.key: [0, 1]}
        refused(
            lambda: load(destination, (B, 1)), r"permission denied.*GRANT SELECT", retryable=False
        )
        refused(
            lambda: load(destination, (B, 1), refresh=True), "permission denied", retryable=False
        )
    assert entries(place.open()) == [(A.key, "v1", "loaded")]


def test_a_user_who_may_not_look(place: PostgresPlace) -> None:
    """Without SELECT the state is an error, not an empty table."""
    load(place.open(), (A, 2))
    with user(place) as destination:
        for ask, outcome in (
            (lambda: destination.state(OWNER), "nothing is changed"),
            (lambda: ids_by_key(destination), "nothing is changed"),
            (lambda: load(destination, (B, 1)), "rolled back"),
        ):
            refused(ask, f"permission denied.*{outcome}", retryable=False)


def test_the_rights_that_are_enough(place: PostgresPlace) -> None:
    """SELECT, INSERT, UPDATE and DELETE on existing tables are enough to load and to refresh."""
    load(place.open(), (A, 2))
    rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
    with user(place, "", rights) as destination:
        load(destination, (B, 1))
        load(destination, (meta(A.key, "v2"), 1), start=5)
        assert ids_by_key(destination) == {A.key: [5], B.key: [0]}
        load(destination, (C, 1), refresh=True)
    assert ids_by_key(place.open()) == {C.key: [0]}


def test_a_server_that_only_reads(place: PostgresPlace) -> None:
    """On a read-only server, for example a standby, the error points to the primary."""
    load(place.open(), (A, 2))
    rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
    with user(place, "SET default_transaction_read_only = on", rights) as destination:
        assert destination.state(OWNER).rows == 2
        refused(
            lambda: load(destination, (B, 1)), r"read-only transaction.*primary", retryable=False
        )


# In the middle of something


def breaking(place: PostgresPlace, number: int) -> pa.RecordBatchReader:
    """Stream rows, and end all other connections to the database before one of the batches."""
    end = (
        f"SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity "
        f"WHERE datname = '{place.database}' AND pid <> pg_backend_pid() AND query NOT LIKE '%end%'"
    )

    def generate() -> Iterator[pa.RecordBatch]:
        for each in range(5):
            if each == number:
                place.run(end)
            yield batch(B.key, 40_000, each * 40_000)

    return pa.RecordBatchReader.from_batches(SCHEMA, generate())


@pytest.mark.first_case
@pytest.mark.parametrize("refresh", [False, True], ids=["load", "refresh"])
@pytest.mark.parametrize("number", [0, 3])
def test_a_connection_that_is_lost_on_the_way(
    place: PostgresPlace, number: int, *, refresh: bool
) -> None:
    """Committed checkpoints, or the old table in a refresh, stay; the next load works."""
    load(place.open(), (A, 3))

    def break_off() -> None:
        with place.open().write(OWNER, run_id="r", append=False, refresh=refresh) as writer:
            commit(writer, (C, 1))
            writer.commit(
                breaking(place, number),
                schema_key=B.key,
                seal=lambda: sealed(loaded(B, 200_000)),
            )

    refused(break_off, r"(?i)connection.*rolled back; run again", retryable=True)
    left = {A.key: [0, 1, 2]} if refresh else {A.key: [0, 1, 2], C.key: [0]}
    assert ids_by_key(place.open()) == left
    assert [key for key, *_ in entries(place.open())] == list(left)
    load(place.open(), (B, 1))
    assert ids_by_key(place.open()) == left | {B.key: [0]}


def test_a_connection_that_is_lost_between_checkpoints(place: PostgresPlace) -> None:
    """The lock is lost with the connection, and nothing more is committed."""

    def break_off() -> None:
        with place.open().write(OWNER, run_id="r", append=False, refresh=False) as writer:
            commit(writer, (A, 1))
            list(breaking(place, 0))
            commit(writer, (B, 1))

    refused(break_off, r"(?i)connection", retryable=True)
    assert ids_by_key(place.open()) == {A.key: [0]}


def test_a_failed_transaction_is_not_committed(place: PostgresPlace) -> None:
    """COMMIT of a failed transaction is an error, although PostgreSQL reports success."""
    with connected(parsed(place.url)) as connection:
        connection.run("CREATE TABLE numbers (n bigint)")

        def fail() -> None:
            with connection.transaction():
                connection.run("INSERT INTO numbers VALUES (1)")
                with suppress(psycopg.Error):
                    connection.run("SELECT nothing")

        refused(fail, "libpq says 'INERROR'.*nothing is committed", retryable=True)
        with connection.transaction():
            connection.run("INSERT INTO numbers VALUES ($1)", 2)
        assert connection.rows("SELECT n FROM numbers") == [(2,)]


@pytest.mark.thorough
def test_a_statement_that_takes_longer_than_the_server_allows(place: PostgresPlace) -> None:
    """The error names the setting; a slow stream of small batches stays within it."""
    load(place.open(), (A, 1))

    def slow() -> Iterator[pa.RecordBatch]:
        for each in range(5):
            time.sleep(0.1)
            yield batch(B.key, 40_000, each)

    def large() -> Iterator[pa.RecordBatch]:
        yield batch(C.key, 2_000_000, 0)

    rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
    with (
        user(place, "SET statement_timeout = 300", rights) as destination,
        destination.write(OWNER, run_id="r", append=False, refresh=False) as writer,
    ):
        writer.commit(
            pa.RecordBatchReader.from_batches(SCHEMA, slow()),
            schema_key="k",
            seal=lambda: sealed(loaded(B, 200_000)),
        )
        refused(
            lambda: writer.commit(
                pa.RecordBatchReader.from_batches(SCHEMA, large()), schema_key="k", seal=sealed
            ),
            "statement_timeout",
            retryable=True,
        )
    assert {key: len(ids) for key, ids in ids_by_key(place.open()).items()} == {
        A.key: 1,
        B.key: 200_000,
    }


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("the database system is starting up", DestinationError),
        ("remaining connection slots are reserved", DestinationError),
        ("autre chose", DestinationError),
        ('no pg_hba.conf entry for host "h", user "u", database "d"', DestinationDeniedError),
        ('role "u" is not permitted to log in', DestinationDeniedError),
        ('permission denied for database "d"', DestinationDeniedError),
    ],
)
def test_what_a_server_says_when_it_refuses(said: str, kind: type[S3ParquetError]) -> None:
    """Temporary refusals can be retried; refusals of the user or database cannot."""
    error = dbapi.OperationalError(
        f"IO: [libpq] Failed to connect: connection to server failed: FATAL:  {said}",
        status_code=AdbcStatusCode.IO,
    )
    assert type(cannot_connect(error, parsed("postgresql://u@h/d"))) is kind


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ("53100", DestinationError, "the server's disk is full"),
        ("53200", DestinationError, "out of memory"),
        ("53300", DestinationError, "max_connections"),
        ("57P01", DestinationError, "the server ended the connection"),
        ("25P03", DestinationError, "idle_in_transaction_session_timeout"),
        ("08006", DestinationError, "the connection was lost"),
        ("40P01", DestinationError, "could not do as asked"),
        ("55P03", DestinationLockedError, "another process"),
        ("25006", DestinationDeniedError, "primary"),
        ("42501", DestinationDeniedError, "GRANT"),
        ("2BP01", DestinationDeniedError, "depends"),
        ("22P05", UnsupportedSchemaError, "skip_tables"),
        ("54000", UnsupportedSchemaError, "skip_tables"),
    ],
)
def test_what_cannot_be_provoked_here(state: str, kind: type[S3ParquetError], said: str) -> None:
    """Each SQLSTATE has its error class and advice, and no secret is shown."""
    error = dbapi.OperationalError(
        "ERROR: with secret in it", status_code=AdbcStatusCode.IO, sqlstate=state
    )
    made = as_ours(error, parsed("postgresql://u:secret@h:5432/lake"))
    assert type(made) is kind
    assert said in str(made)
    assert "postgresql://h:5432/lake" in str(made)
    assert "secret" not in str(made)
