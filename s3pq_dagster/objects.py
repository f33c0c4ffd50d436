"""An object of a bucket, and a listing of many objects in little memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import polars as pl

LISTING_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "key": pl.String,
    "size": pl.Int64,
    "e_tag": pl.String,
    "last_modified": pl.Datetime("us", "UTC"),
}
"""The columns of :attr:`Listing.frame`, and their types."""
MOST_OBJECT_BYTES = 50 * 1024**4
"""Most bytes that an object can have: 50 TiB.

AWS says 50 TB (S3 user guide, "Uploading objects"), and an upload of 10,000 parts of 5 GiB comes to
48.8 TiB; MinIO says 50 TiB. What a listing says beyond that is no size.
"""
IDENTITY = ["key", "version", "size"]
"""The columns of :meth:`Listing.with_version` that tell any two objects apart.

The e_tag alone does not: some stores keep it when an object is overwritten, or make it of less than
the content. Another size is then the only sign.
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """One listed object."""

    key: str
    """Key exactly as S3 has it, ``//``, ``..`` and control characters included."""
    size: int
    """Size in bytes."""
    e_tag: str | None
    """Opaque e_tag without quotes; a weak one as it was sent, ``W/"…"``; ``None`` where the server
    sends none."""
    last_modified: datetime
    """Aware time in UTC. S3 gives whole seconds, and for a multipart upload when it began."""

    @property
    def version(self) -> str:
        """Name of this content of the key: the e_tag, or size and time without one."""
        if self.e_tag is not None:
            return self.e_tag
        return f"{self.size}@{(self.last_modified - _EPOCH) // timedelta(microseconds=1)}"

    @property
    def size_fault(self) -> str | None:
        """What is wrong with the size; ``None`` for one that an object can have."""
        if 0 <= self.size <= MOST_OBJECT_BYTES:
            return None
        return f"it is listed with {self.size} bytes, which no object in S3 can have"


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects in columns, about 200 bytes each for keys of 80 characters.

    Columns: ``key``, ``size``, ``e_tag``, ``last_modified`` as in :class:`ObjectMeta`. Any order.
    """

    frame: pl.DataFrame

    @classmethod
    def of(cls, objects: Iterable[ObjectMeta]) -> Self:
        """Make a listing of objects."""
        rows = [(o.key, o.size, o.e_tag, o.last_modified.astimezone(UTC)) for o in objects]
        return cls.of_pages([pl.DataFrame(rows, schema=LISTING_COLUMNS, orient="row")])

    @classmethod
    def of_pages(cls, pages: Iterable[pl.DataFrame]) -> Self:
        """Join the pages of a listing.

        A key may come on two pages if the bucket changed between them; the last one counts.
        """
        # Without rechunking, since a copy would double the memory of a listing.
        nothing = pl.DataFrame(schema=LISTING_COLUMNS)
        frame = pl.concat([nothing, *pages], rechunk=False)
        if frame["key"].n_unique() < frame.height:
            frame = frame.unique("key", keep="last", maintain_order=True)
        return cls(frame)

    def __len__(self) -> int:
        return self.frame.height

    @property
    def total_bytes(self) -> int:
        """Sum of the objects' sizes; one that no object can have counts as the nearest."""
        # Floating point: many of them exceed what an Int64 holds.
        return int(self.frame["size"].clip(0, MOST_OBJECT_BYTES).cast(pl.Float64).sum())

    def __iter__(self) -> Iterator[ObjectMeta]:
        """Yield the objects in order, one Python object at a time."""
        for row in self.frame.iter_rows():
            yield ObjectMeta(*row)

    def in_reading_order(self) -> "Listing":
        """Sort by ``(last_modified, key)``, keys in UTF-8 byte order."""
        return Listing(self.frame.sort("last_modified", "key"))

    def with_version(self) -> pl.DataFrame:
        """Return the frame with a ``version`` column, as :attr:`ObjectMeta.version`.

        This copies nothing where every object has an e_tag.
        """
        if not self.frame["e_tag"].null_count():
            return self.frame.with_columns(version=pl.col("e_tag"))
        stamp = pl.format("{}@{}", pl.col("size"), pl.col("last_modified").dt.timestamp("us"))
        return self.frame.with_columns(version=pl.coalesce("e_tag", stamp))
