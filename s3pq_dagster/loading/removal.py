"""Which objects that are no longer listed are really gone from the bucket."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from s3pq_dagster.loading.interrupts import wait_interruptibly
from s3pq_dagster.source.store import Store

_MOST_REQUESTS = 32
"""Requests that are sent at a time."""


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
    pool = ThreadPoolExecutor(workers, "s3pq-look")
    try:
        answers = [pool.submit(store.is_there, key) for key in keys]
        there = [wait_interruptibly(answer) for answer in answers]
    finally:  # a cancelled run does not wait for answers that may be long in coming
        pool.shutdown(wait=False, cancel_futures=True)
    return [key for key, is_there in zip(keys, there, strict=True) if not is_there]
