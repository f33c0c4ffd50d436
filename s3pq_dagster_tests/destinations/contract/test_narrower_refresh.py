"""A full refresh of which the listing lacks objects drops no rows without a word."""

from typing import Any

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import DestinationConflictError, UnlistedObjectsError
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load, owner
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.unit.made import listed, opened


def under(bucket: Bucket, prefix: str) -> Listing:
    """List the bucket as with this ``path_prefix``."""
    with opened(bucket) as store:
        return listed(store, prefix)


def held(bucket: Bucket, destination: Destination) -> tuple[dict[str, int], dict[str, str]]:
    """Return the rows of each key in the table, and the ledger's status of each."""
    audit = destination.audit(owner(bucket))
    rows = dict(audit.rows_by_key.select("key", "rows").rows())
    return rows, dict(audit.state.ledger.frame.sort("key").select("key", "status").rows())


@pytest.mark.parametrize(
    "how", [{"options": {"full_refresh": True}}, {"incremental": False}], ids=["once", "always"]
)
def test_a_refresh_under_a_narrower_prefix_is_refused(
    bucket: Bucket, destination: Destination, how: dict[str, Any]
) -> None:
    """The objects outside it are still there: the error names one, and the table is as it was."""
    bucket.put("t/a1", 10)
    bucket.put("t/b1", 5)
    load(bucket, destination)
    before = held(bucket, destination)
    narrow = under(bucket, "t/a")
    with pytest.raises(UnlistedObjectsError, match="path_prefix 't/a', 't/b1' among them"):
        load(bucket, destination, listing=narrow, path_prefix="t/a", **how)
    assert held(bucket, destination) == before
    assert before[1] == {"t/a1": "loaded", "t/b1": "loaded"}


def test_a_refresh_drops_what_is_not_listed_on_request(
    bucket: Bucket, destination: Destination
) -> None:
    """With ``allow_unlisted``; under the wider prefix the rows come back."""
    bucket.put("t/a1", 10)
    bucket.put("t/b1", 5)
    load(bucket, destination)
    options = {"full_refresh": True, "allow_unlisted": True}
    narrow = under(bucket, "t/a")
    load(bucket, destination, listing=narrow, path_prefix="t/a", options=options)
    assert held(bucket, destination) == ({"t/a1": 10}, {"t/a1": "loaded"})
    assert load(bucket, destination).rows == 5
    assert held(bucket, destination)[0] == {"t/a1": 10, "t/b1": 5}


def test_a_refresh_keeps_what_another_run_loaded_after_its_listing(
    bucket: Bucket, place: Place
) -> None:
    """It is a conflict, which a retry with a new listing mends."""
    bucket.put("t/a", 10)
    stale = under(bucket, "t/")
    bucket.put("t/b", 5)
    load(bucket, place.open())
    refresh = {"full_refresh": True}
    with pytest.raises(DestinationConflictError, match="'t/b' among them"):
        load(bucket, place.open(), listing=stale, options=refresh)
    load(bucket, place.open(), options=refresh)
    assert held(bucket, place.open())[0] == {"t/a": 10, "t/b": 5}


def test_a_refresh_drops_the_rows_of_what_is_gone(bucket: Bucket, destination: Destination) -> None:
    """An object that was deleted from the bucket is no reason to refuse."""
    bucket.put("t/a", 10)
    bucket.put("t/b", 5)
    load(bucket, destination)
    bucket.delete("t/b")
    load(bucket, destination, options={"full_refresh": True})
    assert held(bucket, destination) == ({"t/a": 10}, {"t/a": "loaded"})
