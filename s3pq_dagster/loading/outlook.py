"""What a run would do with a table, as far as its footers and requests tell; nothing is loaded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.table_state import TableState
from s3pq_dagster.drift.changes import SchemaChanges, schema_changes
from s3pq_dagster.errors import (
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
    S3ParquetError,
    SchemaMismatchError,
)
from s3pq_dagster.errors.table import Deviation
from s3pq_dagster.ledger import Difference
from s3pq_dagster.loading.pending_schemas import PendingFooter, UnreadFooter
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.objects import MOST_OBJECT_BYTES, Listing
from s3pq_dagster.reading.fitting import Fitting, Reference

_REQUESTS_A_REMOVAL = 2
"""A key that is gone is asked for twice: the answer to HEAD has no body to prove it."""


def reads_of(pending: Listing, part_bytes: int) -> int:
    """Return how many requests read some objects, as the fetcher sends them.

    One reads a small object. A large one is read in ranges; an empty one, and one of a size that
    none can have, needs none.

    Args:
        pending: The objects.
        part_bytes: Size up to which an object is small, and of a range.
    """
    size = pl.col("size")
    parts = (size + part_bytes - 1) // part_bytes
    is_read = (size > 0) & (size <= MOST_OBJECT_BYTES)
    return int(pending.frame.select(pl.when(is_read).then(parts).otherwise(0).sum()).item())


def requests_of(plan: LoadPlan, state: TableState, found: Difference) -> int:
    """Return how many GET and HEAD requests a load sends, unless something has to be repeated.

    Args:
        plan: The table.
        state: What the destination holds of it.
        found: What the load is to do.
    """
    gone = plan.unlisted(state.ledger) if plan.refresh else found.removed
    reads = reads_of(found.pending, plan.spec.max_object_bytes_in_memory)
    return reads + _REQUESTS_A_REMOVAL * len(gone)


@dataclass(frozen=True, slots=True)
class SchemaOutlook:
    """What the footers of a table's pending objects say, and what becomes of its schema."""

    footers: int
    """How many were read."""
    rows: int
    """How many rows they state."""
    unreadable: Sequence[tuple[str, str]] = ()
    """Key and reason of each object that would be set aside."""
    changes: SchemaChanges = field(default_factory=SchemaChanges)
    """What the table gains; all of its columns where it has none yet."""
    replaced: bool = False
    """Whether the table takes another schema, since none of its rows would be left."""
    deviations: Sequence[Deviation] = ()
    """Schemas that are not the table's: in ``rescue`` what has no column becomes JSON, in
    ``evolve`` what is missing is null."""
    error: S3ParquetError | None = None
    """Why the run fails."""


def schema_outlook(
    plan: LoadPlan,
    state: TableState,
    found: Difference,
    footers: Iterable[PendingFooter | UnreadFooter],
) -> SchemaOutlook:
    """Fit pending objects to their table one by one, as a load does.

    Args:
        plan: The table.
        state: What the destination holds of it.
        found: What the load is to do.
        footers: Those of the pending objects, in order; the first 10,000 perhaps.

    Raises:
        StoreError: A footer could not be read for another reason than its object.
    """
    may_replace = plan.replaces_all(state.ledger, found, found.removed)
    fits = _Fits(Fitting(plan.owner.table, plan.spec), may_replace=may_replace)
    if state.schema is not None and not plan.starts_empty:
        fits.fitting.reference = Reference(state.schema, str(state.schema_key))
    for each in footers:
        fits.add(each)
    return fits.outlook(state.schema, len(found.pending))


@dataclass(slots=True)
class _Fits:
    """How the objects so far fit."""

    fitting: Fitting
    may_replace: bool
    replaced: bool = False
    read: int = 0
    rows: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    by_schema: dict[str, Deviation] = field(default_factory=dict)
    error: S3ParquetError | None = None

    def add(self, footer: PendingFooter | UnreadFooter) -> None:
        self.read += 1
        if isinstance(footer, UnreadFooter):
            self._add_unread(footer)
            return
        self.rows += footer.rows
        try:
            self._fit(footer)
        except SchemaMismatchError as error:
            self._deviates(footer, error.differences)
            self.error = self.error or error
        except S3ParquetError as error:  # two columns of one name, say
            self.error = self.error or error

    def _add_unread(self, footer: UnreadFooter) -> None:
        error, key = footer.error, footer.object.key
        if isinstance(error, ObjectChangedError | ObjectNotFoundError):
            return  # a run lists anew
        if isinstance(error, S3ParquetError) and not isinstance(error, MalformedObjectError):
            raise error
        reason = error.reason if isinstance(error, MalformedObjectError) else str(error)
        self.unreadable.append((key, reason))

    def _fit(self, footer: PendingFooter) -> None:
        fitting = self.fitting
        if self.may_replace and fitting.differs(footer):
            fitting.reference, self.replaced = None, True
        self.may_replace = False  # the first object decides
        before = fitting.reference
        fitting.reference = fitting.reference_after(footer)
        fitting.conversion(footer, (0, None))  # raises if it does not fit
        if before is not None and (phrases := fitting.deviation(footer)):
            self._deviates(footer, phrases)

    def _deviates(self, footer: PendingFooter, phrases: list[str]) -> None:
        name = str(footer.schema)
        known = self.by_schema.get(name, Deviation(0, footer.object.key, phrases))
        self.by_schema[name] = replace(known, objects=known.objects + 1)

    def outlook(self, before: pa.Schema | None, pending: int) -> SchemaOutlook:
        reference, error = self.fitting.reference, self.error
        deviations = list(self.by_schema.values())
        if isinstance(error, SchemaMismatchError):
            left = max(0, pending - self.read)
            error = error.but(deviations=deviations, not_looked_at=left)
        changes = SchemaChanges()
        if reference is not None and not self.replaced:
            changes = schema_changes(before or pa.schema([]), reference.schema)
        return SchemaOutlook(
            self.read,
            self.rows,
            self.unreadable,
            changes,
            replaced=self.replaced,
            deviations=deviations,
            error=error,
        )
