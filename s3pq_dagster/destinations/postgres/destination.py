"""PostgreSQL as a destination: it connects for each call, and locks a table while writing it."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl
import psycopg
import pyarrow as pa
from adbc_driver_postgresql import dbapi

from s3pq_dagster import schemas
from s3pq_dagster.destinations.column_rules import check_chosen
from s3pq_dagster.destinations.condition import Condition
from s3pq_dagster.destinations.postgres.condition import condition_of
from s3pq_dagster.destinations.postgres.connection import Connection, connected
from s3pq_dagster.destinations.postgres.failures import translated
from s3pq_dagster.destinations.postgres.ledger_tables import LedgerTables
from s3pq_dagster.destinations.postgres.lock import locked
from s3pq_dagster.destinations.postgres.names import is_long, is_usable, quoted, stored_name
from s3pq_dagster.destinations.postgres.reading import ReadingConnection, connected_for_reading
from s3pq_dagster.destinations.postgres.rules import rule_of
from s3pq_dagster.destinations.postgres.session import Session
from s3pq_dagster.destinations.postgres.statements import Statements
from s3pq_dagster.destinations.postgres.table import Table
from s3pq_dagster.destinations.postgres.table_facts import TableFacts
from s3pq_dagster.destinations.postgres.types import check_schema
from s3pq_dagster.destinations.postgres.url import parsed
from s3pq_dagster.destinations.postgres.values import PIECE_BYTES, returned
from s3pq_dagster.destinations.table_look import TableLook
from s3pq_dagster.destinations.table_state import ChooseKeys, Owner, TableAudit, TableState
from s3pq_dagster.destinations.value_rules import ValueRules
from s3pq_dagster.errors import ConfigurationError, DestinationError
from s3pq_dagster.schemas import KEY_COLUMN


class PostgresDestination:
    """A namespace of a PostgreSQL database."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "public",
        lock_timeout_seconds: float = 300,
        log: logging.Logger | None = None,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        """Name the database; nothing is connected to yet.

        Args:
            url: A ``postgresql://`` URL in libpq's form.
            namespace: PostgreSQL schema of the tables and the ledger; created when first written.
            lock_timeout_seconds: How long to wait for a table that another process writes.
            log: Gets a line before each pause of the wait for a lock.
            piece_bytes: Size of the pieces in which a batch is sent.

        Raises:
            ConfigurationError: The URL or the namespace is not valid.
        """
        if not is_usable(namespace) or is_long(namespace):
            msg = (
                f"{namespace!r} cannot be a schema in PostgreSQL: it is empty, holds NUL or has "
                f"more than 63 bytes. Give `namespace` another name."
            )
            raise ConfigurationError(msg)
        self._url = parsed(url)
        self._namespace = namespace
        self._lock_timeout_seconds = lock_timeout_seconds
        self._log = log or logging.getLogger(__name__)
        self._piece_bytes = piece_bytes
        self._rules = ValueRules("PostgreSQL", check_schema, rule_of)

    def state(self, owner: Owner) -> TableState:
        """See :meth:`Destination.state`."""
        with self._connected(writes=False) as connection:
            session = Session(connection, self._namespace, owner)
            with session.snapshot():
                return session.state()

    def look(self, owner: Owner) -> TableLook:
        """See :meth:`Destination.look`."""
        with self._connected(writes=False) as connection:
            session = Session(connection, self._namespace, owner)
            with session.snapshot():
                return session.look()

    def condition(self, tables: Sequence[str]) -> Condition:
        """See :meth:`Destination.condition`."""
        with self._connected(writes=False) as connection:
            return condition_of(connection, self._namespace, tables)

    def entries(self, owner: Owner) -> pl.DataFrame:
        """See :meth:`Destination.entries`."""
        with self._connected(writes=False) as connection:
            session = Session(connection, self._namespace, owner)
            with session.snapshot():
                return session.entries()

    def check_values(self, batch: pa.RecordBatch, key: str) -> None:
        """See :meth:`Destination.check_values`."""
        self._rules.check(batch, key)

    def audit(self, owner: Owner) -> TableAudit:
        """See :meth:`Destination.audit`."""
        with self._connected(writes=False) as connection:
            session = Session(connection, self._namespace, owner)
            with session.snapshot():
                return session.audit()

    @contextmanager
    def write(
        self, owner: Owner, *, run_id: str, append: bool, refresh: bool | Sequence[str]
    ) -> Iterator[Session]:
        """See :meth:`Destination.write`."""
        with self._connected() as connection, self._locked(connection, owner.table):
            session = Session(
                connection,
                self._namespace,
                owner,
                run_id=run_id,
                append=append,
                piece_bytes=self._piece_bytes,
            )
            session.state()  # refuses a table of another owner before anything is created
            session.create_ledger()
            if refresh is False:
                yield session
                return
            if refresh is True:
                with session.refresh():
                    yield session
                return
            with connection.transaction():
                session.forget(refresh)
                yield session

    @contextmanager
    def read(
        self, table: str, columns: Sequence[str] | None, wanted: ChooseKeys | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """See :meth:`Destination.read`."""
        with self._reading() as connection:
            stored = Table(connection, self._namespace, stored_name(table))
            if not stored.exists():
                msg = (
                    f"there is no table {table!r} in namespace {self._namespace!r} of {self._url}: "
                    f"materialize the table {table!r} first"
                )
                raise DestinationError(msg)
            with connection.snapshot():
                stored.lock_against_replacement()
                ledger = LedgerTables(connection, self._namespace)
                row = TableFacts(connection, ledger, Owner(table, "", "")).row_if_exists()
                schema = row.schema if row else None
                names = _chosen(table, columns, list(stored.columns()))
                # Else a scan of a large table begins where another one has just been.
                connection.run("SET LOCAL synchronize_seqscans = off")
                where = "" if wanted is None else _only(connection, stored, wanted)
                with connection.stream(f"SELECT {names} FROM {stored.sql}{where}") as reader:
                    yield returned(reader, schema)

    @contextmanager
    def _connected(self, *, writes: bool = True) -> Iterator[Connection]:
        ours = translated(self._url, psycopg.Error, writes=writes)
        with connected(self._url) as connection, ours:
            self._set_up(connection)
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[ReadingConnection]:
        errors = (dbapi.Error, OSError)  # Arrow's streams raise OSError
        reading = translated(self._url, *errors, writes=False)
        with connected_for_reading(self._url) as connection, reading:
            self._set_up(connection)
            yield connection

    def _set_up(self, connection: Statements) -> None:
        """Limit waits for locks of the server, and set how times are written as text."""
        # This limits waits for locks that statements take. The lock of a table's writer is waited
        # for by trying again and again, so that each wait is logged.
        milliseconds = max(1, round(self._lock_timeout_seconds * 1000))
        connection.run(
            f"SELECT set_config('lock_timeout', '{milliseconds}', false), "
            "set_config('DateStyle', 'ISO', false), set_config('TimeZone', 'UTC', false)"
        )

    @contextmanager
    def _locked(self, connection: Connection, table: str) -> Iterator[None]:
        with locked(
            connection,
            self._url,
            self._namespace,
            table,
            timeout_seconds=self._lock_timeout_seconds,
            log=self._log,
        ):
            yield


def _chosen(table: str, columns: Sequence[str] | None, there: Sequence[str]) -> str:
    """Return the columns to select, as SQL; the case of the names asked for does not matter."""
    if columns is None:
        return ", ".join(map(quoted, there))
    check_chosen(table, columns, there)
    known = {schemas.folded(name): name for name in there}
    return ", ".join(quoted(known[schemas.folded(name)]) for name in columns)


def _only(connection: ReadingConnection, table: Table, wanted: ChooseKeys) -> str:
    """Return a clause that only the rows of some of a table's objects fulfil."""
    found = connection.rows(f"SELECT DISTINCT {KEY_COLUMN} FROM {table.sql}")
    keys = json.dumps(list(wanted([key for (key,) in found if key is not None])))
    # A stream of rows takes no parameters, so they are a setting of this transaction.
    connection.rows("SELECT set_config('s3pq.wanted', $1, true)", keys)
    listed = "SELECT jsonb_array_elements_text(current_setting('s3pq.wanted')::jsonb)"
    return f" WHERE {KEY_COLUMN} = ANY(ARRAY({listed}))"
