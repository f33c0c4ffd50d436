"""What Dagster's instance has recorded of tables and of the runs that load them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.metadata import DATA_VERSION_TAG, DESTINATION
from s3pq_dagster.dagster.sensor_decision import LastLoad
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
    _in_flight: dict[str, bool] = field(default_factory=dict)
    """Answers of :meth:`is_in_flight`, by run."""

    def entries(self, assets: list[dg.AssetKey]) -> dict[dg.AssetKey, Any]:
        """Fetch the newest events of many assets in one query."""
        records = self.context.instance.get_asset_records(assets)
        return {record.asset_entry.asset_key: record.asset_entry for record in records}

    def last_load(self, asset: dg.AssetKey, entry: Any, *, current: str, cursor: str) -> LastLoad:
        """Return what the newest materialization or observation of an asset says.

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
        event = None if newest is None else newest.asset_materialization
        if self._version(event) != current:
            observed = self.context.instance.fetch_observations(asset, limit=1).records
            if observed and (newest is None or observed[0].storage_id > newest.storage_id):
                event = observed[0].event_log_entry.asset_observation
        version = self._version(event)
        shown = None if event is None or version is None else event.metadata.get(cursor)
        return LastLoad(version, None if shown is None else str(shown.value), entry.last_run_id)

    def reported_at(self, asset: dg.AssetKey, entry: Any, since: float) -> float | None:
        """Return when an asset was last materialized or observed.

        Args:
            asset: The asset.
            entry: Its entry in :meth:`entries`, or ``None`` if it has none.
            since: A materialization after this time is answer enough; only without one,
                observations are asked for, which costs a query.
        """
        newest = None if entry is None else entry.last_materialization_record
        if newest is not None and newest.timestamp > since:
            return float(newest.timestamp)
        observed = self.context.instance.fetch_observations(asset, limit=1).records
        found = [each.timestamp for each in (newest, *observed) if each is not None]
        return max(found, default=None)

    def _version(self, event: Any) -> str | None:
        """Return an event's data version, unless it is about another destination."""
        if event is None:
            return None
        place = event.metadata.get(DESTINATION)
        if self.place is not None and (place is None or place.value != self.place):
            return None
        return (event.tags or {}).get(DATA_VERSION_TAG)

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
