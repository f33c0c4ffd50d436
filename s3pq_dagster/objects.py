"""What an object is, and many of them in little memory."""

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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """One listed object."""

    key: str
    """Exactly as S3 has it; ``//``, ``..`` and control characters included."""
    size: int
    """Bytes."""
    e_tag: str | None
    """Without quotes; opaque. ``None`` where the store sends none."""
    last_modified: datetime
    """Aware, UTC. S3 stamps whole seconds, and a multipart upload when it is initiated."""

    @property
    def version(self) -> str:
        """What tells this content of the key from another: the e_tag, or size and time."""
        if self.e_tag is not None:
            return self.e_tag
        return f"{self.size}@{(self.last_modified - _EPOCH) // timedelta(microseconds=1)}"


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects in columns: some 200 bytes each for keys of 80 characters.

    Columns: ``key``, ``size``, ``e_tag``, ``last_modified`` as in :class:`ObjectMeta`. Any order.
    """

    frame: pl.DataFrame

    @classmethod
    def of(cls, objects: Iterable[ObjectMeta]) -> Self:
        """Collect objects."""
        rows = [(o.key, o.size, o.e_tag, o.last_modified.astimezone(UTC)) for o in objects]
        return cls.of_pages([pl.DataFrame(rows, schema=LISTING_COLUMNS, orient="row")])

    @classmethod
    def of_pages(cls, pages: Iterable[pl.DataFrame]) -> Self:
        """Put the pages of a listing together.

        A key that comes twice, on two pages of a listing that changed between them, counts as it
        came last: an object is in a listing once.
        """
        # Not made one chunk: the copy would double what a listing takes.
        nothing = pl.DataFrame(schema=LISTING_COLUMNS)
        frame = pl.concat([nothing, *pages], rechunk=False)
        if frame["key"].n_unique() < frame.height:
            frame = frame.unique("key", keep="last", maintain_order=True)
        return cls(frame)

    def __len__(self) -> int:
        return self.frame.height

    @property
    def total_bytes(self) -> int:
        """The sizes of all objects, added up."""
        return int(self.frame["size"].sum())

    def __iter__(self) -> Iterator[ObjectMeta]:
        """Yield the objects in the columns' order, one Python object at a time."""
        for row in self.frame.iter_rows():
            yield ObjectMeta(*row)

    def in_reading_order(self) -> "Listing":
        """Sort by ``(last_modified, key)``, keys in UTF-8 byte order."""
        return Listing(self.frame.sort("last_modified", "key"))

    def with_version(self) -> pl.DataFrame:
        """Add the ``version`` column of :attr:`ObjectMeta.version`.

        It costs nothing where every object has an e_tag.
        """
        if not self.frame["e_tag"].null_count():
            return self.frame.with_columns(version=pl.col("e_tag"))
        stamp = pl.format("{}@{}", pl.col("size"), pl.col("last_modified").dt.timestamp("us"))
        return self.frame.with_columns(version=pl.coalesce("e_tag", stamp))
