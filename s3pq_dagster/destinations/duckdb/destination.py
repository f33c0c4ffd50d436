"""The file: opened for each call, waited for while another process has it."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from s3pq_dagster.destinations.batches import as_stored
from s3pq_dagster.destinations.column_rules import check_chosen
from s3pq_dagster.destinations.duckdb.failures import first_line, translated
from s3pq_dagster.destinations.duckdb.gate import gate_of
from s3pq_dagster.destinations.duckdb.names import quoted
from s3pq_dagster.destinations.duckdb.session import Session
from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.destinations.table_state import Owner, TableAudit, TableState
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
)

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "python_enable_replacements": "false",
}
_WRITING: dict[str, str | bool | int | float | list[str]] = {"wal_autocheckpoint": "1MB"}
"""A commit of more, and not only of 16 MB, goes into the file at once. By way of the .wal file each
row is written twice, since the file is closed after each table."""
_SETTINGS = "SET enable_progress_bar = false; SET lock_configuration = true"
"""What a connection cannot be opened with; the bar is drawn on anybody's standard output."""
_READ_ROWS = 32_768
"""Of a batch that is read back."""
_IS_LOCKED = "SELECT current_setting('lock_configuration')"
"""Readers of one process share what they have open: the first of them has locked it."""


class DuckDBDestination:
    """A namespace of a DuckDB file.

    The file is opened for each call and closed again, so others can have it in between.
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
            memory_limit: DuckDB's own bound on its memory, ``"1GB"`` say.
            lock_timeout_seconds: How long to wait for a file that another process has open.
            log: Gets a line each time the lock has to be waited for.
        """
        # By one name whatever links lead to it: for the gate, and for DuckDB's .wal file beside it.
        self._path = Path(os.path.realpath(database))
        self._namespace = namespace
        self._memory_limit = memory_limit
        self._lock_timeout_seconds = lock_timeout_seconds
        self._log = log or logging.getLogger(__name__)

    def state(self, owner: Owner) -> TableState:
        """See :meth:`Destination.state`."""
        with self._looking(owner) as session:
            return TableState.empty() if session is None else session.state()

    def audit(self, owner: Owner) -> TableAudit:
        """See :meth:`Destination.audit`."""
        with self._looking(owner) as session:
            return TableAudit.of(TableState.empty(), []) if session is None else session.audit()

    @contextmanager
    def write(self, owner: Owner, *, run_id: str, append: bool, refresh: bool) -> Iterator[Session]:
        """See :meth:`Destination.write`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"cannot create the directory of {self._path}: {error}"
            raise DestinationError(msg) from error
        self._create()
        with self._connected(read_only=False) as connection:
            session = Session(
                connection, self._path, self._namespace, owner, run_id=run_id, append=append
            )
            with translated(self._path):
                session.state()  # refuses what is not ours, before anything is created
                session.create_ledger()
                if not refresh:
                    yield session
                    return
                with session.transaction():
                    session.start_over()
                    yield session

    @contextmanager
    def read(self, table: str, columns: Sequence[str] | None) -> Iterator[pa.RecordBatchReader]:
        """See :meth:`Destination.read`."""
        if not self._path.exists():
            msg = f"{self._path} is not there yet: materialize the table {table!r} first"
            raise DestinationError(msg)
        with self._connected(read_only=True) as connection, translated(self._path, OSError):
            session = Session(connection, self._path, self._namespace, Owner(table, "", ""))
            schema = session.stored_schema()
            found = connection.sql(f"SELECT * FROM {session.table.sql}")
            if columns is not None:
                check_chosen(table, columns, found.columns)
                chosen = ", ".join(quoted(name) for name in columns)
                found = connection.sql(f"SELECT {chosen} FROM {session.table.sql}")
            reader = found.to_arrow_reader(_READ_ROWS)
            try:
                yield as_stored(reader, schema)
            finally:
                # DuckDB 2.0 hangs when it opens a file that such a reader still holds.
                reader.close()

    @contextmanager
    def _looking(self, owner: Owner) -> Iterator[Session | None]:
        """Open the file for reading, if it is there."""
        if not self._path.exists():
            yield None
            return
        with self._connected(read_only=True) as connection, translated(self._path):
            yield Session(connection, self._path, self._namespace, owner)

    def _create(self) -> None:
        """Make the file, if it is not there, whole or not at all.

        DuckDB does not open a file whose creation broke off, by a kill or a full disk.
        """
        if self._path.exists():
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
        gate = gate_of(self._path)
        with gate.entered(self._path, alone=not read_only, seconds=self._lock_timeout_seconds):
            connection = self._connect(read_only=read_only)
            try:
                yield connection
            finally:
                connection.close()

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        config = _CONFIG | ({} if read_only else _WRITING)
        if self._memory_limit:
            config["memory_limit"] = self._memory_limit

        def once() -> duckdb.DuckDBPyConnection:
            try:
                with gate_of(self._path).opening:
                    connection = duckdb.connect(str(self._path), read_only=read_only, config=config)
                    try:
                        if connection.execute(_IS_LOCKED).fetchall() == [(False,)]:
                            connection.execute(_SETTINGS)
                    except BaseException:
                        connection.close()
                        raise
            except duckdb.Error as error:
                raise self._cannot_open(error) from error
            return connection

        return wait_for_lock(
            once,
            timeout_seconds=self._lock_timeout_seconds,
            log=self._log,
            database=self._path,
        )

    def _cannot_open(self, error: duckdb.Error) -> DestinationError:
        found = first_line(error)
        if "Could not set lock" in found:
            return DestinationLockedError(f"{self._path} is open in another process: {found}")
        if isinstance(error, duckdb.ConnectionException) and "different configuration" in found:
            return DestinationLockedError(
                f"{self._path} is open in this process, in another way than ours: {found}. Close "
                f"that connection."
            )
        if self._memory_limit and not _is_limit(self._memory_limit):
            return DestinationDeniedError(
                f"DuckDB does not take memory_limit {self._memory_limit!r}: {found}. Give it as "
                f"'1GB', say, or leave it out."
            )
        return DestinationError(
            f"cannot open {self._path} as a DuckDB file: {found}. If it is damaged, "
            f"put back a copy of it and of its .wal file; if it is empty or something else, move "
            f"it away or name another file: every object is then loaded into a new one."
        )


def _put_in_place(made: Path, path: Path) -> None:
    """Give a new file its name, unless another process was first."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # a rename would replace another's file
            if not path.exists():
                made.rename(path)
        finally:
            os.close(directory)


def _is_limit(memory_limit: str) -> bool:
    """Tell whether DuckDB takes a bound on its memory."""
    try:
        duckdb.connect(config={"memory_limit": memory_limit}).close()
    except duckdb.Error:
        return False
    return True
