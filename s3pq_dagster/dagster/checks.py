"""Asset checks, which compare a table with its ledger and with the bucket."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from s3pq_dagster.dagster.metadata import (
    FOOTERS_READ,
    LEDGER_ROWS,
    OBJECTS_ELSEWHERE,
    OBJECTS_LISTED,
    OBJECTS_LOADED,
    OBJECTS_PENDING,
    OBJECTS_QUARANTINED,
    OBJECTS_TO_REMOVE,
    OBJECTS_UNRECONCILED,
    SAMPLE,
    TABLE_ROWS,
    records,
)
from s3pq_dagster.destinations.table_state import TableAudit
from s3pq_dagster.ledger import Difference, Status
from s3pq_dagster.objects import IDENTITY, Listing

COMPLETE = "complete"
ROWS_RECONCILED = "rows_reconciled"
NO_QUARANTINE = "no_quarantine"
_DESCRIPTIONS = {
    COMPLETE: "Every listed object is in the ledger, loaded or quarantined.",
    ROWS_RECONCILED: "The table has as many rows of each object as the ledger says, and no others. "
    "An object's rows are counted against its footer when it is loaded.",
    NO_QUARANTINE: "Every listed object could be read as Parquet, and held by the destination.",
}
_WHAT_TO_DO = {
    COMPLETE: "Some listed objects are not loaded, or rows of deleted objects are still there: "
    "materialize the asset. Rows of objects that the layout gives to another table by now go when "
    "the table is run with full_refresh.",
    ROWS_RECONCILED: "Table and ledger differ, so somebody changed one of them. Restore what was "
    "there, or load the whole table again with full_refresh.",
    NO_QUARANTINE: "Some objects could not be loaded and are left out. Replace them in the bucket "
    "or, once the cause is gone, load with retry_quarantined.",
}
"""What a person can do about a check that fails."""


def check_specs(asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """Return the specs of the checks of a table's asset."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=text)
        for name, text in _DESCRIPTIONS.items()
    ]


@dataclass(frozen=True, slots=True)
class Proof:
    """The facts that a table's checks compare."""

    audit: TableAudit
    listing: Listing
    relist: Callable[[], Listing]
    """Lists the table again."""
    mirror: bool
    """Whether rows of objects deleted from S3 have to be removed."""
    elsewhere: Sequence[str] = ()
    """Keys that are loaded, and that the layout gives to another table by now."""
    footers: pl.DataFrame | None = None
    """What :func:`~s3pq_dagster.reading.footers.footer_rows` read, if anything."""

    def results(self, asset: dg.AssetKey, names: Collection[str]) -> Iterator[dg.AssetCheckResult]:
        """Evaluate the named checks."""
        verdicts: dict[str, Callable[[], tuple[bool, dg.AssetCheckSeverity, dict[str, Any]]]] = {
            COMPLETE: self._complete,
            ROWS_RECONCILED: self._rows_reconciled,
            NO_QUARANTINE: self._no_quarantine,
        }
        for name in (name for name in verdicts if name in names):
            passed, severity, metadata = verdicts[name]()
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=name,
                passed=passed,
                severity=severity,
                description=None if passed else _WHAT_TO_DO[name],
                metadata=metadata,
            )

    def _complete(self) -> tuple[bool, dg.AssetCheckSeverity, dict[str, Any]]:
        found = self._still_missing()
        pending = found.pending.frame["key"].to_list()
        ledger = self.audit.state.ledger
        metadata = {
            OBJECTS_LISTED: len(self.listing),
            OBJECTS_LOADED: ledger.count(Status.LOADED),
            OBJECTS_QUARANTINED: ledger.quarantined(self.listing).height,
            OBJECTS_PENDING: len(pending),
            OBJECTS_TO_REMOVE: len(found.removed),
            OBJECTS_ELSEWHERE: len(self.elsewhere),
        }
        sample = [{"key": key, "what": "not in the ledger"} for key in pending]
        sample += [{"key": key, "what": "loaded, no longer listed"} for key in found.removed]
        sample += [{"key": key, "what": "loaded, of another table now"} for key in self.elsewhere]
        return not sample, dg.AssetCheckSeverity.WARN, metadata | records(SAMPLE, sample)

    def _still_missing(self) -> Difference:
        """Return what is pending or to be removed, by the load's listing and by a new one.

        The new listing leaves out objects that were deleted or overwritten while the run loaded.
        """
        found = self._difference(self.listing)
        if not found:
            return found
        now = self._difference(self.relist())
        there = now.pending.with_version()
        pending = found.pending.with_version().join(there, on=IDENTITY, how="semi")
        removed = sorted(set(found.removed) & set(now.removed))
        return Difference(Listing(pending.drop("version")), removed)

    def _difference(self, listing: Listing) -> Difference:
        return self.audit.state.ledger.difference(listing, mirror=self.mirror)

    def _rows_reconciled(self) -> tuple[bool, dg.AssetCheckSeverity, dict[str, Any]]:
        ledger = self.audit.state.ledger
        differing = ledger.reconcile(self.audit.rows_by_key)
        loaded = ledger.frame.filter(pl.col("status") == Status.LOADED)
        sample = differing.to_dicts()
        metadata = {
            TABLE_ROWS: int(self.audit.rows_by_key["rows"].sum()),
            LEDGER_ROWS: int(loaded["rows"].sum()),
        }
        if self.footers is not None:
            metadata[FOOTERS_READ] = self.footers.height
            sample += ledger.reconcile_footers(self.footers).to_dicts()
        metadata[OBJECTS_UNRECONCILED] = len(sample)
        return not sample, dg.AssetCheckSeverity.ERROR, metadata | records(SAMPLE, sample)

    def _no_quarantine(self) -> tuple[bool, dg.AssetCheckSeverity, dict[str, Any]]:
        found = self.audit.state.ledger.quarantined(self.listing)
        metadata = {OBJECTS_LISTED: len(self.listing), OBJECTS_QUARANTINED: found.height}
        sample = records(SAMPLE, found.to_dicts())
        return not found.height, dg.AssetCheckSeverity.WARN, metadata | sample
