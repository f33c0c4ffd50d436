"""What one load has committed so far: its counts, the table's cursor and fingerprint."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from s3pq_dagster.destinations.table_state import Commit, TableState
from s3pq_dagster.drift.changes import SchemaChanges
from s3pq_dagster.ledger import Entry, Ledger, Status, latest
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.objects import Listing, ObjectMeta


class LoadTally:
    """Counts of one load, and the :class:`Commit` that goes with each of its transactions."""

    def __init__(self, plan: LoadPlan, state: TableState) -> None:
        """Take the table's state as the destination has it under its lock.

        Raises:
            EmptyListingError: As :meth:`LoadPlan.difference`.
            QuarantineLimitError: As :meth:`LoadPlan.difference`.
        """
        self.ledger_before = plan.ledger_before(state)
        """The table's ledger before this load; empty in a full refresh."""
        self.difference = plan.difference(state)
        """What this load has to do."""
        self.fingerprint = ""
        """The table's fingerprint after the last commit; empty while more commits are to come."""
        self._plan = plan
        self._cursor = state.ledger.cursor
        self._quarantined_count = len(plan.still_quarantined(self.ledger_before))
        self._quarantined_keys: list[str] = []
        self._changes: list[SchemaChanges] = []
        self._rows = self._objects = self._bytes = self._removed = self._missing = 0

    @property
    def resized(self) -> pl.DataFrame:
        """The pending objects whose e_tag is in the ledger with another size."""
        return self.ledger_before.resized(self.difference.pending)

    def check_quarantine(self, entry: Entry) -> None:
        """Count an object that is about to be quarantined.

        Raises:
            QuarantineLimitError: With it, too many objects of the listing are quarantined.
            NoReadableObjectError: With it all are, in a refresh that would drop what is loaded.
        """
        self._quarantined_count += 1
        key, reason = entry.object.key, entry.reason
        self._plan.check_quarantine_limit(self._quarantined_count, key, reason)
        if self._plan.replaces_rows and self._quarantined_count == len(self._plan.listing):
            self._plan.check_readable([(key, str(reason))])

    def seal(self, entries: Sequence[Entry]) -> Commit:
        """Make the commit of some entries, after which more is to come."""
        return Commit(entries, self._cursor_after(entries), None)

    def seal_last(
        self, entries: Sequence[Entry], missing: Sequence[str], changed: Sequence[ObjectMeta]
    ) -> Commit:
        """Make the commit after which nothing is pending.

        Args:
            entries: What it enters into the ledger; may be nothing but the fingerprint.
            missing: Keys of pending objects that were deleted since they were listed.
            changed: Pending objects that were overwritten since they were listed, as read.
        """
        sealed = self.seal(entries)
        self._missing = len(missing)
        self.fingerprint = self._fingerprint_after(missing, changed)
        return Commit(sealed.entries, sealed.cursor, self.fingerprint)

    def seal_removal(self, keys: Sequence[str], ledger: Ledger) -> Commit:
        """Make the commit that removes the rows of some keys.

        Args:
            keys: Keys of the objects.
            ledger: The table's ledger before that.
        """
        left = ledger.frame.filter(~pl.col("key").is_in(list(keys)))
        self._cursor = Ledger(left).cursor
        self._removed = len(keys)
        return self.seal([])

    def add(self, entries: Sequence[Entry]) -> None:
        """Count the entries of a transaction that is committed."""
        loaded = [entry for entry in entries if entry.status is Status.LOADED]
        self._cursor = self._cursor_after(entries)
        self._rows += sum(entry.rows for entry in loaded)
        self._objects += len(loaded)
        self._bytes += sum(entry.object.size for entry in entries)
        self._quarantined_keys += [
            entry.object.key for entry in entries if entry.status is Status.QUARANTINED
        ]

    def note_removed(self, objects: int) -> None:
        """Note objects whose rows went with the table's old columns."""
        self._removed = objects

    def add_changes(self, changes: SchemaChanges) -> None:
        """Note what a committed transaction changed in the table's schema."""
        if changes:
            self._changes.append(changes)

    def report(self, state: TableState, seconds: float) -> LoadReport:
        """Report the load.

        Args:
            state: The table once everything is committed.
            seconds: How long the load took.
        """
        return LoadReport(
            rows=self._rows,
            objects=self._objects,
            bytes=self._bytes,
            removed=self._removed,
            missing=self._missing,
            seconds=seconds,
            table_rows=state.rows,
            table_schema=state.schema,
            objects_loaded=state.ledger.count(Status.LOADED),
            ledger_rows=state.ledger.rows,
            objects_quarantined=state.ledger.quarantined(self._plan.listing).height,
            quarantined_keys=self._quarantined_keys,
            cursor=state.ledger.cursor,
            fingerprint=self.fingerprint,
            unreadable=self._plan.unreadable(state.ledger),
            columns_added=[name for each in self._changes for name in each.added_names()],
            columns_retyped=[text for each in self._changes for text in each.retyped_names()],
        )

    def _cursor_after(self, entries: Sequence[Entry]) -> datetime | None:
        loaded = [e.object.last_modified for e in entries if e.status is Status.LOADED]
        return latest([self._cursor, *loaded])

    def _fingerprint_after(self, missing: Sequence[str], changed: Sequence[ObjectMeta]) -> str:
        # Computed and not read back: the fingerprint is committed together with the last entries.
        # The ledger then accounts for what it did before and for what was pending. Of the latter,
        # objects deleted since the listing are left out; overwritten ones count as they were read.
        other = [*missing, *(found.key for found in changed)]
        before = self.ledger_before.accounted(self._plan.listing)
        frames = [before.frame, self.difference.pending.frame]
        held = pl.concat(frames).filter(~pl.col("key").is_in(other))
        now = pl.concat([held, Listing.of(changed).frame])
        return self._plan.fingerprint(Listing(now.unique("key")))
