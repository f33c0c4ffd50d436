"""What is fetched before its turn is taken where it is what is pending, and dropped where not."""

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
    """Nothing reads on once all is closed."""
    with none_left("s3pq-read", "s3pq-open"):
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


def begin(ahead: Prefetch, store: Store, owner: Owner, pending: Listing, *, after: Owner) -> None:
    """Start as an op does."""
    most = spec(max_object_bytes_in_memory=100)
    ahead.start(owner, STATE, pending, store, most, after=after)


def test_what_is_pending_is_handed_over_and_read_once(bucket: Bucket, store: Store) -> None:
    """What the destination holds of it was asked, too."""
    pending, ahead = put(bucket, store, B, 10, 20), Prefetch()
    begin(ahead, store, B, pending, after=A)
    assert (ahead.state_of(A), ahead.state_of(B)) == (None, STATE)
    fetcher = ahead.take(B, pending)
    assert fetcher is not None
    with fetcher:
        assert sorted(len(fetched.data) for fetched in fetcher) == [10, 20]
    assert (ahead.take(B, pending), ahead.state_of(B)) == (None, None)
    assert len(bucket.proxy.object_reads) == 2


def test_something_else_that_is_pending_is_read_anew(bucket: Bucket, store: Store) -> None:
    """Somebody loaded an object meanwhile, or replaced it."""
    pending, ahead = put(bucket, store, B, 10, 20), Prefetch()
    begin(ahead, store, B, pending, after=A)
    assert ahead.take(B, Listing(pending.frame.head(1))) is None
    assert ahead.take(B, pending) is None


def test_one_table_is_fetched_beside_the_one_whose_turn_it_is(bucket: Bucket, store: Store) -> None:
    """A table that was passed over gives its place up."""
    listings = {owner: put(bucket, store, owner, 10) for owner in (A, B, C)}
    ahead = Prefetch()
    begin(ahead, store, B, listings[B], after=A)
    begin(ahead, store, C, listings[C], after=B)
    assert (ahead.state_of(B), ahead.state_of(C)) == (STATE, STATE)
    begin(ahead, store, A, listings[A], after=C)
    assert (ahead.state_of(B), ahead.state_of(C)) == (None, STATE)
    ahead.close()


def test_large_objects_wait_for_their_turn(bucket: Bucket, store: Store) -> None:
    """They are spooled to disk: two at a time, not four."""
    pending, ahead = put(bucket, store, B, 200, 10), Prefetch()
    begin(ahead, store, B, Listing(pending.frame.sort("key")), after=A)
    fetcher = ahead.take(B, Listing(pending.frame.sort("key")))
    assert fetcher is not None
    assert bucket.proxy.object_reads == []
    with fetcher:
        for fetched in fetcher:
            fetcher.release(fetched)
    assert {read.key for read in bucket.proxy.object_reads} == {"b/0", "b/1"}


def test_what_went_wrong_early_is_asked_for_again(bucket: Bucket, store: Store) -> None:
    """The table before may have been written for an hour: S3 may be well again by now."""
    pending, ahead = put(bucket, store, B, 10), Prefetch()
    answers = [Answer(503, b"<Error><Code>SlowDown</Code></Error>")] * 5
    bucket.proxy.before = lambda r: answers.pop() if r.is_object and answers else None
    begin(ahead, store, B, pending, after=A)
    again_while(bool, stop_after_delay(20))(lambda: answers)
    fetcher = ahead.take(B, pending)
    assert fetcher is not None
    with fetcher:
        assert [(len(fetched.data), fetched.error) for fetched in fetcher] == [(10, None)]


def test_bounds_are_shared_while_there_are_two(bucket: Bucket, store: Store) -> None:
    """The last table of a run has them alone."""
    pending, ahead = put(bucket, store, B, 10), Prefetch()
    assert ahead.shares == 1
    begin(ahead, store, B, pending, after=A)
    assert ahead.shares == 2
    fetcher = ahead.take(B, pending)
    assert ahead.shares == 1
    assert fetcher is not None
    fetcher.close()
