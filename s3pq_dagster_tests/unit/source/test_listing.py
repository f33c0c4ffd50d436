"""A whole listing, page after page or by concurrent branches, and its pages, over HTTP."""

import hashlib
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from s3pq_dagster.errors import (
    BrokenAnswerError,
    StoreError,
)
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.source.listing import BucketListing, list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.proxy import Answer, Hook, Request
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


@pytest.mark.first_case
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


@pytest.mark.thorough
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


def test_a_branch_that_is_unexpectedly_empty_has_all_listed_again(
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


LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lake</Name>'
    "<IsTruncated>false</IsTruncated><KeyCount>1</KeyCount><Contents><Key>{key}</Key>"
    "<Size>1</Size><ETag>&quot;t&quot;</ETag><LastModified>2024-02-14T12:00:00Z</LastModified>"
    "</Contents></ListBucketResult>"
)


def first(hook: Hook) -> Hook:
    """Make a hook that applies to the first request only."""
    asked: list[Request] = []

    def once(request: Request) -> Answer | None:
        asked.append(request)
        return hook(request) if len(asked) == 1 else None

    return once


def test_a_prefix_is_a_raw_string(bucket: Bucket) -> None:
    """A prefix with odd characters lists what starts with it, and nothing else."""
    prefixes = ["a b/", "a+b/", "ü/", "a%2F/", "//", "a/../"]
    for prefix in prefixes:
        for key in (f"{prefix}x", f"{prefix}y/z"):
            bucket.put(key, b"1")
    with opened(bucket) as store:
        for prefix in prefixes:
            assert [o.key for o in list_prefix(store, prefix)] == [f"{prefix}x", f"{prefix}y/z"]
            assert [o.key for o in list_prefix(store, prefix, delimiter="/")] == [f"{prefix}x"]


@pytest.mark.parametrize("count", [0, 1000, 1001, 2001])
def test_a_listing_has_every_page(moto: str, bucket: Bucket, count: int) -> None:
    """Any number of objects is listed, each once, a thousand a request."""
    pages = [Answer(200, page) for page in _pages(count)]
    bucket.proxy.before = lambda _: pages.pop(0)
    with opened(bucket) as store:
        found = [o.key for o in list_prefix(store, "")]
    assert found == [f"k {i:05d}" for i in range(count)]
    assert not pages
    tokens = [request.query.get("continuation-token") for request in bucket.proxy.listings]
    assert tokens == [None, *([f"after {i}"] for i in range(1, len(tokens)))]


def _pages(count: int) -> list[bytes]:
    """Write the pages of a listing as S3 does."""
    starts = range(0, max(count, 1), 1000)
    pages = []
    for number, start in enumerate(starts, 1):
        contents = "".join(
            f"<Contents><Key>k+{i:05d}</Key><Size>{i}</Size><ETag>&quot;t{i}&quot;</ETag>"
            f"<LastModified>2024-02-14T12:00:00.000Z</LastModified></Contents>"
            for i in range(start, min(start + 1000, count))
        )
        more = number < len(starts)
        token = f"<NextContinuationToken>after {number}</NextContinuationToken>" if more else ""
        pages.append(
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>lake</Name>'
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{contents}</ListBucketResult>".encode()
        )
    return pages


@pytest.mark.thorough
def test_more_than_a_thousand_keys_come_from_a_real_server(weed_bucket: Bucket) -> None:
    """Continuation tokens of a real server are followed."""
    for i in range(1003):
        weed_bucket.put(f"k/{i:04d}", b"")
    with opened(weed_bucket) as store:
        assert [o.key for o in list_prefix(store, "")] == [f"k/{i:04d}" for i in range(1003)]
    assert len(weed_bucket.proxy.listings) == 2


def test_a_listing_has_the_facts_of_each_object(bucket: Bucket) -> None:
    """Size, unquoted e_tag and an aware UTC time are those of the object."""
    moment = datetime(2024, 2, 14, 12, 0, tzinfo=UTC)
    bucket.put("a", b"12345")
    bucket.set_last_modified("a", moment)
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
    digest = hashlib.md5(b"12345").hexdigest()
    assert found == ObjectMeta("a", 5, digest, moment)


TRUNCATED = LISTING.replace("<IsTruncated>false", "{token}<IsTruncated>true")


