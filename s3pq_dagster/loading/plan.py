"""What of a table's listing a run has to load, and when it must refuse to load."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from s3pq_dagster.destinations.table_state import Commit, Owner, TableState
from s3pq_dagster.drift.fitting import RESCUE
from s3pq_dagster.errors import (
    EmptyListingError,
    NoReadableObjectError,
    QuarantineLimitError,
)
from s3pq_dagster.ledger import Difference, Ledger, Status, fingerprint
from s3pq_dagster.loading.key_ranges import KeyRange
from s3pq_dagster.loading.part import Limit
from s3pq_dagster.objects import Listing
from s3pq_dagster.spec import S3ParquetSpec

_MOST_EXAMPLES = 50


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How one run departs from the spec."""

    full_refresh: bool = False
    max_objects: int | None = None
    retry_quarantined: bool = False
    allow_empty_listing: bool = False
    allow_unlisted: bool = False
    reload: tuple[str, ...] = ()
    """Patterns of keys: these objects are read again, and nothing else is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One table and its listing: decides what is pending, given what a destination holds."""

    spec: S3ParquetSpec
    owner: Owner
    listing: Listing
    options: LoadOptions
    keys: KeyRange | None = None
    """The range of keys that this load is limited to, while other loads take the rest."""
    part: Limit | None = None
    """The partitions or objects that this load is limited to; all else stays as it is."""
    replaces_rows: bool = False
    """Whether this is a refresh of a table that has rows."""

    @property
    def refresh(self) -> bool:
        """Whether the table is replaced, or the part of it that this load is limited to."""
        options = self.options
        return options.full_refresh or bool(options.reload) or not self.spec.incremental

    @property
    def starts_empty(self) -> bool:
        """Whether nothing of the table as it is counts: neither its rows nor its columns."""
        return self.refresh and self.part is None

    @property
    def appends(self) -> bool:
        """Whether rows of earlier versions of an object are kept."""
        return self.spec.write_mode == "append"

    def fingerprint(self, listing: Listing) -> str:
        """Return the table's fingerprint once these objects, and no others, are accounted for."""
        return fingerprint(listing, self.owner.layout or "")

    def difference(self, state: TableState) -> Difference:
        """Find what is pending, given what the destination holds.

        Raises:
            EmptyListingError: ``mirror`` or a refresh would remove everything because nothing is
                listed.
            QuarantineLimitError: Too many objects are quarantined already.
        """
        ledger = self.ledger_before(state)
        found = self._whole_difference(ledger)
        emptied = (self.spec.write_mode == "mirror" or self.refresh) and not len(self.listing)
        loaded = state.ledger.count(Status.LOADED) if emptied else 0
        if loaded and not self.options.allow_empty_listing:
            raise EmptyListingError(self.owner.table, self.owner.prefix, loaded)
        for count, (key, reason) in enumerate(self.still_quarantined(ledger), start=1):
            self.check_quarantine_limit(count, key, reason)
        return found if self.keys is None else Difference(self.keys.of(found.pending), [])

    def _whole_difference(self, ledger: Ledger) -> Difference:
        """Find what is pending in the whole table, whatever range this load is limited to."""
        mirror = self.spec.write_mode == "mirror" and not self.refresh
        found = ledger.difference(
            self.listing, mirror=mirror, retry_quarantined=self.options.retry_quarantined
        )
        if self.part is not None:
            found = self.part.of_difference(found)
        if self.options.max_objects is None or self.refresh:
            return found
        pending = Listing(found.pending.frame.head(self.options.max_objects))
        return replace(found, pending=pending)

    def ledger_before(self, state: TableState) -> Ledger:
        """Return the ledger that the listing is compared with; in a refresh, without what goes."""
        if not self.refresh:
            return state.ledger
        return Ledger.empty() if self.part is None else self.part.without(state.ledger)

    @property
    def wanted(self) -> Listing:
        """The listed objects that this load is about."""
        return self.listing if self.part is None else self.part.of(self.listing)

    def over_all(self, state: TableState) -> "LoadPlan":
        """Return the plan of the whole table, if its partitions are all that there is of it."""
        part = None if self.options.reload else self.part
        is_all = part is not None and part.holds_all(self.listing, state.ledger)
        return replace(self, part=None) if is_all else self

    def unlisted(self, ledger: Ledger) -> list[str]:
        """Return the keys that are loaded and not listed, of what this load is limited to."""
        found = ledger.unlisted(self.listing)
        return found if self.part is None else self.part.of_keys(found)

    def still_quarantined(self, ledger: Ledger) -> list[tuple[str, str]]:
        """List key and reason of the faulty objects that this load will not read again.

        Objects whose load was taken back are not faulty.
        """
        held = ledger.faulty(self.listing)
        if held.is_empty():
            return []
        pending = self._whole_difference(ledger).pending
        return held.join(pending.frame, on="key", how="anti").rows()

    def check_quarantine_limit(self, count: int, key: str, reason: str | None) -> None:
        """Raise if more of the listed objects are quarantined than the spec allows.

        Args:
            count: How many are quarantined.
            key: The key of one of them, for the message.
            reason: Why that one is quarantined.

        Raises:
            QuarantineLimitError: There are too many.
        """
        if count > self.spec.max_quarantined_fraction * len(self.listing):
            raise QuarantineLimitError(
                self.owner.table,
                quarantined=count,
                listed=len(self.listing),
                fraction=self.spec.max_quarantined_fraction,
                key=key,
                reason=reason,
                refresh=self.refresh,
            )

    def check_shared_quarantine(self, ledger: Ledger, commit: Commit) -> None:
        """Raise if a commit, together with those of concurrent loads, quarantines too many objects.

        Args:
            ledger: The table's ledger right before the commit, with the entries of all loads.
            commit: What is about to be committed.

        Raises:
            QuarantineLimitError: There are too many.
        """
        new = [entry for entry in commit.entries if entry.status is Status.QUARANTINED]
        if new and not self.options.retry_quarantined:
            count = len(self.still_quarantined(ledger)) + len(new)
            self.check_quarantine_limit(count, new[-1].object.key, new[-1].reason)

    def unreadable(self, ledger: Ledger) -> list[tuple[str, str]]:
        """Return keys and reasons, if no listed object can be loaded and none was before.

        Args:
            ledger: The table's ledger by now.

        Returns:
            At most 50, sorted by key; nothing if an object is loaded, or may be.
        """
        if ledger.count(Status.LOADED) or not len(self.listing):
            return []
        found = ledger.faulty(self.listing)
        return found.sort("key").head(_MOST_EXAMPLES).rows() * (found.height == len(self.listing))

    def check_readable(self, unreadable: Sequence[tuple[str, str]]) -> None:
        """Raise if :meth:`unreadable` has found objects.

        Raises:
            NoReadableObjectError: It has.
        """
        if unreadable:
            raise NoReadableObjectError(self.owner.table, len(self.listing), unreadable)

    def replaces_all(self, ledger: Ledger, difference: Difference, gone: Sequence[str]) -> bool:
        """Return whether no row that is loaded would be left.

        Args:
            ledger: What is loaded.
            difference: What is to be done.
            gone: Keys whose rows are removed.
        """
        parts = self.options.max_objects, self.keys, self.part
        is_partial = any(each is not None for each in parts)
        if self.appends or self.refresh or is_partial or ledger.undone(self.listing):
            return False  # what was taken back would be loaded with the rest
        loaded = ledger.frame.filter(pl.col("status") == Status.LOADED)["key"]
        going = pl.concat([difference.pending.frame["key"], pl.Series(gone, dtype=pl.String)])
        return bool(loaded.is_in(going.implode()).all())

    def may_be_sharded(self, state: TableState, difference: Difference) -> bool:
        """Return whether several steps may load parts of what is pending.

        Where no loaded row would be left the table may get other columns, in one transaction; and
        the first schema of a table that rescues values is that of one object.
        """
        if state.schema is None:
            return self.spec.schema_mode != RESCUE
        return not self.replaces_all(state.ledger, difference, difference.removed)

    def anew(self) -> "LoadPlan":
        """Return the plan that replaces the table as a whole."""
        return replace(self, options=replace(self.options, full_refresh=True))

    def is_due(self, state: TableState) -> bool:
        """Return whether a run has anything to do."""
        return bool(self.difference(state)) or self.refresh
