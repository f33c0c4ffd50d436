"""One object's bytes on this machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.memory_file import MemoryFile
from s3pq_dagster.reading.spool import Spool

LEAST_COST = 64 * 1024
"""Bytes that the smallest request counts as: the thread that sends it takes memory too."""


@dataclass(frozen=True, slots=True)
class DecodedObject:
    """All rows of a small object that was decoded early, before it was needed."""

    schema: pa.Schema
    """Canonical schema of the file's own columns."""
    rows: int
    """Number of rows, as the footer states it and the pages hold it."""
    batches: list[pa.RecordBatch]
    """All rows."""
    file: pq.ParquetFile
    """The opened file; nothing more is read from it."""
    held_bytes: int
    """Memory that the rows and the parsed footer take, without the object's bytes."""


@dataclass(slots=True, eq=False)
class ObjectBytes:
    """One object's bytes, or the error that came instead; whoever fetches them frees them."""

    object: ObjectMeta
    error: Exception | None = None
    """Why there are no bytes."""
    is_early: bool = False
    """Whether fetching began before the object's table was loaded, as a prefetch."""
    data: bytes = b""
    """Bytes of a small object."""
    spool: Spool | None = None
    """Bytes of a large object."""
    parts_left: int = 1
    """Parts that are not fetched yet, and the check of a large object."""
    in_flight: int = 0
    """Parts that are being fetched."""
    held: int = 0
    """Bytes counted against ``max_bytes_in_flight`` until the object is released."""
    changes: int = field(default=0, kw_only=True)
    """How often the object was found overwritten and looked up again."""
    md5: str | None = field(default=None, kw_only=True)
    """MD5 of the content if its e_tag is one; bytes without an error match it."""
    unmatched: list[str] = field(default_factory=list, kw_only=True)
    """Digests of the reads of a large object that did not match ``md5``."""
    decoded: DecodedObject | None = field(default=None, kw_only=True)
    """Decoded rows, if this object was decoded early."""

    def parts(self, part_bytes: int) -> "Iterator[Part]":
        """Yield the requests that fetch all of it: one if it is small, ranges if it is large.

        None if it failed already. They are made one by one: their number is as large as the size
        that a listing states.
        """
        start = 0
        while start < self.size_in_parts(part_bytes) * part_bytes:
            yield self.part_at(start, part_bytes)
            start += part_bytes

    def size_in_parts(self, part_bytes: int) -> int:
        """Return how many requests fetch all of it; 0 if it failed already."""
        if self.error is not None:
            return 0
        return 1 if self.spool is None else -(-self.object.size // part_bytes)

    def part_at(self, start: int, part_bytes: int) -> "Part":
        """Return the request for the part that begins at a byte."""
        return Part(self, start, min(start + part_bytes, self.object.size))

    def open(self) -> pa.NativeFile:
        """Open the bytes as a file for random access."""
        if self.spool is not None:
            return pa.OSFile(f"/dev/fd/{self.spool.fileno()}")
        return MemoryFile(self.data)

    def pieces(self, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
        """Yield the bytes in order; those of a large object as :meth:`Spool.pieces`."""
        if self.spool is None:
            yield self.data
        else:
            yield from self.spool.pieces(is_wanted)

    def free(self) -> None:
        """Drop the bytes; the temporary file of a large object is deleted."""
        self.data = b""
        if self.spool is not None:
            self.spool.close()
            self.spool = None


@dataclass(frozen=True, slots=True)
class Part:
    """A range of an object that one request fetches; all of it if the object is small."""

    fetched: ObjectBytes
    start: int
    end: int
    """One past the last byte."""

    @property
    def cost(self) -> int:
        """Bytes that it counts as against ``max_bytes_in_flight``."""
        return max(self.end - self.start, LEAST_COST)
