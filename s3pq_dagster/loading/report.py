"""What a load says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did, and what the table is now."""

    rows: int
    """Rows written by this load."""
    objects: int
    """Objects loaded by this load."""
    bytes: int
    """Bytes of the objects read by this load."""
    removed: int
    """Objects whose rows went because S3 no longer has them."""
    missing: int
    """Objects deleted between listing and reading."""
    seconds: float
    """From opening the destination until it is closed."""
    table_rows: int
    table_schema: pa.Schema | None
    objects_loaded: int
    """Objects in the ledger as loaded, by this load and earlier ones."""
    ledger_rows: int
    """Rows of those objects, as the ledger has them."""
    objects_quarantined: int
    """Listed objects that are quarantined, by this load and earlier ones."""
    quarantined_keys: Sequence[str]
    """Of them, those set aside by this load."""
    cursor: datetime | None
    fingerprint: str

    def after(self, earlier: Sequence["LoadReport"]) -> "LoadReport":
        """Add what others did before; what the table is now is not added up."""
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
        )
