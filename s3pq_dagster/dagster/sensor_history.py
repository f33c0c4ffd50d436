"""What Dagster's instance has recorded of tables and of the runs that load them."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.failures import read_failure
from s3pq_dagster.dagster.lag import read_lag
from s3pq_dagster.dagster.metadata import DATA_VERSION_TAG, DESTINATION
from s3pq_dagster.dagster.sensor_decision import LastFailure, LastLoad, LoggedLag
from s3pq_dagster.logs import line

_RUNNING = {
    dg.DagsterRunStatus.NOT_STARTED,  # stays so if its creator died before it launched the run
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.MANAGED,
}


_NEXT_EVENT_SECONDS = 120
"""A run that lives has logged another event after so long: it logs progress more often."""


@dataclass(slots=True)
class Silences:
    """How long runs have logged no event, also where the wall clock was changed meanwhile."""

    wall: Callable[[], float] = time.time
    """The clock by which events are stamped."""
    steady: Callable[[], float] = time.monotonic
    """A clock that nobody sets."""
    _seen: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By run: the time of its latest event, and when that was first seen, by the steady clock."""

    def seconds(self, run_id: str, latest: float) -> float:
        """Return for how long a run's latest event has been its latest.

        The wall clock counts only once the event was seen for some time. If the clock was set
        forward, a run that lives logs its next event meanwhile. By the wall clock alone, a run
        whose last event lies in the future would be waited for until the clock gets there.

        Args:
            run_id: The run.
            latest: When that event was logged, in seconds since the epoch.
        """
        now = self.steady()
        known, since = self._seen.get(run_id, (latest, now))
        if known != latest:
            since = now
        self._seen[run_id] = latest, since
        seen = now - since
        return seen if seen < _NEXT_EVENT_SECONDS else max(self.wall() - latest, seen)

    def forget(self, run_id: str) -> None:
        """Forget a run that has ended."""
        self._seen.pop(run_id, None)


_PAGES = (10, 100)
"""How many observations are looked through for one with a data version, page by page."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The observations of an asset since its newest materialization."""

    versioned: Any = None
    """The newest with a data version, as a record; ``None`` if there is none."""
    failure: Any = None
    """The newest of a failed run, if it is newer than ``versioned``; else ``None``."""
    lag: LoggedLag | None = None
    """The newest that says how far the table is behind, also if it is older."""

    def after(self, older: "Observed") -> "Observed":
        """Return what is found in these observations and older ones together."""
        failure = self.failure or (older.failure if self.versioned is None else None)
        return Observed(self.versioned or older.versioned, failure, self.lag or older.lag)


@dataclass(slots=True)
class Observations:
    """What was found in the observations of assets; it outlives the tick."""

    _found: dict[dg.AssetKey, tuple[int, int, Observed]] = field(default_factory=dict)
    """By asset: newest materialization and observation at that time, and what was found."""

    def of(self, instance: dg.DagsterInstance, asset: dg.AssetKey, since: int) -> Observed:
        """Look through an asset's observations, newest first.

        What was found by an earlier tick is not looked for again, so that it does not get lost
        behind the many observations that tell how far a table is behind.

        Args:
            instance: Has the event log.
            asset: The asset.
            since: The storage id of its newest materialization; 0 if it has none.
        """
        page = instance.fetch_observations(asset, limit=_PAGES[0])
        newest = page.records[0].storage_id if page.records else 0
        known_since, known, found = self._found.get(asset, (-1, 0, Observed()))
        if (known_since, known) != (since, newest):
            goes_on = known_since == since and newest > known  # nobody wiped the asset
            older, known = (found, known) if goes_on else (Observed(), 0)
            records = _records(instance, asset, page)
            new = takewhile(lambda record: record.storage_id > known, records)
            found = _found_in(new, since).after(older)
            self._found[asset] = since, newest, found
        return found


def _found_in(records: Iterable[Any], since: int) -> Observed:
    """Find what counts in some observations, the newest first."""
    failure, versioned, lag = None, None, None
    for number, record in enumerate(records, 1):
        event = record.asset_observation
        lag = lag or read_lag(event, record.timestamp)
        is_sought = versioned is None and record.storage_id > since
        if is_sought and DATA_VERSION_TAG in (event.tags or {}):
            versioned = record
        elif is_sought and failure is None and read_failure(event) is not None:
            failure = event
        is_settled = versioned is not None or record.storage_id <= since
        if is_settled and (lag is not None or number >= _PAGES[0]):
            break
    return Observed(versioned, failure, lag)


def _records(instance: dg.DagsterInstance, asset: dg.AssetKey, page: Any) -> Iterator[Any]:
    """Yield a page of observations and the next one; what is older is taken for not there."""
    # That costs at most a run, which finds that nothing is new.
    yield from page.records
    if page.has_more:
        yield from instance.fetch_observations(asset, _PAGES[1], page.cursor).records


