"""What a run records of each partition that it was to load."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.metadata import (
    BYTES,
    COLUMN_SCHEMA,
    DATA_VERSION_TAG,
    OBJECTS,
    OBJECTS_QUARANTINED,
    PARTITION_ROW_COUNT,
    PARTITIONS,
    ROWS,
    ledger_metadata,
)
from s3pq_dagster.dagster.partition_versions import (
    is_of_version,
    partition_version,
    recorded_versions,
)
from s3pq_dagster.destinations.table_state import TableState
from s3pq_dagster.layout.key_partitions import partitions_of
from s3pq_dagster.ledger import Entry, Ledger, Status, fingerprints
from s3pq_dagster.loading.part import Part, PartitionReport, PartTally
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.logs import line

_MOST_OBSERVED = 100
"""If nothing is new in more partitions than these, one observation says so of them all: an event
takes some 25 ms."""
_NOTHING_NEW = "Nothing new: every listed object is in the ledger."
_LACKING = "The ledger lacks objects that were loaded: the destination has gone back in time."


@dataclass(frozen=True, slots=True)
class PartitionEvents:
    """The events of one run of a table with partitions.

    A partition is materialized once all its listed objects are accounted for. If the log says so
    already and nothing of it was loaded, that is observed.
    """

    context: dg.AssetExecutionContext | dg.OpExecutionContext
    spec: dg.AssetSpec
    io_manager: S3ParquetIOManager
    plan: LoadPlan
    part: Part
    _done: set[str] = field(default_factory=set)
    """Partitions that were materialized by this run."""
    _touched: set[str] = field(default_factory=set)
    """Partitions of which this run has loaded something."""

    def tally(self, ledger: Ledger, names: Sequence[str] | None = None) -> PartTally:
        """Compare what is listed of the run's partitions, or of others, with a ledger."""
        plan, part = self.plan, self.part if names is None else replace(self.part, names=names)
        return PartTally(part, plan.listing, ledger, plan.owner.layout or "")

    def committed(self, tally: PartTally, entries: Iterable[Entry]) -> None:
        """Materialize the partitions that a checkpoint has made whole.

        Those of the last checkpoint are left to :meth:`finish`, which knows the table's columns.
        """
        touched, whole = tally.add(entries)
        self._touched.update(touched)
        if tally.is_left:
            self._materialize(tally.reports(whole), {})

    def finish(self, ask: Callable[[], TableState], *, anew: bool) -> None:
        """Record the partitions that are whole and not materialized yet.

        Args:
            ask: Reads the table's state.
            anew: Whether every partition was loaded again.
        """
        # In this order: what another run has recorded meanwhile is in the ledger by then.
        known, state = recorded_versions(self.context.instance, self.spec.key), ask()
        tally = self.tally(state.ledger)
        left = [name for name in tally.whole() if name not in self._done]
        new, same = list[PartitionReport](), list[PartitionReport]()
        for report in tally.reports(left):
            is_same = is_of_version(known.get(report.name), self._version(report.fingerprint))
            is_new = anew or not is_same or report.name in self._touched
            (new if is_new else same).append(report)
        self._materialize(new, self._of_table(state))
        self._observe(same)
        self._correct(state.ledger, known)

    def _correct(self, ledger: Ledger, known: Mapping[str, tuple[int, str]]) -> None:
        """Observe partitions that the log takes for whole, and the ledger does not.

        Somebody may have put back an older copy of the destination. The sensor then asks for them.
        """
        plan, asked = self.plan, set(self.part.names)
        names = partitions_of(self.part.rule, plan.listing.frame["key"])
        listed = fingerprints(plan.listing, names, plan.owner.layout or "")
        others = [
            name
            for name, found in listed.items()
            if name not in asked and is_of_version(known.get(name), self._version(found))
        ]
        tally = self.tally(ledger, others)
        for each in tally.reports(sorted({*others} - {*tally.whole()})):
            tags = {DATA_VERSION_TAG: self._version(each.fingerprint)}
            self._log_observation(each.name, self._metadata(each), tags, _LACKING)

    def _version(self, fingerprint: str) -> str:
        return partition_version(fingerprint, self.io_manager.place())

    def _materialize(self, reports: Sequence[PartitionReport], also: Mapping[str, Any]) -> None:
        for each in reports:
            self._done.add(each.name)
            self.context.log_event(
                dg.AssetMaterialization(
                    self.spec.key,
                    partition=each.name,
                    metadata={**self._metadata(each), **also},
                    tags={DATA_VERSION_TAG: self._version(each.fingerprint)},
                )
            )

    def _observe(self, reports: Sequence[PartitionReport]) -> None:
        if not reports:
            return
        table = self.plan.owner.table
        objects = sum(report.objects for report in reports)
        facts = {"partitions": len(reports), "objects": objects}
        self.context.log.info(line("nothing_new", table=table, **facts))
        if len(reports) > _MOST_OBSERVED:
            metadata = self.io_manager.described(self.plan) | {PARTITIONS: len(reports)}
            self._log_observation(None, metadata, {})
            return
        for each in reports:
            tags = {DATA_VERSION_TAG: self._version(each.fingerprint)}
            self._log_observation(each.name, self._metadata(each), tags)

    def _log_observation(
        self,
        partition: str | None,
        metadata: Mapping[str, Any],
        tags: Mapping[str, str],
        description: str = _NOTHING_NEW,
    ) -> None:
        self.context.log_event(
            dg.AssetObservation(
                self.spec.key,
                partition=partition,
                description=description,
                metadata=metadata,
                tags=tags,
            )
        )

    def _metadata(self, report: PartitionReport) -> dict[str, Any]:
        return {
            **self.io_manager.described(self.plan),
            PARTITION_ROW_COUNT: report.rows,
            ROWS: report.rows,
            OBJECTS: report.objects,
            BYTES: report.bytes,
            OBJECTS_QUARANTINED: report.quarantined,
        }

    def _of_table(self, state: TableState) -> dict[str, Any]:
        """Return the metadata of the whole table, which the last events of a run have, too."""
        owner, ledger = self.plan.owner, state.ledger
        known = self.spec.metadata.get(COLUMN_SCHEMA)
        return {
            **self.io_manager.described(
                self.plan, schema=state.schema, rows=state.rows, known=known
            ),
            **ledger_metadata(
                owner.bucket,
                owner.table,
                ledger.count(Status.LOADED),
                ledger.rows,
                ledger.cursor,
            ),
        }
