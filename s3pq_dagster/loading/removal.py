"""Which objects that are no longer listed are really gone from the bucket."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from s3pq_dagster.errors import DestinationConflictError, UnlistedObjectsError
from s3pq_dagster.ledger import Ledger
from s3pq_dagster.loading.interrupts import wait_interruptibly
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.source.catalog import keys_of_others
from s3pq_dagster.source.store import Store

_MOST_REQUESTS = 32
"""Requests that are sent at a time."""
_MOST_QUEUED = 4096
"""Requests that wait for their turn: each takes about a kilobyte, and there may be a million."""


def gone_from_bucket(store: Store, keys: Sequence[str], concurrency: int) -> list[str]:
    """Ask the bucket for each key, and return those that it does not have.

    A run's listing may be an hour old by now, or have been a page short, and rows that are removed
    by mistake would be loaded only by a full refresh.

    Args:
        store: The bucket.
        keys: Keys that are loaded and were not listed.
        concurrency: Most requests at a time; 0 or less leaves that to this function.

    Raises:
        StoreError: The bucket did not answer.
    """
    if not keys:
        return []
    workers = min(concurrency if concurrency > 0 else _MOST_REQUESTS, _MOST_REQUESTS)
    pool = ThreadPoolExecutor(workers, "s3pq-gone")
    gone: list[str] = []
    try:
        for start in range(0, len(keys), _MOST_QUEUED):
            asked = [
                (key, pool.submit(store.is_there, key))
                for key in keys[start : start + _MOST_QUEUED]
            ]
            gone += [key for key, answer in asked if not wait_interruptibly(answer)]
    finally:  # a cancelled run does not wait for answers that may be long in coming
        pool.shutdown(wait=False, cancel_futures=True)
    return gone


def gone_from_table(plan: LoadPlan, keys: Sequence[str], store: Store) -> list[str]:
    """Return the keys that a table has lost: the bucket has not, or another table now.

    Args:
        plan: The table.
        keys: Keys that are loaded into it and were not listed for it.
        store: The bucket; it is asked for keys that would still be the table's.

    Raises:
        StoreError: The bucket did not answer.
    """
    others = keys_of_others(plan.owner.prefix, keys, plan.spec.key_layout)
    still = [key for key in keys if key not in others]
    there = set(still) - set(gone_from_bucket(store, still, plan.spec.concurrency))
    return [key for key in keys if key not in there]


def check_refresh(plan: LoadPlan, ledger: Ledger, store: Store) -> None:
    """Refuse a refresh that would drop rows of objects that the bucket still has.

    A refresh replaces a table by what is listed. What is loaded and not listed is most often
    deleted, but may only lie outside a ``path_prefix`` that was narrowed since.

    Raises:
        UnlistedObjectsError: Objects outside ``path_prefix`` are loaded and still there.
        DestinationConflictError: So are others, which another run may have loaded meanwhile.
        StoreError: The bucket did not answer.
    """
    if plan.options.allow_unlisted:
        return
    # What the layout gives to another table now does not count: its rows are to go.
    unlisted = plan.unlisted(ledger)
    others = keys_of_others(plan.owner.prefix, unlisted, plan.spec.key_layout)
    keys = [key for key in unlisted if key not in others]
    gone = set(gone_from_bucket(store, keys, plan.spec.concurrency))
    there = [key for key in keys if key not in gone]
    table, path_prefix = plan.owner.table, plan.spec.path_prefix
    if outside := [key for key in there if not key.startswith(path_prefix)]:
        raise UnlistedObjectsError(table, path_prefix, outside)
    if there:
        raise DestinationConflictError(
            f"{len(there)} objects of table {table!r} are loaded and in the bucket, and were not "
            f"listed, {there[0]!r} among them: another run may have loaded them meanwhile, or the "
            f"listing was not complete, or the layout takes them no more. A full refresh would "
            f"drop their rows, so nothing is touched. Run again; if they are never listed, run it "
            f"with allow_unlisted: true."
        )
