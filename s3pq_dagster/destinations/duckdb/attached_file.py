"""One instance of DuckDB for each file, which attaches the file for each call.

Making an instance takes 45 ms of processor time, attaching and detaching a file 3. A file that is
detached is closed: another process can open it.
"""

import atexit
import threading
from pathlib import Path

import duckdb

from s3pq_dagster.destinations.duckdb.failures import cannot_open, in_use
from s3pq_dagster.destinations.duckdb.names import quoted, quoted_text
from s3pq_dagster.errors import DestinationLockedError

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "wal_autocheckpoint": "1MB",
}
"""Commits of more than 1 MB, not only of 16 MB, go straight into the file. Rows that go into the
.wal file are written twice: closing the file, which happens after each table, copies them."""
_BESIDE = ("", ".wal", ".wal.checkpoint", ".wal.recovery")
"""What DuckDB opens of a file, beside its directory of temporary files. Nothing else is allowed."""
_MOST_IDLE = 4
"""Instances that a process keeps of files that nobody has open."""


class AttachedFile:
    """A DuckDB file, attached while somebody has it open."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._guard = threading.Lock()
        self._instance: duckdb.DuckDBPyConnection | None = None
        self._memory_limit: str | None = None
        self._name = ""
        """The file's name in the instance, as SQL."""
        self._holders = 0
        self._is_spent = False

    def open(self, *, read_only: bool, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
        """Open the file; whoever calls makes sure that nobody writes beside others.

        Args:
            read_only: Whether the file is only read.
            memory_limit: Most memory that DuckDB may use.

        Returns:
            A connection whose current database is the file. :meth:`close` closes it.

        Raises:
            DestinationLockedError: Another process has the file open, or this one has it open in
                another way.
            DestinationError: It is no file of DuckDB's, or cannot be opened.
        """
        with self._guard:
            try:
                return self._opened(read_only, memory_limit)
            except duckdb.Error as error:
                told = cannot_open(self.path, memory_limit, error)
                if not isinstance(told, DestinationLockedError):
                    self._discard_unless_held()
                raise told from error
            except BaseException:  # an interrupt, say, after the file was attached
                self._discard_unless_held()
                raise

    def close(self, connection: duckdb.DuckDBPyConnection, *, has_failed: bool) -> None:
        """Close a connection that :meth:`open` returned; the last one closes the file.

        Args:
            connection: The connection.
            has_failed: Whether something went wrong. The next one gets another instance.
        """
        with self._guard:
            self._holders -= 1
            self._is_spent |= has_failed
            try:
                connection.close()
            finally:
                # DuckDB removes the directory of temporary files only together with the instance.
                if self._is_spent or self._temporary.exists() or not self._is_detached():
                    self._discard_unless_held()

    def discard_if_idle(self) -> None:
        """Close the instance, unless somebody has the file open or is about to."""
        if self._guard.acquire(blocking=False):
            try:
                self._discard_unless_held()
            finally:
                self._guard.release()

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(f"{self.path.name}.tmp")

    def _opened(
        self,
        read_only: bool,  # noqa: FBT001 - handed on
        memory_limit: str | None,
    ) -> duckdb.DuckDBPyConnection:
        if self._instance is not None and memory_limit != self._memory_limit:
            if self._holders:
                raise in_use(self.path, f"memory_limit is {self._memory_limit}")
            self._discard_unless_held()
        instance = self._instance or self._made(memory_limit)
        if not self._holders:
            self._name = self._attach(instance, read_only=read_only)
        connection = instance.cursor()
        connection.execute(f"USE {self._name}")
        self._holders += 1
        return connection

    def _made(self, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
        _make_room_for(self)
        limit = {"memory_limit": memory_limit} if memory_limit else {}
        temporary = {"temp_directory": str(self._temporary)}
        instance = duckdb.connect(config=_CONFIG | temporary | limit)
        self._instance, self._memory_limit, self._is_spent = instance, memory_limit, False
        # The progress bar would be drawn on the standard output of whatever process this is.
        allowed = ", ".join(quoted_text(f"{self.path}{end}") for end in _BESIDE)
        instance.execute(
            f"SET enable_progress_bar = false; SET allowed_paths = [{allowed}]; "
            "SET enable_external_access = false; SET lock_configuration = true"
        )
        return instance

    def _attach(self, instance: duckdb.DuckDBPyConnection, *, read_only: bool) -> str:
        """Attach the file under the name that DuckDB gives it; return the name as SQL.

        What people add to a table may have this name in it: ``DEFAULT nextval('lake.main.ids')``.
        """
        name = " AS memory_file" if self.path.name.split(".")[0] == "memory" else ""  # its own
        how = "READ_ONLY" if read_only else "READ_WRITE"
        instance.execute(f"ATTACH {quoted_text(str(self.path))}{name} ({how})")
        found = instance.execute(
            "SELECT database_name FROM duckdb_databases() WHERE NOT internal AND path NOTNULL"
        )
        return quoted(found.fetchall()[0][0])

    def _is_detached(self) -> bool:
        """Detach the file, unless somebody has it open; return whether that went well."""
        assert self._instance is not None  # noqa: S101 - somebody had it open
        try:
            if not self._holders:
                self._instance.execute(f"DETACH {self._name}")
        except duckdb.Error:  # a full disk: what is committed is in the .wal file
            return False
        return True

    def _discard_unless_held(self) -> None:
        if self._instance is not None and not self._holders:
            self._instance.close()
            self._instance = None
            _with_instance.pop(self.path, None)


_files: dict[Path, AttachedFile] = {}
_with_instance: dict[Path, AttachedFile] = {}
"""Those that have an instance, the one that got it last at the end."""
_guard = threading.Lock()


def attached_file(path: Path) -> AttachedFile:
    """Return the one object of a file in this process; it is made when first asked for."""
    with _guard:
        return _files.setdefault(path, AttachedFile(path))


def _make_room_for(file: AttachedFile) -> None:
    """Close instances of files that nobody has open, the oldest first, before another is made."""
    with _guard:
        _with_instance[file.path] = file
        older = list(_with_instance.values())[:-_MOST_IDLE]
    for each in older:
        each.discard_if_idle()


def _close_idle() -> None:
    for each in list(_with_instance.values()):
        each.discard_if_idle()


atexit.register(_close_idle)
