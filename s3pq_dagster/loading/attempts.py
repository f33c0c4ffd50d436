"""Tries a load again, where an attempt found out what stands in its way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import TableState
from s3pq_dagster.drift.fitting import STRICT
from s3pq_dagster.errors import (
    DestinationError,
    RefusedRowsError,
    SchemaMismatchError,
    UnsupportedSchemaError,
)
from s3pq_dagster.ledger import Entry
from s3pq_dagster.loading.checkpoints import RefusedInRefreshError
from s3pq_dagster.loading.load_log import LoadLog
from s3pq_dagster.loading.object_streams import Attempt
from s3pq_dagster.loading.pending_schemas import joined_schema
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.removal import check_refresh
from s3pq_dagster.loading.tally import LoadTally
from s3pq_dagster.reading.table_stream import TableStream
from s3pq_dagster.source.store import Store

_RESTARTS = 3
"""How often a refresh starts again without an object that the destination refuses."""
Loaded = tuple[LoadTally, TableState]


class SchemaReplacedError(Exception):
    """No loaded row would be left, and the objects that replace them have other columns."""


class FaultyObjectError(Exception):
    """An object cannot be loaded that was not known to be faulty."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"{entry.object.key!r} cannot be loaded: {entry.reason}")


_NOT_REPLACEABLE = (
    FaultyObjectError,
    RefusedInRefreshError,
    SchemaMismatchError,
    UnsupportedSchemaError,
)
"""Why a table whose rows are all replaced keeps its columns."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one load."""

    plan: LoadPlan
    store: Store
    destination: Destination
    log: LoadLog
    load: Callable[[LoadPlan, Attempt], Loaded]
    """Makes one attempt."""

    def refresh(self) -> Loaded:
        """Replace the table; start again without each object that the destination refuses.

        Raises:
            DestinationError: It refuses objects again and again.
        """
        attempt = Attempt()
        for _ in range(_RESTARTS):
            try:
                return self._held(attempt)
            except RefusedInRefreshError as refused:
                attempt = attempt.after(refused)
        try:
            return self._held(attempt)
        except RefusedInRefreshError as refused:
            msg = (
                f"the destination refused a value in each of {_RESTARTS + 1} attempts to refresh "
                f"table {self.plan.owner.table!r}, the last time: {refused}. The table stays as "
                f"it was. Repair or remove the objects"
                f"{''.join(f', {found.key!r}' for found in attempt.refused)}, then run again."
            )
            raise DestinationError(msg) from refused.error

    def extend(self) -> Loaded:
        """Load what is pending into the table as it is, or into one with other columns.

        The first schema counts as long as rows of it are left. Where none would be, the table is
        loaded anew in one transaction, unless one of its objects cannot be loaded.
        """
        try:
            return self._held(Attempt(may_replace_schema=True))
        except SchemaReplacedError:
            ledger = self.destination.state(self.plan.owner).ledger
        known = frozenset(ledger.quarantined(self.plan.listing)["key"])
        check_refresh(self.plan.anew(), ledger, self.store)
        try:
            tally, state = self._held(Attempt(known_faults=known), self.plan.anew())
        except _NOT_REPLACEABLE as error:
            return self._kept(str(error))
        self.log.refreshed(state.ledger)
        self.log.schema_replaced(state.schema_key)
        if gone := ledger.unlisted(self.plan.listing):  # in a mirror only
            tally.note_removed(len(gone))
            self.log.removed(gone, ledger.rows_of(gone))
        return tally, state

    def _kept(self, why: str) -> Loaded:
        """Load into the table as it is, though none of its rows is left.

        Raises:
            SchemaMismatchError: That does not go; it says why the table keeps its columns.
        """
        try:
            return self._held(Attempt())
        except SchemaMismatchError as error:
            raise error.but(kept_for=why) from error.__cause__

    def _held(self, attempt: Attempt, plan: LoadPlan | None = None) -> Loaded:
        """Load; where the destination cannot hold a type, try the join of all that is pending.

        A list of nulls, say, may be one of texts in the next object.
        """
        plan = plan or self.plan
        try:
            return self.load(plan, attempt)
        except RefusedRowsError:
            raise
        except UnsupportedSchemaError:
            if plan.spec.schema_mode == STRICT:
                raise
            least = joined_schema(plan, self.store, self.destination.state(plan.owner))
            if least is None:
                raise
            return self.load(plan, replace(attempt, least=least))


def check_columns_stay(
    plan: LoadPlan, tally: LoadTally, gone: Sequence[str], stream: TableStream
) -> None:
    """Stop where no loaded row would be left and the first object has other columns.

    Raises:
        SchemaReplacedError: That is so; nothing is written yet.
    """
    if plan.replaces_all(tally.ledger_before, tally.difference, gone) and stream.differs():
        raise SchemaReplacedError


def stop_at_faults(known: frozenset[str]) -> Callable[[Entry], None]:
    """Return what stops a load at the first object that was not known to be faulty."""

    def stop(entry: Entry) -> None:
        if entry.object.key not in known:
            raise FaultyObjectError(entry)

    return stop
