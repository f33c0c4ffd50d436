"""Bytes in memory as a file that pyarrow reads."""

import pyarrow as pa


class MemoryFile(pa.BufferReader):  # type: ignore[misc]  # pyarrow's classes are untyped
    """Bytes in memory, as a file for random access.

    pyarrow's own hands Python's lock to another thread in each call, of which a small object's page
    headers take dozens: with many threads, waiting to get it back takes longer than the reading.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._data = data

    def size(self) -> int:
        """Return the number of bytes."""
        return len(self._data)

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Return so many bytes from a position, fewer at the end."""
        return self._data[offset : offset + nbytes]
