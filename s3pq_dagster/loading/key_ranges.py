"""A table's keys in ranges, for those who load them side by side."""

from dataclasses import dataclass

import polars as pl

from s3pq_dagster.objects import Listing


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys in UTF-8 byte order, from ``begin`` on and before ``end``; without one, all the rest.

    Every key is in one of the ranges that :func:`split` gives, also one that comes later.
    """

    begin: str = ""
    end: str | None = None

    def of(self, listing: Listing) -> Listing:
        """Keep the objects whose keys are in the range."""
        within = pl.col("key") >= self.begin
        if self.end is not None:
            within &= pl.col("key") < self.end
        return Listing(listing.frame.filter(within))


def split(listing: Listing, most: int) -> list[KeyRange]:
    """Part all keys into ranges that have about as many bytes of a listing each.

    Args:
        listing: The objects to share out.
        most: How many ranges, if there are objects enough for that.

    Returns:
        Ranges that touch and together have every key; none where nothing is listed.
    """
    by_key = listing.frame.select("key", size=pl.col("size") + 1).sort("key")
    if not by_key.height:
        return []
    before = by_key["size"].cum_sum() - by_key["size"]
    shares = (before * most // by_key["size"].sum()).alias("share")
    firsts = by_key.with_columns(shares).unique("share", keep="first").sort("key")["key"].to_list()
    begins = ["", *firsts[1:]]
    return [KeyRange(*ends) for ends in zip(begins, [*begins[1:], None], strict=True)]
