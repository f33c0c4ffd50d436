"""How far a table is behind the bucket, as numbers that the UI plots."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from s3pq_dagster.dagster.metadata import BYTES_PENDING, OBJECTS_PENDING, SECONDS_PENDING
from s3pq_dagster.dagster.sensor_decision import Candidate, LoggedLag
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.logs import counted, human_bytes, human_time
from s3pq_dagster.objects import IDENTITY, Listing

_LOGGED_SECONDS = 900
"""How often the numbers of a table are logged while something is pending."""
_MOST_EVENTS = 100
"""How many are logged in one tick: each takes some 25 ms. The next tick logs the others."""
_MOST_SECONDS = 5.0
"""How long a tick looks up what was logged before; the next tick goes on."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What of a table is listed and not loaded."""

    objects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """Since the ``LastModified`` of the oldest of these objects."""

    @classmethod
    def of(cls, pending: Listing, now: float) -> "Lag":
        """Count pending objects.

        Args:
            pending: They, in any order.
            now: Seconds since the epoch.
        """
        oldest = pending.frame["last_modified"].min()
        if not isinstance(oldest, datetime):
            return cls()
        since = max(0.0, now - oldest.replace(tzinfo=UTC).timestamp())
        return cls(len(pending), pending.total_bytes, round(since, 3))

    def observation(self, asset: dg.AssetKey) -> dg.AssetObservation:
        """Describe it as an event, which has no data version: nothing was loaded by it."""
        size = f"{counted(self.objects, 'object')}, {human_bytes(self.bytes)}"
        told = f"{size} pending, the oldest for {human_time(self.seconds)}"
        return dg.AssetObservation(
            asset_key=asset,
            description=told if self.objects else "nothing pending",
            metadata={
                OBJECTS_PENDING: self.objects,
                BYTES_PENDING: self.bytes,
                SECONDS_PENDING: self.seconds,
            },
        )


def read_lag(event: dg.AssetObservation, at: float) -> LoggedLag | None:
    """Read what :meth:`Lag.observation` has written; ``None`` if it is anything else.

    Args:
        event: The event.
        at: When it was logged, in seconds since the epoch.
    """
    found = event.metadata.get(OBJECTS_PENDING)
    if found is None or SECONDS_PENDING not in event.metadata:
        return None
    return LoggedLag(isinstance(found.value, int) and found.value > 0, at)


def pending(table: Candidate, before: Listing | None) -> Listing | None:
    """Return which objects of a table are not loaded, as far as events tell.

    The sensor does not ask the ledger. What a run has committed before it failed counts as pending.

    Args:
        table: The table.
        before: The listing with which it was last up to date, if that is known.

    Returns:
        ``None`` if that is not known: all that can be told after a restart are objects that are
        younger than the table's LastModified cursor.
    """
    listing, version = table.listing, table.last.version
    if before is listing or version is None:
        return Listing.of([]) if before is listing else listing
    if before is not None and fingerprint(before, table.layout) in table.accounted():
        loaded = before.with_version()
        left = listing.with_version().join(loaded, on=IDENTITY, how="anti")
        return Listing(left.select(listing.frame.columns))
    if table.last.cursor is None:
        return None
    cursor = datetime.fromisoformat(table.last.cursor)
    younger = Listing(listing.frame.filter(pl.col("last_modified") > cursor))
    return younger if len(younger) else None


@dataclass(slots=True)
class LagLog:
    """Which tables' numbers are logged in a tick; the event log says what was logged before."""

    seconds: float = _MOST_SECONDS
    """How long one tick looks up what was logged before."""
    _quiet: set[str] = field(default_factory=set)
    """Tables that were up to date, and whose last logged numbers were zero, or are none."""

    def events(
        self,
        candidates: Iterable[Candidate],
        last_complete: Mapping[str, Listing],
        assets: Mapping[str, dg.AssetSpec],
        now: float,
    ) -> list[dg.AssetObservation]:
        """Return the events that this tick logs.

        A table's numbers are logged when something becomes pending, every 15 minutes while it is,
        and when nothing is any more.

        Args:
            candidates: What is listed and known of the tables.
            last_complete: The listing with which each of them was last up to date. If it is the
                present one, nothing is pending.
            assets: The assets, by table.
            now: Seconds since the epoch.
        """
        events, end = list[dg.AssetObservation](), time.monotonic() + self.seconds
        for table in candidates:
            if len(events) == _MOST_EVENTS or time.monotonic() >= end:
                break
            lag = self._lag(table, last_complete.get(table.name), now)
            if lag is not None:
                events.append(lag.observation(assets[table.name].key))
        return events

    def _lag(self, table: Candidate, before: Listing | None, now: float) -> Lag | None:
        """Return the numbers to log of a table, if any."""
        if before is not table.listing:
            self._quiet.discard(table.name)
        elif table.name in self._quiet:
            return None
        logged = table.logged_lag() or LoggedLag(is_pending=False, at=0.0)
        if before is table.listing:
            # Asked again by the next tick, should this event get lost.
            if not logged.is_pending:
                self._quiet.add(table.name)
            return Lag() if logged.is_pending else None
        if logged.is_pending and 0 <= now - logged.at < _LOGGED_SECONDS:
            return None
        found = pending(table, before)
        lag = None if found is None else Lag.of(found, now)
        return lag if lag is not None and (lag.objects or logged.is_pending) else None