@dataclass(frozen=True, slots=True)
class LoadHistory:
    """The event log and the runs, as one tick of the sensor asks for them."""

    context: dg.SensorEvaluationContext
    place: str | None
    """The destination's place; loads into other places do not count. ``None`` counts them all."""
    stale_run_seconds: int
    """A run that has logged no event for so long counts as dead."""
    silences: Silences = field(default_factory=Silences)
    """Outlives the tick."""
    observations: Observations = field(default_factory=Observations)
    """Outlives the tick."""
    _in_flight: dict[str, bool] = field(default_factory=dict)
    """Answers of :meth:`is_in_flight`, by run."""
    _observed_now: dict[dg.AssetKey, Observed] = field(default_factory=dict)
    """What was observed, by asset."""

    def entries(self, assets: list[dg.AssetKey]) -> dict[dg.AssetKey, Any]:
        """Fetch the newest events of many assets in one query."""
        records = self.context.instance.get_asset_records(assets)
        return {record.asset_entry.asset_key: record.asset_entry for record in records}

    def last_load(self, asset: dg.AssetKey, entry: Any, *, current: str, cursor: str) -> LastLoad:
        """Return what the newest event of an asset says that has a data version.

        Observations cost a query for each asset, and are asked for only if the materialization
        does not have the expected data version.

        Args:
            asset: The asset.
            entry: Its entry in :meth:`entries`, or ``None`` if it has none.
            current: The data version to expect if everything listed is loaded.
            cursor: The metadata key of the table's LastModified cursor.
        """
        if entry is None:
            return LastLoad(None, None, None)
        newest = entry.last_materialization_record
        if newest is None or self._version(newest.asset_materialization) != current:
            newest = self._observed(asset, entry).versioned or newest
        event = newest and (newest.asset_materialization or newest.asset_observation)
        if (version := self._version(event)) is None:
            return LastLoad(None, None, entry.last_run_id)
        shown = event.metadata.get(cursor)
        told = None if shown is None else str(shown.value)
        return LastLoad(version, told, entry.last_run_id, newest.timestamp)

    def reported_at(self, asset: dg.AssetKey, entry: Any, since: float) -> float | None:
        """Return when a run last reported an asset, by an event with a data version.

        Args:
            asset: The asset.
            entry: Its entry in :meth:`entries`, or ``None`` if it has none.
            since: A materialization after this time is answer enough; only without one,
                observations are asked for, which costs a query.
        """
        newest = None if entry is None else entry.last_materialization_record
        if newest is not None and newest.timestamp > since:
            return float(newest.timestamp)
        observed = self._observed(asset, entry).versioned
        return max((e.timestamp for e in (newest, observed) if e is not None), default=None)

    def last_failure(self, asset: dg.AssetKey, entry: Any) -> LastFailure | None:
        """Return why the newest run of an asset failed; ``None`` if it did not, or left no word.

        Args:
            asset: The asset.
            entry: Its entry in :meth:`entries`, or ``None`` if it has none.
        """
        failure = self._observed(asset, entry).failure
        return None if failure is None or not self.is_here(failure) else read_failure(failure)

    def logged_lag(self, asset: dg.AssetKey, entry: Any) -> LoggedLag | None:
        """Return what was last logged of how far an asset is behind.

        Args:
            asset: The asset.
            entry: Its entry in :meth:`entries`, or ``None`` if it has none.
        """
        return self._observed(asset, entry).lag

    def _observed(self, asset: dg.AssetKey, entry: Any) -> Observed:
        if asset not in self._observed_now:
            newest = None if entry is None else entry.last_materialization_record
            since = 0 if newest is None else newest.storage_id
            found = self.observations.of(self.context.instance, asset, since)
            self._observed_now[asset] = found
        return self._observed_now[asset]

    def _version(self, event: Any) -> str | None:
        """Return an event's data version, unless it is about another destination."""
        if event is None or not self.is_here(event):
            return None
        return (event.tags or {}).get(DATA_VERSION_TAG)

    def is_here(self, event: Any) -> bool:
        """Return whether an event is about this destination."""
        place = event.metadata.get(DESTINATION)
        return self.place is None or (place is not None and place.value == self.place)

    def is_in_flight(self, run_id: str) -> bool:
        """Return whether a run is queued or running, and not dead."""
        if run_id not in self._in_flight:
            self._in_flight[run_id] = self._ask_for_run(run_id)
        return self._in_flight[run_id]

    def _ask_for_run(self, run_id: str) -> bool:
        run = self.context.instance.get_run_by_id(run_id)
        if run is None:
            return False
        if run.status is dg.DagsterRunStatus.QUEUED:
            return True
        if run.status not in _RUNNING:
            self.silences.forget(run_id)
            return False
        latest = self.context.instance.get_records_for_run(run_id, limit=1, ascending=False)
        if not latest.records:
            return True
        silent = self.silences.seconds(run_id, latest.records[0].timestamp)
        if silent <= self.stale_run_seconds:
            return True
        self.context.log.warning(
            line("run_taken_for_dead", run_id=run_id, seconds_without_event=round(silent))
        )
        return False
