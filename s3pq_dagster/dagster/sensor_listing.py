"""A listing of the bucket that may take several ticks of the sensor."""

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field

import dagster as dg

from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.source.catalog import Grouping
from s3pq_dagster.source.listing import BucketListing


@dataclass(slots=True)
class ListingOverTicks:
    """Lists for a limited time in each tick, and goes on in the next."""

    tick_seconds: float = 40
    """How long one tick lists. Dagster gives up on a tick after 60 seconds."""
    kept_seconds: float = 3600
    """How old an unfinished listing may be when a tick goes on with it."""
    _unfinished: list[tuple[float, BucketListing]] = field(default_factory=list)
    """When the unfinished listing was begun, and the listing; empty if there is none."""

    def go_on(self, source: S3ParquetResource, log: logging.Logger) -> Grouping | dg.SkipReason:
        """Go on with the unfinished listing, or begin one.

        Returns:
            All objects, grouped by prefix; a reason to skip the tick if its time was not enough.

        Raises:
            StoreError: The bucket could not be listed; the next tick begins a new listing.
        """
        begun, listing = self._take(source.path_prefix)
        grouping = source.list_on(listing, log, seconds=self.tick_seconds)
        if grouping is not None:
            return grouping
        self._unfinished[:] = [(begun, listing)]
        return dg.SkipReason(
            f"listing: {listing.objects} objects in {self.tick_seconds} s a tick so far; "
            f"the next tick goes on from there"
        )

    def _take(self, path_prefix: str) -> tuple[float, BucketListing]:
        now = time.monotonic()
        with suppress(IndexError):  # there is none, or a tick in another thread has taken it
            begun, listing = self._unfinished.pop()
            if now - begun < self.kept_seconds:
                return begun, listing
        return now, BucketListing(path_prefix)
