"""Who of this process may have a file open: DuckDB's own lock is between processes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s3pq_dagster.errors import DestinationLockedError


class Gate:
    """Many readers or one writer of a file among the threads of this process.

    DuckDB's own lock is between processes. Any thread may leave for another: a reader is closed
    where it is drained.
    """

    def __init__(self) -> None:
        self.opening = threading.Lock()
        """Held while a connection is opened and set up."""
        self._changed = threading.Condition()
        self._inside = 0
        self._taken = False

    @contextmanager
    def entered(self, path: Path, *, alone: bool, seconds: float) -> Iterator[None]:
        """Be among the readers, or the writer.

        Args:
            path: The file, for the error.
            alone: Whether to write.
            seconds: How long to wait.

        Raises:
            DestinationLockedError: Others are still inside.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(alone=alone), seconds):
                raise DestinationLockedError(
                    f"{path} has been open in this process for more than {seconds} s: drain or "
                    f"close the readers of its tables that are still open"
                )
            self._inside += 1
            self._taken = alone
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._taken = False
                self._changed.notify_all()

    def _has_room(self, *, alone: bool) -> bool:
        return not self._taken and not (alone and self._inside)


_gates: dict[Path, Gate] = {}
_gates_lock = threading.Lock()


def gate_of(path: Path) -> Gate:
    """Give the one gate of a file: two threads that made one each would both be alone."""
    with _gates_lock:
        return _gates.setdefault(path, Gate())
