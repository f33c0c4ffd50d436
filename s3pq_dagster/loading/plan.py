"""What of a table's listing a run has to load, and what it refuses to go on with."""

from dataclasses import dataclass, replace

from s3pq_dagster.destinations.table_state import Commit, Owner, TableState
from s3pq_dagster.errors import EmptyListingError, QuarantineLimitError
from s3pq_dagster.ledger import Difference, Ledger, Status
from s3pq_dagster.loading.key_ranges import KeyRange
from s3pq_dagster.objects import Listing
from s3pq_dagster.spec import S3ParquetSpec


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How one run departs from the spec."""

    full_refresh: bool = False
    max_objects: int | None = None
    retry_quarantined: bool = False
    allow_empty_listing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One table and its listing: what is pending of it, given what a destination holds."""

    spec: S3ParquetSpec
    owner: Owner
    listing: Listing
    options: LoadOptions
    keys: KeyRange | None = None
    """What others leave to this load, of what is pending."""

    @property
    def refresh(self) -> bool:
        """Whether the table is replaced as a whole."""
        return self.options.full_refresh or not self.spec.incremental

    def difference(self, state: TableState) -> Difference:
        """Say what is pending, given what the destination holds.

        Raises:
            EmptyListingError: ``mirror`` or a refresh would remove everything because nothing is
                listed.
            QuarantineLimitError: Too many objects are quarantined already.
        """
        ledger = self.counted(state)
        found = self._of_all(ledger)
        emptied = (self.spec.write_mode == "mirror" or self.refresh) and not len(self.listing)
        loaded = state.ledger.count(Status.LOADED) if emptied else 0
        if loaded and not self.options.allow_empty_listing:
            raise EmptyListingError(self.owner.table, self.owner.prefix, loaded)
        for count, (key, reason) in enumerate(self.held_back(ledger), start=1):
            self.refuse_quarantined(count, key, reason)
        return found if self.keys is None else Difference(self.keys.of(found.pending), [])

    def _of_all(self, ledger: Ledger) -> Difference:
        """Take the difference, whoever loads it."""
        mirror = self.spec.write_mode == "mirror" and not self.refresh
        found = ledger.difference(
            self.listing, mirror=mirror, retry_quarantined=self.options.retry_quarantined
        )
        if self.options.max_objects is None or self.refresh:
            return found
        pending = Listing(found.pending.frame.head(self.options.max_objects))
        return replace(found, pending=pending)

    def counted(self, state: TableState) -> Ledger:
        """Give what counts as loaded: in a refresh nothing does."""
        return Ledger.empty() if self.refresh else state.ledger

    def held_back(self, ledger: Ledger) -> list[tuple[str, str]]:
        """Give key and reason of the listed objects that are, and stay, quarantined."""
        held = ledger.quarantined(self.listing)
        if held.is_empty():
            return []
        return held.join(self._of_all(ledger).pending.frame, on="key", how="anti").rows()

    def refuse_quarantined(self, count: int, key: str, reason: str | None) -> None:
        """Fail when more of the listed objects are set aside than the spec allows.

        Args:
            count: How many are.
            key: One of them, for the message.
            reason: Why it is.

        Raises:
            QuarantineLimitError: They are too many.
        """
        if count > self.spec.max_quarantined_fraction * len(self.listing):
            raise QuarantineLimitError(
                self.owner.table,
                quarantined=count,
                listed=len(self.listing),
                fraction=self.spec.max_quarantined_fraction,
                example=f"{key!r}: {reason}",
                refresh=self.refresh,
            )

    def is_due(self, state: TableState) -> bool:
        """Tell whether a run has anything to do."""
        return bool(self.difference(state)) or self.refresh

    def refuse_together(self, ledger: Ledger, commit: Commit) -> None:
        """Count what all who load side by side have set aside."""
        aside = [entry for entry in commit.entries if entry.status is Status.QUARANTINED]
        if aside and not self.options.retry_quarantined:
            count = len(self.held_back(ledger)) + len(aside)
            self.refuse_quarantined(count, aside[-1].object.key, aside[-1].reason)
