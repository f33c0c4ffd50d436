"""What a load did, as it is reported to Dagster."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did, and what the table holds afterwards."""

    rows: int
    """Rows written by this load."""
    objects: int
    """Objects loaded by this load."""
    bytes: int
    """Bytes of the objects read by this load."""
    removed: int
    """Objects whose rows were removed because S3 no longer has them."""
    missing: int
    """Objects deleted between listing and reading."""
    seconds: float
    """Time from opening the destination to closing it."""
    table_rows: int
    """Rows in the table."""
    table_schema: pa.Schema | None
    """Schema of the table, added columns included; ``None`` before the first readable object."""
    objects_loaded: int
    """Objects that the ledger has as loaded, by this load and earlier ones."""
    ledger_rows: int
    """Rows of those objects according to the ledger."""
    objects_quarantined: int
    """Listed objects that are quarantined, by this load and earlier ones."""
    quarantined_keys: Sequence[str]
    """Keys of the objects that this load quarantined."""
    cursor: datetime | None
    """Latest ``last_modified`` of all loaded objects."""
    fingerprint: str
    """Hash of the listed objects that the ledger accounts for; the asset's data version."""
    columns_added: Sequence[str] = ()
    """Columns that the table gained by this load."""
    columns_retyped: Sequence[str] = ()
    """Columns whose type changed by this load, with both types."""

    unreadable: Sequence[tuple[str, str]] = ()
    """Keys and reasons, if no listed object can be loaded and none was before."""

    def plus(self, earlier: Sequence["LoadReport"]) -> "LoadReport":
        """Add what earlier loads did; what the table holds afterwards is this report's."""
        return replace(
            self,
            rows=self.rows + sum(report.rows for report in earlier),
            objects=self.objects + sum(report.objects for report in earlier),
            bytes=self.bytes + sum(report.bytes for report in earlier),
            missing=self.missing + sum(report.missing for report in earlier),
            seconds=self.seconds + max((report.seconds for report in earlier), default=0),
            quarantined_keys=[
                *(key for report in earlier for key in report.quarantined_keys),
                *self.quarantined_keys,
            ],
            columns_added=[
                *(name for report in earlier for name in report.columns_added),
                *self.columns_added,
            ],
            columns_retyped=[
                *(text for report in earlier for text in report.columns_retyped),
                *self.columns_retyped,
            ],
        )
