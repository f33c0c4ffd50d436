"""DuckDB as a destination: a file that is opened for each call, and created when first written."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.batches import as_stored
from s3pq_dagster.destinations.column_rules import check_chosen
from s3pq_dagster.destinations.condition import Condition, holders_of, refusal_of
from s3pq_dagster.destinations.duckdb.attached_file import attached_file
from s3pq_dagster.destinations.duckdb.failures import (
    after_commit,
    first_line,
    is_there,
    reads,
    translated,
)
from s3pq_dagster.destinations.duckdb.names import quoted
from s3pq_dagster.destinations.duckdb.process_lock import lock_of
from s3pq_dagster.destinations.duckdb.rules import rule_of
from s3pq_dagster.destinations.duckdb.session import Session
from s3pq_dagster.destinations.duckdb.types import check_schema
from s3pq_dagster.destinations.ledger_rows import NO_ENTRIES
from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.destinations.table_look import TableLook
from s3pq_dagster.destinations.table_state import ChooseKeys, Owner, TableAudit, TableState
from s3pq_dagster.destinations.value_rules import ValueRules
from s3pq_dagster.errors import (
    DestinationError,
)
from s3pq_dagster.schemas import KEY_COLUMN

_READ_ROWS = 32_768
"""Rows in a batch that is read back."""
_RULES = ValueRules("DuckDB", check_schema, rule_of)


# Long by what a destination promises: each call opens the file in a way of its own.
class DuckDBDestination:
    """A namespace of a DuckDB file.

    The file is opened for each call and closed again, so other processes can open it in between.
    """

    def __init__(
        self,
        database: str,
        *,
        namespace: str = "main",
        memory_limit: str | None = None,
        lock_timeout_seconds: float = 300,
        log: logging.Logger | None = None,
    ) -> None:
        """Name the file; nothing is opened yet.

        Args:
            database: Path of the file; it and its directory are created when first written.
            namespace: DuckDB schema of the tables and the ledger; created when first written.
            memory_limit: Most memory that DuckDB may use, for example ``"1GB"``.
            lock_timeout_seconds: How long to wait for a file that another process has open.
            log: Gets a line before each pause of the wait for a lock.
        """
        # Links are resolved: all names of a file have to lead to one lock of this process, and to
        # one .wal file, which DuckDB puts beside the name it is given.
        self._path = Path(os.path.realpath(database))
        self._namespace = namespace
        self._memory_limit = memory_limit
        self._lock_timeout_seconds = lock_timeout_seconds
        self._log = log or logging.getLogger(__name__)

    def state(self, owner: Owner) -> TableState:
        """See :meth:`Destination.state`."""
        with self._reading(owner) as session:
            return TableState.empty() if session is None else session.state()

    def look(self, owner: Owner) -> TableLook:
        """See :meth:`Destination.look`."""
        with self._reading(owner) as session:
            return TableLook.empty() if session is None else session.look()

    def condition(self, tables: Sequence[str]) -> Condition:
        """See :meth:`Destination.condition`."""
        refused = refusal_of(self._path) or refusal_of(self._path.parent)
        holders = holders_of(dict.fromkeys(tables, self._path))
        return Condition(refused, holders=holders)

    def entries(self, owner: Owner) -> pl.DataFrame:
        """See :meth:`Destination.entries`."""
        with self._reading(owner) as session:
            return NO_ENTRIES if session is None else session.entries()

    def check_values(self, batch: pa.RecordBatch, key: str) -> None:
        """See :meth:`Destination.check_values`."""
        _RULES.check(batch, key)

    def audit(self, owner: Owner) -> TableAudit:
        """See :meth:`Destination.audit`."""
        with self._reading(owner) as session:
            return TableAudit.of(TableState.empty(), []) if session is None else session.audit()

    @contextmanager
    def write(
        self, owner: Owner, *, run_id: str, append: bool, refresh: bool | Sequence[str]
    ) -> Iterator[Session]:
        """See :meth:`Destination.write`."""
        _make_directory_of(self._path)
        self._create()
        with ExitStack() as opened:
            doubtful = opened.enter_context(self._commit_looked_up(owner))
            connection = opened.enter_context(self._connected(read_only=False))
            session = Session(
                connection, self._path, self._namespace, owner, run_id=run_id, append=append
            )
            doubtful.append(session)
            with translated(self._path):
                session.state()  # refuses a table of another owner before anything is created
                session.create_ledger()
                if refresh is False:
                    yield session
                    return
                with session.transaction():
                    session.start_over(None if refresh is True else refresh)
                    yield session

    @contextmanager
    def read(
        self, table: str, columns: Sequence[str] | None, wanted: ChooseKeys | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """See :meth:`Destination.read`."""
        if not is_there(self._path):
            msg = f"{self._path} is not there yet: materialize the table {table!r} first"
            raise DestinationError(msg)
        with self._connected(read_only=True) as connection, reads(self._path, OSError):
            session = Session(connection, self._path, self._namespace, Owner(table, "", ""))
            schema = session.stored_schema()
            where = "" if wanted is None else _only(connection, session.table.sql, wanted)
            found = connection.sql(f"SELECT * FROM {session.table.sql}{where}")
            if columns is not None:
                check_chosen(table, columns, found.columns)
                chosen = ", ".join(quoted(name) for name in columns)
                found = connection.sql(f"SELECT {chosen} FROM {session.table.sql}{where}")
            reader = found.to_arrow_reader(_READ_ROWS)
            try:
                yield as_stored(reader, schema)
            finally:
                # DuckDB 2.0 hangs when it opens a file that such a reader still holds.
                reader.close()

    @contextmanager
    def _reading(self, owner: Owner) -> Iterator[Session | None]:
        """Open the file for reading; yields ``None`` if it does not exist."""
        if not is_there(self._path):
            yield None
            return
        with self._connected(read_only=True) as connection, reads(self._path):
            yield Session(connection, self._path, self._namespace, owner)

    @contextmanager
    def _commit_looked_up(self, owner: Owner) -> Iterator[list[Session]]:
        """When a COMMIT fails, look whether the transaction is committed all the same.

        Yields:
            A list for the session, which is closed when this context ends.
        """
        opened: list[Session] = []
        try:
            yield opened
        except DestinationError as error:
            stamp = opened[0].stamp_in_doubt if opened else None
            if stamp is None or not error.retryable:
                raise
            stands = self._stands(owner, stamp)
            raise after_commit(self._path, error, stands=stands) from error.__cause__

    def _stands(self, owner: Owner, stamp: datetime) -> bool | None:
        try:
            with self._reading(owner) as session:
                return session is not None and session.stands(stamp)
        except DestinationError:
            return None

    def _create(self) -> None:
        """Create the file unless it exists.

        It is created under another name first: DuckDB does not open a file whose creation was
        interrupted by a kill or a full disk.
        """
        if is_there(self._path):
            return
        parent = self._path.parent
        try:
            with tempfile.TemporaryDirectory(prefix=".s3pq-", dir=parent) as directory:
                made = Path(directory) / "new.duckdb"
                duckdb.connect(str(made)).close()
                _put_in_place(made, self._path)
        except (OSError, duckdb.Error) as error:
            msg = (
                f"cannot create {self._path}: {first_line(error)}. Make room, or allow writing to "
                f"{parent}, then run again: nothing is written yet."
            )
            raise DestinationError(msg) from error

    @contextmanager
    def _connected(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, waiting for other threads first and then for other processes."""
        with lock_of(self._path).held(
            self._path, exclusive=not read_only, timeout_seconds=self._lock_timeout_seconds
        ):
            file = attached_file(self._path)
            connection = wait_for_lock(
                lambda: file.open(read_only=read_only, memory_limit=self._memory_limit),
                timeout_seconds=self._lock_timeout_seconds,
                log=self._log,
                database=self._path,
            )
            has_failed = True
            try:
                yield connection
                has_failed = False
            finally:
                file.close(connection, has_failed=has_failed)


def _make_directory_of(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot create the directory of {path}: {error}"
        raise DestinationError(msg) from error


def _put_in_place(made: Path, path: Path) -> None:
    """Move a new file to its name, unless another process has created one there."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # a rename alone would replace a file
            if not path.exists():
                made.rename(path)
        finally:
            os.close(directory)


def _only(connection: duckdb.DuckDBPyConnection, table: str, wanted: ChooseKeys) -> str:
    """Return a clause that only the rows of some of a table's objects fulfil."""
    found = connection.sql(f"SELECT DISTINCT {KEY_COLUMN} FROM {table} WHERE {KEY_COLUMN} NOTNULL")
    keys = pa.array(wanted([key for (key,) in found.fetchall()]), pa.string())
    connection.register("_s3pq_wanted", pa.table({"key": keys}))
    return f" WHERE {KEY_COLUMN} IN (SELECT key FROM _s3pq_wanted)"
