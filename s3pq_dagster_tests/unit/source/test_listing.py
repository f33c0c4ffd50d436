"""A whole listing: listing branches concurrently gives the same objects as page after page."""

import threading
from collections.abc import Iterator

import pytest

from s3pq_dagster.source.listing import BucketListing
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.made import opened

PAGE = 10


@pytest.fixture
def store(bucket: Bucket) -> Iterator[Store]:
    """Open a bucket whose server writes short pages."""
    bucket.proxy.page_size = PAGE
    with opened(bucket) as store:
        yield store


def fill(bucket: Bucket, *branches: str, objects: int) -> set[str]:
    """Put this number of objects below each branch, and return their keys."""
    keys = {f"{branch}{number:02}" for branch in branches for number in range(objects)}
    for key in sorted(keys):
        bucket.put(key, b"x")
    return keys


def listed(store: Store, prefix: str = "") -> set[str]:
    """Return the keys of a listing, each of which is listed once."""
    found = BucketListing(prefix).go_on(store)
    assert found is not None
    assert len(found) == len(set(found.frame["key"]))
    return set(found.frame["key"])


@pytest.mark.parametrize(
    "branches",
    [
        [""],
        ["a/"],
        ["a/", "b/", "c/"],
        ["a/x/", "a/y/", "a/", "b/", ""],
        ["deep/er/and/deeper/x/", "deep/er/and/deeper/y/", "deep/z/"],
        ["a//", "a/./", "a/../", "a b+c/", "ü/", "a-b/", "a/b/"],
        ["/", "//"],
    ],
    ids=repr,
)
def test_every_object_is_listed_once(bucket: Bucket, store: Store, branches: list[str]) -> None:
    """No object is lost or doubled, whatever the branches and their names."""
    keys = fill(bucket, *branches, objects=13)
    assert listed(store) == keys
    assert listed(store, "a") == {key for key in keys if key.startswith("a")}


def test_a_listing_of_one_page_is_one_request(bucket: Bucket, store: Store) -> None:
    """A small bucket is not asked for branches."""
    fill(bucket, "a/", objects=PAGE)
    bucket.proxy.forget()
    listed(store)
    assert len(bucket.proxy.listings) == 1


def test_branches_are_listed_side_by_side(bucket: Bucket, store: Store) -> None:
    """With four branches of three pages each, no page waits for one of another branch."""
    fill(bucket, *["a/", "b/", "c/", "d/"], objects=3 * PAGE)
    all_begun = threading.Barrier(4, timeout=20)

    def wait_for_the_others(request: Request) -> None:
        is_first = "continuation-token" not in request.query
        if is_first and request.query.get("prefix", [""]) != [""]:
            all_begun.wait()  # fails the listing if the others do not come

    bucket.proxy.before = wait_for_the_others
    bucket.proxy.forget()
    listed(store)
    assert not all_begun.broken
    assert len(bucket.proxy.listings) == 2 + 4 * 3  # a page, the branches, and their pages


def test_many_small_branches_are_listed_page_after_page(bucket: Bucket, store: Store) -> None:
    """A request for each of many branches would be slower, and S3 charges for requests."""
    fill(bucket, "a/", objects=PAGE + 1)
    fill(bucket, *(f"b{number:02}/" for number in range(70)), objects=1)
    bucket.proxy.forget()
    listed(store)
    assert len(bucket.proxy.listings) <= 2 + (PAGE + 1 + 70) // PAGE + 1


def test_what_time_was_too_short_for_is_listed_by_another_call(
    bucket: Bucket, store: Store
) -> None:
    """No page is asked for twice, and each call asks for at least one, so that it ends."""
    keys = fill(bucket, "a/", "b/", objects=3 * PAGE)
    bucket.proxy.forget()
    listing, found, calls = BucketListing(""), None, 0
    while found is None:
        found = listing.go_on(store, seconds=0)
        calls += 1
    assert set(found.frame["key"]) == keys
    assert calls > 3
    asked = [(r.query["prefix"], r.query.get("continuation-token")) for r in bucket.proxy.listings]
    assert len(bucket.proxy.listings) == 2 + 2 * 3, asked


def test_a_branch_that_is_not_where_it_was_said_to_be_is_looked_for(
    bucket: Bucket, store: Store
) -> None:
    """A server may encode the names of branches differently from keys; then all is listed."""
    keys = fill(bucket, "a/", "b/", objects=PAGE + 1)
    nothing = (
        b"<ListBucketResult><Name>x</Name><Prefix>b/</Prefix><KeyCount>0</KeyCount>"
        b"<IsTruncated>false</IsTruncated></ListBucketResult>"
    )
    bucket.proxy.before = lambda r: (
        Answer(200, nothing) if r.query.get("prefix") == ["b/"] else None
    )
    assert listed(store) == keys
