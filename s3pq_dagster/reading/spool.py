"""A large object's bytes in a temporary file, which many threads write and any of them closes."""

import os
import tempfile
from collections.abc import Callable, Iterator
from threading import Lock

from s3pq_dagster.errors import DiskError
from s3pq_dagster.objects import ObjectMeta

_PIECE_BYTES = 1024 * 1024
"""What is read back at a time."""


class Spool:
    """A temporary file; it goes when it is closed."""

    def __init__(self, found: ObjectMeta) -> None:
        """Make the file.

        Args:
            found: Whose bytes it is for.

        Raises:
            DiskError: It cannot be made.
        """
        self._found = found
        self._lock = Lock()
        try:
            self._file = tempfile.TemporaryFile(prefix="s3pq-")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise self._no_room(error) from error

    @property
    def is_closed(self) -> bool:
        """Whether it is gone."""
        return self._file.closed

    def fileno(self) -> int:
        """Give the descriptor, good until it is closed."""
        return self._file.fileno()

    def close(self) -> None:
        """Let the file go, whoever reads or writes it at that moment."""
        with self._lock:
            self._file.close()

    def write(self, data: bytes, start: int) -> None:
        """Put a range where it belongs, unless it is closed by then.

        Raises:
            DiskError: The disk does not take it.
        """
        if (descriptor := self._own_descriptor()) is None:
            return
        try:
            left = memoryview(data)
            while left:  # a disk that is nearly full takes less than all
                written = os.pwrite(descriptor, left, start)
                left, start = left[written:], start + written
        except OSError as error:
            raise self._no_room(error) from error
        finally:
            os.close(descriptor)

    def pieces(self, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
        """Read back what is there, piece by piece, for as long as that is wanted.

        Raises:
            DiskError: The disk does not give it.
        """
        if (descriptor := self._own_descriptor()) is None:
            return
        try:
            for start in range(0, self._found.size, _PIECE_BYTES):
                if not is_wanted():
                    return
                yield os.pread(descriptor, _PIECE_BYTES, start)
        except OSError as error:
            raise self._no_room(error) from error
        finally:
            os.close(descriptor)

    def _own_descriptor(self) -> int | None:
        """Give a descriptor of the caller's own: closing the file cannot make it another's."""
        with self._lock:
            return None if self._file.closed else os.dup(self._file.fileno())

    def _no_room(self, error: OSError) -> DiskError:
        held = f"object {self._found.key!r} ({self._found.size} bytes)"
        return DiskError(held, tempfile.gettempdir(), str(error))
