"""Ranges of a table's keys, for steps that load one table concurrently."""

from dataclasses import dataclass

import polars as pl

from s3pq_dagster.objects import MOST_OBJECT_BYTES, Listing


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A range of keys in UTF-8 byte order.

    Every possible key is in one of the ranges of :func:`split`, also one that is listed later.
    """

    begin: str = ""
    """The first key in the range."""
    end: str | None = None
    """The first key after the range; ``None`` if it has no end."""

    def of(self, listing: Listing) -> Listing:
        """Keep the objects whose keys are in the range."""
        within = pl.col("key") >= self.begin
        if self.end is not None:
            within &= pl.col("key") < self.end
        return Listing(listing.frame.filter(within))


def split(listing: Listing, most: int) -> list[KeyRange]:
    """Divide all keys into ranges with about equally many bytes of a listing in each.

    Args:
        listing: The objects to divide.
        most: The number of ranges, if there are enough objects.

    Returns:
        Adjacent ranges that together hold every possible key; none if nothing is listed.
    """
    # An object belongs to the share in which its first byte lies, counting one byte more for each
    # object, so that empty objects are divided as well. A range begins at its first object's key.
    # Floating point, since a listing can hold sizes whose sum no Int64 holds.
    sizes = pl.col("size").clip(0, MOST_OBJECT_BYTES).cast(pl.Float64) + 1
    by_key = listing.frame.select("key", size=sizes).sort("key")
    if not by_key.height:
        return []
    before = by_key["size"].cum_sum() - by_key["size"]
    shares = (before * most // by_key["size"].sum()).clip(0, most - 1).alias("share")
    firsts = by_key.with_columns(shares).unique("share", keep="first").sort("key")["key"].to_list()
    begins = ["", *firsts[1:]]
    return [KeyRange(*ends) for ends in zip(begins, [*begins[1:], None], strict=True)]