def test_a_listing_that_goes_on_without_saying_where_is_an_error(bucket: Bucket) -> None:
    """An incomplete listing is never taken for a whole one."""
    page = TRUNCATED.format(key="a", token="").encode()
    bucket.proxy.before = lambda _: Answer(200, page)
    with opened(bucket) as store, pytest.raises(BrokenAnswerError, match="goes on, but not where"):
        list(list_prefix(store, ""))


def test_a_listing_that_never_ends_is_an_error(bucket: Bucket) -> None:
    """A continuation token that came before would make the listing endless."""
    token = "<NextContinuationToken>again</NextContinuationToken>"
    page = TRUNCATED.format(key="a", token=token).encode()
    bucket.proxy.before = lambda _: Answer(200, page)
    with opened(bucket) as store, pytest.raises(BrokenAnswerError, match="for ever"):
        list(list_prefix(store, ""))


BRANCH = "<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"


@pytest.mark.first_case
@pytest.mark.parametrize("is_branch", [False, True])
def test_a_listing_of_something_else_is_asked_for_again(bucket: Bucket, *, is_branch: bool) -> None:
    """The listing of another prefix would hide the objects of this one."""
    bucket.put("b/1", b"1")
    page = LISTING.format(key="a/1").encode()
    if is_branch:
        page = re.sub(b"<Contents>.*</Contents>", BRANCH.format(key="a/1").encode(), page)
    bucket.proxy.before = first(lambda _: Answer(200, page))
    with opened(bucket) as store:
        assert [o.key for o in list_prefix(store, "b/")] == ["b/1"]
    bucket.proxy.before = lambda _: Answer(200, page)
    with opened(bucket) as store, pytest.raises(BrokenAnswerError, match=r"'b/' with 'a/1' in it"):
        list(list_prefix(store, "b/"))


@pytest.mark.first_case
@pytest.mark.parametrize("without", ["Key", "Size", "LastModified"])
def test_a_listing_of_objects_without_their_facts_is_an_error(bucket: Bucket, without: str) -> None:
    """Key, size and time have to be there."""
    page = re.sub(f"<{without}>.*</{without}>", "", LISTING.format(key="a"))
    bucket.proxy.before = lambda _: Answer(200, page.encode())
    with opened(bucket) as store, pytest.raises(BrokenAnswerError, match="without key, size"):
        list(list_prefix(store, ""))


PAGES = {
    "well-formed": b"<html><body>Log in</body></html>",
    "not well-formed": b"<!doctype html><html><body><br>Log in</body></html>",
    "empty": b"",
    "no XML": b"hello",
    "cut off": LISTING.format(key="a").encode()[:-60],
    "with entities": LISTING.format(key="a&b;")
    .replace("<ListBucketResult", '<!DOCTYPE x [<!ENTITY b "c">]><ListBucketResult')
    .encode(),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_listing_that_is_none_is_asked_for_again(bucket: Bucket, page: bytes) -> None:
    """A web page or half a listing is not an empty bucket; the next answer is used."""
    bucket.put("k", b"1")
    bucket.proxy.before = first(lambda _: Answer(200, page, {"Content-Type": "text/html"}))
    with opened(bucket) as store:
        assert [o.key for o in list_prefix(store, "")] == ["k"]


@pytest.mark.first_case
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_listing_that_stays_none_is_an_error(bucket: Bucket, page: bytes) -> None:
    """An empty answer is never taken for an empty bucket."""
    bucket.proxy.before = lambda _: Answer(200, page, {"Content-Type": "text/html"})
    with opened(bucket) as store, pytest.raises(StoreError):
        list(list_prefix(store, ""))


def test_an_unencoded_listing_is_not_decoded(bucket: Bucket) -> None:
    """Keys of a server that ignores `encoding-type=url` are used as they are."""
    bucket.proxy.before = lambda _: Answer(200, LISTING.format(key="a+b%20c").encode())
    with opened(bucket) as store:
        assert [o.key for o in list_prefix(store, "")] == ["a+b%20c"]


@pytest.mark.parametrize("key", ["a/%FF.parquet", "a/%ED%A0%80.parquet", "a/%C3"])
def test_a_key_that_is_no_utf8_is_an_error(bucket: Bucket, key: str) -> None:
    """A replacement character would make another key, which could never be read."""
    page = LISTING.format(key=key).replace("<Name>", "<EncodingType>url</EncodingType><Name>")
    bucket.proxy.before = lambda _: Answer(200, page.encode())
    with opened(bucket) as store, pytest.raises(StoreError, match=rf"'{key}'.*Rename the object"):
        list(list_prefix(store, ""))
