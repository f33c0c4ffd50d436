"""An engine for the looks into a file: to make one takes ten times as long as a look does."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

import duckdb

from s3pq_dagster.destinations.duckdb.names import quoted_text

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
SETTINGS = "SET enable_progress_bar = false; SET lock_configuration = true"
"""What a connection cannot be opened with; the bar is drawn on anybody's standard output."""
_NAME = "s3pq_file"
"""Of the file within the engine."""
_MOST_KEPT = 2


class Engine:
    """A DuckDB in memory, in which one file is open while somebody looks into it.

    Looks at the same time share what is open. If each opened the file, the first that closes it
    would take the operating system's lock from the others: that is a process's, not a descriptor's.
    """

    def __init__(self, path: Path) -> None:
        """Name the only file the engine may touch, with those DuckDB has beside it."""
        self._path = path
        self._memory_limit: str | None = None
        self._lock = threading.Lock()
        self._inside = 0
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_doubtful = False

    @contextmanager
    def opened(self, memory_limit: str | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file for reading; the last who leaves closes it.

        Args:
            memory_limit: DuckDB's own bound on its memory; looks at the same time share the one
                of the first.

        Yields:
            A connection of one's own, whose database the file is.

        Raises:
            duckdb.Error: The file, or an engine, cannot be opened.
        """
        connection = self._enter(memory_limit)
        try:
            yield connection
        except BaseException:
            # Some of DuckDB's errors leave an engine that says no to everything from then on.
            self._is_doubtful = True
            raise
        finally:
            connection.close()
            self._leave()

    def _enter(self, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if not self._inside:
                self._open(memory_limit)
            assert self._connection is not None  # noqa: S101 - somebody is inside
            own = self._connection.cursor()
            own.execute(f"USE {_NAME}")
            self._inside += 1
        return own

    def _open(self, memory_limit: str | None) -> None:
        if self._memory_limit != memory_limit:
            self._close()
        try:
            self._connection = self._connection or self._made(memory_limit)
            self._memory_limit = memory_limit
            path = quoted_text(str(self._path))
            self._connection.execute(f"ATTACH {path} AS {_NAME} (READ_ONLY)")
        except BaseException:
            self._close()
            raise

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside or self._connection is None:
                return
            try:
                self._connection.execute(f"DETACH {_NAME}")
            except duckdb.Error:
                self._is_doubtful = True
            if self._is_doubtful:
                self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()  # and with it the file
        self._connection, self._is_doubtful = None, False

    def _made(self, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
        limit = {"memory_limit": memory_limit} if memory_limit else {}
        connection = duckdb.connect(config=CONFIG | limit)
        try:
            beside = [f"{self._path}{end}" for end in ("", ".wal", ".wal.checkpoint")]
            paths = ", ".join(quoted_text(path) for path in beside)
            connection.execute(
                f"SET allowed_paths = [{paths}]; "
                f"SET temp_directory = {quoted_text(f'{self._path}.tmp')}; "
                f"SET enable_external_access = false; {SETTINGS}"
            )
        except BaseException:
            connection.close()
            raise
        return connection


_engines: WeakValueDictionary[Path, Engine] = WeakValueDictionary()
_kept: deque[Engine] = deque(maxlen=_MOST_KEPT)
_lock = threading.Lock()


def engine_of(path: Path) -> Engine:
    """Give the one engine of a file; those of the last files asked for are kept."""
    with _lock:
        engine = _engines.get(path)
        if engine is None:
            engine = _engines[path] = Engine(path)
        if engine not in _kept:
            _kept.append(engine)
        return engine


def _forget() -> None:
    """Let go of the engines nobody uses: in a process that is forked they have no threads."""
    with _lock:
        _kept.clear()


os.register_at_fork(before=_forget)
