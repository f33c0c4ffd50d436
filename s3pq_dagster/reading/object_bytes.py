"""One object's bytes on this machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.spool import Spool


@dataclass(frozen=True, slots=True)
class DecodedObject:
    """An object that was opened, and decoded whole, before its turn."""

    schema: pa.Schema
    """Canonical, the file's own columns."""
    rows: int
    batches: list[pa.RecordBatch]
    file: pq.ParquetFile
    """Of which nothing is left to read."""
    held_bytes: int
    """What all this holds beside the object's bytes."""


@dataclass(slots=True, eq=False)
class ObjectBytes:
    """One object's bytes; whoever fetched them frees them."""

    object: ObjectMeta
    error: Exception | None = None
    """Why there are none."""
    is_early: bool = False
    """Whether it was begun before its table's turn: what was wrong then may be well now."""
    data: bytes = b""
    """A small object's bytes."""
    spool: Spool | None = None
    """A large object's bytes."""
    parts_left: int = 1
    in_flight: int = 0
    """Parts that are being fetched."""
    held: int = 0
    """Bytes counted against the bound until release."""
    changes: int = field(default=0, kw_only=True)
    md5: str | None = field(default=None, kw_only=True)
    """Of its content, where its e_tag says it; the bytes, once there, match it."""
    unmatched: list[str] = field(default_factory=list, kw_only=True)
    """Digests of the times a large object was read and did not match."""
    decoded: DecodedObject | None = field(default=None, kw_only=True)
    """Decoded rows, if this object was decoded before its turn."""

    def open(self) -> pa.NativeFile:
        """Open the bytes for random access."""
        if self.spool is not None:
            return pa.OSFile(f"/dev/fd/{self.spool.fileno()}")
        return pa.BufferReader(self.data)

    def pieces(self, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
        """Give the bytes in order, those of a large object as :meth:`Spool.pieces`."""
        if self.spool is None:
            yield self.data
        else:
            yield from self.spool.pieces(is_wanted)

    def free(self) -> None:
        """Let the bytes go."""
        self.data = b""
        if self.spool is not None:
            self.spool.close()
            self.spool = None
