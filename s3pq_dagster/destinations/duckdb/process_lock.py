"""Locks between the threads of this process, one for each DuckDB file."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s3pq_dagster.errors import DestinationLockedError


class ProcessLock:
    """Lets many readers, or one writer, of a file run at a time in this process."""

    # DuckDB's own lock is between processes. Within a process all readers share the file that is
    # attached, which cannot be read and written in turns. Readers are counted, not bound to a
    # thread: a stream of rows may be closed by another thread than the one that opened it.

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders = 0
        self._has_writer = False

    @contextmanager
    def held(self, path: Path, *, exclusive: bool, timeout_seconds: float) -> Iterator[None]:
        """Hold the lock, as one of the readers or as the only writer.

        Args:
            path: The file, for the error.
            exclusive: Whether to write.
            timeout_seconds: How long to wait.

        Raises:
            DestinationLockedError: Other threads still hold the lock after the timeout.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(exclusive), timeout_seconds):
                raise DestinationLockedError(
                    f"{path} has been open in this process for more than {timeout_seconds} s: "
                    f"drain or close the readers of its tables that are still open"
                )
            self._holders += 1
            self._has_writer = exclusive
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                self._has_writer = False
                self._changed.notify_all()

    def _is_free(self, exclusive: bool) -> bool:  # noqa: FBT001 - a condition, asked in one place
        return not self._has_writer and not (exclusive and self._holders)


_locks: dict[Path, ProcessLock] = {}
_locks_guard = threading.Lock()


def lock_of(path: Path) -> ProcessLock:
    """Return the one lock of a file; it is created when first asked for."""
    with _locks_guard:  # two threads that created one each would exclude nobody
        return _locks.setdefault(path, ProcessLock())
