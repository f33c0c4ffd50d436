"""One object's bytes from the bucket to this machine, and the checks that they are the object's."""

import pytest

from s3pq_dagster.errors import ReadAbandonedError
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.transfer import is_same_when_read_again
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.proxy import Request
from s3pq_dagster_tests.unit.made import listed, opened, spec

KIB = 1024


def nothing() -> None:
    """Go on reading."""


def test_an_object_that_is_read_again_is_abandoned_when_closed(bucket: Bucket) -> None:
    """A cancelled run asks for no further range of it."""
    bucket.put("large", bytes(range(256)) * 4 * KIB)
    fields = {"max_object_bytes_in_memory": 64 * KIB, "verify_e_tags": False}
    with opened(bucket, **fields) as store, Fetcher(store, listed(store), spec(**fields)) as read:
        fetched = next(iter(read))
        bucket.proxy.forget()

        def close(_request: Request) -> None:
            read.close(wait=False)

        def check_wanted() -> None:
            if read.is_closed:
                raise ReadAbandonedError

        bucket.proxy.before = close
        with pytest.raises(ReadAbandonedError):
            is_same_when_read_again(store, fetched, 64 * KIB, check_wanted)
        read.release(fetched)
    assert len(bucket.proxy.object_reads) == 1


@pytest.mark.parametrize("in_memory", [1024 * KIB, 64 * KIB], ids=["small", "large"])
def test_the_bytes_that_come_again_take_the_place_of_those_before(
    bucket: Bucket, in_memory: int
) -> None:
    """Whoever reads the object after that reads what was compared last."""
    bucket.put("a", bytes(range(256)) * KIB)
    fields = {"max_object_bytes_in_memory": in_memory, "verify_e_tags": False}
    with opened(bucket, **fields) as store, Fetcher(store, listed(store), spec(**fields)) as read:
        fetched = next(iter(read))
        assert is_same_when_read_again(store, fetched, in_memory, nothing)
        if fetched.spool is None:
            fetched.data = b"damaged on the way"
        else:
            fetched.spool.write(b"damaged on the way", 100_000)
        assert not is_same_when_read_again(store, fetched, in_memory, nothing)
        assert b"".join(fetched.pieces(lambda: True)) == bytes(range(256)) * KIB
        read.release(fetched)


def test_an_object_that_is_gone_by_then_stays_as_it_was_read(bucket: Bucket) -> None:
    """These bytes are all there will ever be of it."""
    bucket.put("a", b"body")
    unchecked = opened(bucket, verify_e_tags=False)
    with unchecked as store, Fetcher(store, listed(store), spec()) as read:
        fetched = next(iter(read))
        bucket.delete("a")
        assert is_same_when_read_again(store, fetched, KIB, nothing)
        assert fetched.data == b"body"
