"""The objects of a run's next table, fetched while the table before it is written."""

from dataclasses import dataclass

from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_SHARES = 2
"""Fetchers that share the spec's bounds: that of the current table and that of the next one."""


@dataclass(frozen=True, slots=True)
class _Prefetched:
    """A table whose objects are being fetched."""

    state: TableState
    pending: Listing
    fetcher: Fetcher


class Prefetch:
    """Fetchers of the tables that a run loads next.

    At most one table is prefetched while another one is loaded. What will be pending is a guess:
    :meth:`take` hands a fetcher over only if exactly its objects are pending. A wrong guess costs
    requests and delays nothing, since no table waits for another one's objects to be taken.
    """

    def __init__(self) -> None:
        self._prefetched: dict[Owner, _Prefetched] = {}

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
        """Start to fetch a table's objects.

        Args:
            owner: The table.
            state: What the destination holds of it.
            pending: The objects to fetch, in order.
            store: The bucket.
            spec: The bounds, of which this fetcher gets its share.
            after: The table that is loaded now. What was fetched of any other is discarded.
        """
        for other in set(self._prefetched) - {after}:
            self._drop(other)
        fetcher = build_fetcher(store, pending, spec, shares=_SHARES)
        self._prefetched[owner] = _Prefetched(state, pending, fetcher)
        fetcher.begin()

    def state_of(self, owner: Owner) -> TableState | None:
        """Return what the destination held of a table when its prefetch started."""
        found = self._prefetched.get(owner)
        return None if found is None else found.state

    def take(self, owner: Owner, pending: Listing) -> Fetcher | None:
        """Hand over the fetcher of a table if exactly its objects are pending.

        The caller closes it. ``None`` if the table was not prefetched, or other objects were: those
        are discarded.
        """
        found = self._prefetched.get(owner)
        if found is None:
            return None
        if not found.pending.frame.equals(pending.frame):
            self._drop(owner, wait=True)
            return None
        fetcher = self._prefetched.pop(owner).fetcher
        if not self._prefetched:
            fetcher.stop_sharing()
        return fetcher

    @property
    def shares(self) -> int:
        """The number of fetchers that share the bounds, that of the current table included."""
        return _SHARES if self._prefetched else 1

    def close(self) -> None:
        """Discard every fetcher that nobody took."""
        for owner in list(self._prefetched):
            self._drop(owner)

    def _drop(self, owner: Owner, *, wait: bool = False) -> None:
        self._prefetched.pop(owner).fetcher.close(wait=wait)
