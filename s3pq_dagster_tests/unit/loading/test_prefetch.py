"""Prefetched objects are used if exactly they are pending, and discarded otherwise."""

from collections.abc import Iterator

import pytest
from tenacity import stop_after_delay

from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.proxy import Answer
from s3pq_dagster_tests.unit.made import listed, opened, spec
from s3pq_dagster_tests.unit.threads import none_left
from s3pq_dagster_tests.waiting import again_while

A, B, C = (Owner(name, "lake", f"{name}/") for name in "abc")
STATE = TableState.empty()


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """No thread reads on after the test."""
    with none_left("s3pq-read", "s3pq-decode"):
        yield


@pytest.fixture
def store(bucket: Bucket) -> Iterator[Store]:
    """Open the bucket."""
    with opened(bucket) as store:
        yield store


def put(bucket: Bucket, store: Store, owner: Owner, *sizes: int) -> Listing:
    """Put a table's objects and list them."""
    for number, size in enumerate(sizes):
        bucket.put(f"{owner.prefix}{number}", bytes(size))
    return listed(store, owner.prefix)


def begin(
    prefetch: Prefetch, store: Store, owner: Owner, pending: Listing, *, after: Owner
) -> None:
    """Start a prefetch as an op does."""
    most = spec(max_object_bytes_in_memory=100)
    prefetch.start(owner, STATE, pending, store, most, after=after)


def test_what_is_pending_is_handed_over_and_read_once(bucket: Bucket, store: Store) -> None:
    """The destination's state is kept together with the fetched objects."""
    pending, prefetch = put(bucket, store, B, 10, 20), Prefetch()
    begin(prefetch, store, B, pending, after=A)
    assert (prefetch.state_of(A), prefetch.state_of(B)) == (None, STATE)
    fetcher = prefetch.take(B, pending)
    assert fetcher is not None
    with fetcher:
        assert sorted(len(fetched.data) for fetched in fetcher) == [10, 20]
    assert (prefetch.take(B, pending), prefetch.state_of(B)) == (None, None)
    assert len(bucket.proxy.object_reads) == 2


def test_something_else_that_is_pending_is_read_again(bucket: Bucket, store: Store) -> None:
    """The prefetch is discarded if an object was loaded or replaced meanwhile."""
    pending, prefetch = put(bucket, store, B, 10, 20), Prefetch()
    begin(prefetch, store, B, pending, after=A)
    assert prefetch.take(B, Listing(pending.frame.head(1))) is None
    assert prefetch.take(B, pending) is None


def test_one_table_is_prefetched_beside_the_current_one(bucket: Bucket, store: Store) -> None:
    """The prefetch of a table that was skipped is discarded."""
    listings = {owner: put(bucket, store, owner, 10) for owner in (A, B, C)}
    prefetch = Prefetch()
    begin(prefetch, store, B, listings[B], after=A)
    begin(prefetch, store, C, listings[C], after=B)
    assert (prefetch.state_of(B), prefetch.state_of(C)) == (STATE, STATE)
    begin(prefetch, store, A, listings[A], after=C)
    assert (prefetch.state_of(B), prefetch.state_of(C)) == (None, STATE)
    prefetch.close()


def test_large_objects_are_not_prefetched(bucket: Bucket, store: Store) -> None:
    """Large objects take disk space, so they are not prefetched."""
    pending, prefetch = put(bucket, store, B, 200, 10), Prefetch()
    begin(prefetch, store, B, Listing(pending.frame.sort("key")), after=A)
    fetcher = prefetch.take(B, Listing(pending.frame.sort("key")))
    assert fetcher is not None
    assert bucket.proxy.object_reads == []
    with fetcher:
        for fetched in fetcher:
            fetcher.release(fetched)
    assert {read.key for read in bucket.proxy.object_reads} == {"b/0", "b/1"}


def test_what_went_wrong_early_is_asked_for_again(bucket: Bucket, store: Store) -> None:
    """The table before may have taken an hour to write: S3 may have recovered meanwhile."""
    pending, prefetch = put(bucket, store, B, 10), Prefetch()
    answers = [Answer(503, b"<Error><Code>SlowDown</Code></Error>")] * 5
    bucket.proxy.before = lambda r: answers.pop() if r.is_object and answers else None
    begin(prefetch, store, B, pending, after=A)
    again_while(bool, stop_after_delay(20))(lambda: answers)
    fetcher = prefetch.take(B, pending)
    assert fetcher is not None
    with fetcher:
        assert [(len(fetched.data), fetched.error) for fetched in fetcher] == [(10, None)]


def test_bounds_are_shared_while_there_are_two(bucket: Bucket, store: Store) -> None:
    """The last table of a run has all of the bounds."""
    pending, prefetch = put(bucket, store, B, 10), Prefetch()
    assert prefetch.shares == 1
    begin(prefetch, store, B, pending, after=A)
    assert prefetch.shares == 2
    fetcher = prefetch.take(B, pending)
    assert prefetch.shares == 1
    assert fetcher is not None
    fetcher.close()
