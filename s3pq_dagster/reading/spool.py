"""A large object's bytes in a temporary file, which several threads may use and close."""

import os
import tempfile
from collections.abc import Callable, Iterator
from threading import Lock

from s3pq_dagster.errors import DiskError
from s3pq_dagster.objects import ObjectMeta

_PIECE_BYTES = 1024 * 1024
"""Bytes that are read back at a time."""


class Spool:
    """A temporary file for one object; closing deletes it.

    Safe to use from several threads: a range may arrive after another thread closed the file.
    """

    def __init__(self, found: ObjectMeta) -> None:
        """Create the file.

        Args:
            found: The object it is for.

        Raises:
            DiskError: The file cannot be created.
        """
        self._found = found
        self._lock = Lock()
        try:
            self._file = tempfile.TemporaryFile(prefix="s3pq-")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise self._failed(error) from error

    @property
    def is_closed(self) -> bool:
        """Whether the file is closed, and so deleted."""
        return self._file.closed

    def fileno(self) -> int:
        """Return the file descriptor, valid until the file is closed."""
        return self._file.fileno()

    def close(self) -> None:
        """Close and delete the file, even while other threads read or write it."""
        with self._lock:
            self._file.close()

    def write(self, data: bytes, start: int) -> None:
        """Write a range of the object at its offset; do nothing once the file is closed.

        Raises:
            DiskError: The write failed.
        """
        if (descriptor := self._duplicate()) is None:
            return
        try:
            left = memoryview(data)
            while left:  # a disk that is nearly full writes less than asked
                written = os.pwrite(descriptor, left, start)
                left, start = left[written:], start + written
        except OSError as error:
            raise self._failed(error) from error
        finally:
            os.close(descriptor)

    def pieces(self, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
        """Yield the object's bytes in order, piece by piece.

        Args:
            is_wanted: Asked before each piece; ``False`` ends the reading.

        Raises:
            DiskError: The read failed.
        """
        if (descriptor := self._duplicate()) is None:
            return
        try:
            for start in range(0, self._found.size, _PIECE_BYTES):
                if not is_wanted():
                    return
                yield os.pread(descriptor, _PIECE_BYTES, start)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            os.close(descriptor)

    def _duplicate(self) -> int | None:
        """Duplicate the descriptor for one caller, or return ``None`` once the file is closed."""
        # Without a duplicate, close() could free the descriptor's number while another thread
        # writes; the next file that this process opens could get that number, and the bytes.
        with self._lock:
            return None if self._file.closed else os.dup(self._file.fileno())

    def _failed(self, error: OSError) -> DiskError:
        held = f"object {self._found.key!r} ({self._found.size} bytes)"
        return DiskError(held, tempfile.gettempdir(), str(error))
