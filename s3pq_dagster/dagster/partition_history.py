"""What Dagster's instance has recorded of a table's partitions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import dagster as dg

from s3pq_dagster.dagster.failures import read_failure
from s3pq_dagster.dagster.partition_versions import recorded_versions
from s3pq_dagster.dagster.sensor_decision import LastFailure
from s3pq_dagster.dagster.sensor_history import LoadHistory

_MOST_OBSERVATIONS = 100
"""So many observations are looked through for failures."""


@dataclass(frozen=True, slots=True)
class PartitionHistory:
    """What the event log has of one table's partitions."""

    recorded: Mapping[str, tuple[int, str]]
    """What :func:`recorded_versions` found."""
    attempts: Mapping[str, tuple[str, int]]
    """For partitions that are not materialized since they were last planned: the run that did."""
    is_in_flight: Callable[[str], bool]
    """Whether a run may still load its tables."""
    failures: Callable[[], Sequence[tuple[int, LastFailure]]]
    """Looks up why runs failed, the newest first, with the event's number in the log."""

    @classmethod
    def of(cls, history: LoadHistory, asset: dg.AssetKey) -> "PartitionHistory":
        """Look up the partitions of an asset."""
        instance = history.context.instance
        storage = instance.event_log_storage

        @cache
        def failures() -> Sequence[tuple[int, LastFailure]]:
            records = instance.fetch_observations(asset, limit=_MOST_OBSERVATIONS).records
            events = [(record.storage_id, record.asset_observation) for record in records]
            here = [(at, event) for at, event in events if event and history.is_here(event)]
            read = [(at, read_failure(event)) for at, event in here]
            return [(at, failure) for at, failure in read if failure is not None]

        return cls(
            recorded_versions(instance, asset),
            storage.get_latest_asset_partition_materialization_attempts_without_materializations(
                asset
            ),
            history.is_in_flight,
            failures,
        )

    def failure(self, names: Iterable[str], listing: str) -> LastFailure | None:
        """Return why the newest run of some partitions failed; ``None`` if it did not.

        Args:
            names: The partitions.
            listing: What the run was to load.
        """
        since = self.recorded_at(names)
        found = (each for number, each in self.failures() if number > since)
        return next((each for each in found if each.listing == listing), None)

    def recorded_at(self, names: Iterable[str]) -> int:
        """Return the number in the event log of what was last recorded of some partitions."""
        return max((self.recorded.get(name, (0, ""))[0] for name in names), default=0)

    def running(self, names: Iterable[str]) -> dict[str, str]:
        """Return those of some partitions that runs in flight may still load, and the runs."""
        tried = {name: self.attempts[name][0] for name in names if name in self.attempts}
        return {name: run_id for name, run_id in tried.items() if self.is_in_flight(run_id)}
