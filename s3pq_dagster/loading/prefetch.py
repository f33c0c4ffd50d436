"""A run's next table, fetched and opened while the one before it is written."""

from dataclasses import dataclass

from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_SHARES = 2
"""Fetchers that share the bounds of the spec: this table's and the next one's."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    state: TableState
    pending: Listing
    fetcher: Fetcher


class Prefetch:
    """What is fetched of tables before their turn: of at most one, beside the one whose turn it is.

    A guess: whoever loads a table says what is pending of it, and gets what was fetched if it is
    exactly that. A guess that was wrong costs requests, and holds nobody up, since no table waits
    for another's bytes to be taken.
    """

    def __init__(self) -> None:
        self._under_way: dict[Owner, _UnderWay] = {}

    def start(
        self,
        owner: Owner,
        state: TableState,
        pending: Listing,
        store: Store,
        spec: S3ParquetSpec,
        *,
        after: Owner,
    ) -> None:
        """Start fetching.

        Args:
            owner: The table.
            state: What the destination holds of it.
            pending: What is to be read, in order.
            store: Where from.
            spec: The bounds; this has its share of them.
            after: The table whose turn it is; what was fetched of others is thrown away.
        """
        for other in set(self._under_way) - {after}:
            self._drop(other)
        fetcher = build_fetcher(store, pending, spec, shares=_SHARES)
        self._under_way[owner] = _UnderWay(state, pending, fetcher)
        fetcher.begin()

    def state_of(self, owner: Owner) -> TableState | None:
        """Give what the destination held of a table when its objects began to be fetched."""
        found = self._under_way.get(owner)
        return None if found is None else found.state

    def take(self, owner: Owner, pending: Listing) -> Fetcher | None:
        """Hand over what is fetched of a table, if it is what is pending; the taker closes it."""
        found = self._under_way.get(owner)
        if found is None:
            return None
        if not found.pending.frame.equals(pending.frame):
            self._drop(owner, wait=True)
            return None
        fetcher = self._under_way.pop(owner).fetcher
        if not self._under_way:
            fetcher.stop_sharing()
        return fetcher

    @property
    def shares(self) -> int:
        """How many fetchers there are, with that of the table whose turn it is."""
        return _SHARES if self._under_way else 1

    def close(self) -> None:
        """Throw away what nobody took."""
        for owner in list(self._under_way):
            self._drop(owner)

    def _drop(self, owner: Owner, *, wait: bool = False) -> None:
        self._under_way.pop(owner).fetcher.close(wait=wait)
