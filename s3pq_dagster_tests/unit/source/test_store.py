"""Listing a bucket and reading its objects, over HTTP."""

import hashlib
import re
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest

from s3pq_dagster.errors import (
    AccessDeniedError,
    BrokenAnswerError,
    BucketNotFoundError,
    CredentialsError,
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
    S3ParquetError,
    StoreError,
    StoreUnreachableError,
)
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.proxy import Answer, Hook, Request
from s3pq_dagster_tests.servers import (
    ADMIN,
    Identity,
    admin_client,
    free_port,
    seaweedfs,
)
from s3pq_dagster_tests.unit.broken import http, saying
from s3pq_dagster_tests.unit.made import opened, spec

WEED_KEYS = [
    "with space",
    "a+b",
    "a%b",
    "a%41b",
    "a%2Bb",
    "a&b<c>",
    "a\"b'c",
    "a?b#c",
    "ü/é",
    "e\u0301",
    "日本",
    "\U0001f600",
    "\ufffd",
    "a\x01b",
    "a\x1fb",
    "a\tb",
    "a\rb",
    "a\x7fb",
    "a*b|c~d=e",
]
MOTO_KEYS = [
    *WEED_KEYS,
    "a//b",
    "//x",
    "a/../b",
    "..",
    "../x",
    ".",
    "./x",
    "a/./b",
    "/lead",
    "trail/",
    "a\\b",
]
LISTER = Identity("lister", "lister-secret", ("List",))
READER = Identity("reader", "reader-secret", ("Read",))
LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lake</Name>'
    "<IsTruncated>false</IsTruncated><KeyCount>1</KeyCount><Contents><Key>{key}</Key>"
    "<Size>1</Size><ETag>&quot;t&quot;</ETag><LastModified>2024-02-14T12:00:00Z</LastModified>"
    "</Contents></ListBucketResult>"
)
META = ObjectMeta("a", 5, "tag", datetime(2024, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a SeaweedFS with one bucket, and identities that lack some rights."""
    with seaweedfs(tmp_path_factory.mktemp("checking"), LISTER, READER) as endpoint:
        client = admin_client(endpoint)
        client.create_bucket(Bucket="lake")
        client.put_object(Bucket="lake", Key="a", Body=b"12345")
        client.close()
        yield endpoint


def opened_as(identity: Identity, endpoint: str) -> Store:
    """Open the bucket of that server with the credentials of an identity."""
    session = boto3.session.Session(identity.access_key, identity.secret_key)
    return Store.open(spec(endpoint_url=endpoint), session)


def first(hook: Hook) -> Hook:
    """Make a hook that applies to the first request only."""
    asked: list[Request] = []

    def once(request: Request) -> Answer | None:
        asked.append(request)
        return hook(request) if len(asked) == 1 else None

    return once


def test_any_key_is_listed_and_read_as_it_is(bucket: Bucket) -> None:
    """Listing, reading and ``stat`` give an object exactly the key it has."""
    for key in MOTO_KEYS:
        bucket.put(key, b"of " + key.encode())
    with opened(bucket) as store:
        found = list(list_prefix(store, ""))
        assert sorted(o.key for o in found) == sorted(MOTO_KEYS)
        for each in found:
            assert store.read(each) == b"of " + each.key.encode()
            assert store.stat(each.key) == each


def test_any_key_that_seaweedfs_takes_is_listed_and_read(weed_bucket: Bucket) -> None:
    """A server that checks signatures and has its own encoding gives the same keys."""
    for key in WEED_KEYS:
        weed_bucket.put(key, key.encode())
    with opened(weed_bucket) as store:
        found = {o.key: store.read(o) for o in list_prefix(store, "")}
    assert found == {key: key.encode() for key in WEED_KEYS}


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


def test_every_read_says_which_version_it_wants(bucket: Bucket) -> None:
    """If-Match carries the listed e_tag for a whole object and for a byte range."""
    bucket.put("a", b"0123456789")
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
        assert store.read(found) == b"0123456789"
        assert store.read(found, 2, 5) == b"234"
        assert store.read(found, 4) == b"456789"
    reads = bucket.proxy.object_reads
    assert [r.if_match for r in reads] == [f'"{found.e_tag}"'] * 3
    assert [r.range for r in reads] == [None, "bytes=2-4", "bytes=4-9"]


def test_an_overwritten_object_is_noticed(bucket: Bucket) -> None:
    """The server refuses to mix versions, and the error names the key."""
    bucket.put("a", b"old")
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
        bucket.put("a", b"new")
        with pytest.raises(ObjectChangedError, match="'a'"):
            store.read(found)


def test_a_server_without_if_match_is_noticed(bucket: Bucket) -> None:
    """A server that ignores If-Match answers with another e_tag, which is compared."""
    bucket.put("a", b"old")
    bucket.proxy.before = lambda r: (
        Answer(200, b"new", {"ETag": '"another"'}) if r.is_object else None
    )
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
        with pytest.raises(ObjectChangedError):
            store.read(found)


def test_a_deleted_object_is_noticed(bucket: Bucket) -> None:
    """Reading a deleted object, and asking for it, raise an error of their own."""
    bucket.put("a", b"1")
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
        bucket.delete("a")
        with pytest.raises(ObjectNotFoundError, match="'a'"):
            store.read(found)
        with pytest.raises(ObjectNotFoundError):
            store.stat("a")


TAG = {"ETag": '"tag"'}
WRONG = {
    "short": Answer(206, b"23", TAG | {"Content-Range": "bytes 2-4/5"}),
    "long": Answer(206, b"2345", TAG | {"Content-Range": "bytes 2-4/5"}),
    "whole": Answer(200, b"01234", TAG),
    "another range": Answer(206, b"123", TAG | {"Content-Range": "bytes 1-3/5"}),
    "another size": Answer(206, b"234", TAG | {"Content-Range": "bytes 2-4/6"}),
}
RIGHT = Answer(206, b"234", TAG | {"Content-Range": "bytes 2-4/5"})


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_an_answer_that_was_not_asked_for_is_asked_again(bucket: Bucket, wrong: Answer) -> None:
    """Length and range of every answer are checked; a right one afterwards is taken."""
    answers = [wrong, RIGHT]
    bucket.proxy.before = lambda _: answers.pop(0)
    with opened(bucket) as store:
        assert store.read(META, 2, 5) == b"234"
    assert not answers


def test_a_wrong_answer_again_and_again_is_an_error(bucket: Bucket) -> None:
    """A server that ignores byte ranges ends in an error that says what it sent."""
    bucket.proxy.before = lambda _: WRONG["whole"]
    with opened(bucket) as store, pytest.raises(StoreError, match="asked for bytes 2 to 5 of 'a'"):
        store.read(META, 2, 5)
    assert 1 < len(bucket.proxy.object_reads) < 10


def test_a_web_page_is_never_an_object(bucket: Bucket) -> None:
    """The page of a captive portal has no e_tag, so its bytes are refused."""
    bucket.proxy.before = lambda _: Answer(200, b"<html>", {"Content-Type": "text/html"})
    with opened(bucket) as store, pytest.raises(StoreError):
        store.read(META)


def test_a_body_that_breaks_off_is_read_again() -> None:
    """When the connection breaks within a body, the whole range is requested again."""
    cut = http(b"012", length=5, ETag='"tag"')
    with saying([cut, cut, http(b"01234", ETag='"tag"')]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        assert store.read(META) == b"01234"
        store.close()
    assert len(server.requests) == 3


def test_a_body_that_always_breaks_off_is_an_error() -> None:
    """After a few attempts the error names the object."""
    with saying([http(b"012", length=5, ETag='"tag"')]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        with pytest.raises(StoreError, match="'a' broke off"):
            store.read(META)
        store.close()


BYTES = b"0123456789" * 20
MD5 = hashlib.md5(BYTES).hexdigest()
SUMMED = ObjectMeta("a", len(BYTES), MD5, datetime(2024, 1, 1, tzinfo=UTC))


def flipped(at: int, **headers: str) -> bytes:
    """Make an answer with the right e_tag and one wrong bit."""
    body = bytearray(BYTES)
    body[at] ^= 1
    return http(bytes(body), length=None, ETag=f'"{MD5}"', **headers)


def test_a_flipped_byte_is_read_again() -> None:
    """Bytes that do not match the e_tag are read again until they do."""
    with saying([flipped(3), http(BYTES, ETag=f'"{MD5}"')]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        assert store.read(SUMMED) == BYTES
        store.close()
    assert len(server.requests) == 2


def test_bytes_that_come_wrong_in_another_way_each_time_are_an_error() -> None:
    """The transfer is at fault, so the object is not quarantined."""
    with saying([flipped(at) for at in range(10)]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        with pytest.raises(BrokenAnswerError, match="'a' do not match its e_tag"):
            store.read(SUMMED)
        store.close()


def test_bytes_that_always_come_wrong_in_the_same_way_are_the_objects() -> None:
    """The object is damaged, or its e_tag is no MD5; the reason says what to do."""
    with saying([flipped(3)]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        with pytest.raises(MalformedObjectError, match="verify_e_tags") as caught:
            store.read(SUMMED)
        store.close()
    assert MD5 in caught.value.reason
    assert len(server.requests) == 1 + 4  # by obstore, then by botocore


@pytest.mark.parametrize(
    "headers",
    [
        {"x_amz_server_side_encryption": "aws:kms"},
        {"x_amz_server_side_encryption": "aws:kms:dsse"},
        {"x_amz_server_side_encryption_customer_algorithm": "AES256"},
    ],
    ids=str,
)
def test_an_e_tag_that_is_no_md5_is_not_held_against_the_bytes(headers: dict[str, str]) -> None:
    """The answer says how the object is encrypted, and so that its e_tag is no MD5."""
    with saying([flipped(3, **headers)]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        piece = store.read_piece(SUMMED)
        store.close()
    assert (len(piece.data), piece.md5) == (len(BYTES), None)
    assert len(server.requests) == 2  # obstore does not show how it is encrypted


def test_e_tags_are_not_verified_where_that_is_turned_off() -> None:
    """Wrong bytes are not noticed then; this is for servers whose e_tags are no MD5s."""
    with saying([flipped(3)]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint, verify_e_tags=False))
        assert len(store.read(SUMMED)) == len(BYTES)
        store.close()


def test_an_answer_without_an_e_tag_is_no_change() -> None:
    """The page of another server does not make the object look overwritten."""
    with saying([http(b"01234")]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        with pytest.raises(BrokenAnswerError, match="no e_tag"):
            store.read(META)
        store.close()


def test_a_404_that_is_not_s3s_is_no_deletion(bucket: Bucket) -> None:
    """Only S3's own code proves a deletion, not any page with status 404."""
    page = Answer(404, b"<html>not here</html>", {"Content-Type": "text/html"})
    bucket.proxy.before = lambda _: page
    with opened(bucket) as store, pytest.raises(BrokenAnswerError, match="NoSuchKey"):
        store.read(META)


def test_a_404_to_head_that_is_not_s3s_is_no_deletion(bucket: Bucket) -> None:
    """The answer to HEAD has no body, so a GET decides whether the object is deleted."""
    bucket.put("k", b"x")

    def before(request: Request) -> Answer | None:
        return Answer(404) if request.method == "HEAD" else None

    bucket.proxy.before = before
    with opened(bucket) as store:
        with pytest.raises(BrokenAnswerError, match="404 to HEAD"):
            store.is_there("k")
        assert not store.is_there("gone")
        bucket.proxy.before = lambda _: Answer(404, b"<html>not here</html>")
        with pytest.raises(BrokenAnswerError, match="NoSuchKey"):
            store.is_there("gone")


@pytest.mark.parametrize("status", [301, 307])
def test_a_bucket_of_another_region_is_named(bucket: Bucket, status: int) -> None:
    """The error for a redirect says what to check, and the step is not retried."""
    body = b"<Error><Code>PermanentRedirect</Code><Message>m</Message></Error>"
    bucket.proxy.before = lambda _: Answer(status, body)
    with opened(bucket) as store, pytest.raises(BucketNotFoundError, match="`region`"):
        list(list_prefix(store, ""))


SAID = {
    "no HTTP": b"\x16\x03\x01 no HTTP\r\n\r\n",
    "half a status line": b"HTTP/1.1 2",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a length that is none": http(b"01234", ETag='"tag"', Content_Range="x").replace(
        b"Content-Length: 5", b"Content-Length: five"
    ),
    "a time that is none": http(b"01234", ETag='"tag"', Last_Modified="yesterday or so"),
    "chunks cut off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    b'ETag: "tag"\r\n\r\n5\r\n012',
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    b'ETag: "tag"\r\n\r\nfive\r\n01234',
    "a header without end": b"HTTP/1.1 200 OK\r\nETag: " + b"x" * 70_000,
    "a page with 400": http(b"<html>no<br></html>", status="400 Bad Request"),
    "a page with 302": http(b"<html>there</html>", status="302 Found", Location="http://x.invalid"),
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_whatever_is_said_ends_as_an_error_of_the_store(said: bytes) -> None:
    """No exception of another library escapes from reading, asking for or listing an object."""
    with saying([said]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        asks = (
            lambda: store.read(META),
            lambda: store.stat("a"),
            lambda: list(list_prefix(store, "")),
        )
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(_caught, asks))
        store.close()
    assert all(isinstance(error, StoreError) and error.retryable for error in found), found


def _caught(ask: Callable[[], object]) -> Exception | None:
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - which one is the question
        return error
    return None


def test_a_server_without_tls_is_named_as_unreachable() -> None:
    """A wrong certificate or protocol is reported as an unreachable endpoint."""

    class Plain(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Plain) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        store = Store.open(spec(endpoint_url=f"https://127.0.0.1:{server.server_address[1]}"))
        with pytest.raises(StoreUnreachableError, match="SSL"):
            store.read(META)
        store.close()
        server.shutdown()
        thread.join()


def test_a_host_that_does_not_exist_is_named_as_unreachable() -> None:
    """A host name without an address is reported by listing and by reading."""
    store = Store.open(spec(endpoint_url="http://no-such-host.invalid"))
    asks = (lambda: list(list_prefix(store, "")), lambda: store.read(META))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_caught, asks))
    store.close()
    assert [type(error) for error in found] == [StoreUnreachableError] * 2
    assert "no-such-host.invalid" in str(found[0])


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


@pytest.mark.parametrize("status", [403, 400])
def test_a_refused_key_of_many_lines_is_told_in_one(bucket: Bucket, status: int) -> None:
    """Control characters of a key are escaped in messages."""
    bucket.put("a\tb\x1b[2J\u202e.parquet", b"1")
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
        bucket.proxy.before = lambda _: Answer(status)
        with pytest.raises(StoreError) as caught:
            store.read(found)
    assert str(caught.value).isprintable()
    assert r"a\tb\x1b[2J\u202e.parquet" in str(caught.value)


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


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_is_busy_is_asked_again(bucket: Bucket, status: int) -> None:
    """Throttling and temporary errors are retried inside the store."""
    bucket.put("a", b"1")
    bucket.proxy.before = first(lambda _: Answer(status))
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
        bucket.proxy.before = first(lambda _: Answer(status))
        assert store.read(found) == b"1"


def test_a_server_that_stays_broken_is_an_error(bucket: Bucket) -> None:
    """The error has the status and is marked as worth retrying."""
    bucket.proxy.before = lambda _: Answer(501)
    with opened(bucket) as store, pytest.raises(StoreError, match="501") as caught:
        list(list_prefix(store, ""))
    assert caught.value.retryable


@pytest.mark.parametrize("server", ["moto", "weed"])
def test_a_missing_bucket_is_named(request: pytest.FixtureRequest, server: str) -> None:
    """A typo in the bucket's name is named, and the step is not retried."""
    store = Store.open(spec(bucket="no-such-bucket", endpoint_url=request.getfixturevalue(server)))
    with pytest.raises(BucketNotFoundError, match="'no-such-bucket' not found") as caught:
        list(list_prefix(store, ""))
    assert not caught.value.retryable
    store.close()


def test_a_bucket_that_went_away_is_named_when_read(moto: str) -> None:
    """A bucket that was deleted after listing does not look like one deleted object."""
    store = Store.open(spec(bucket="no-such-bucket", endpoint_url=moto))
    with pytest.raises(BucketNotFoundError):
        store.read(META)
    store.close()


def test_denied_listing_names_the_permission(checking: str) -> None:
    """The error names the missing permission and the bucket."""
    store = opened_as(READER, checking)
    with pytest.raises(AccessDeniedError, match=r"s3:ListBucket on arn:aws:s3:::lake\b") as caught:
        list(list_prefix(store, ""))
    assert (caught.value.permission, caught.value.retryable) == ("s3:ListBucket", False)
    store.close()


def test_denied_reading_names_the_permission(checking: str) -> None:
    """The error names the missing permission and the key."""
    store = opened_as(LISTER, checking)
    (found,) = list_prefix(store, "")
    with pytest.raises(AccessDeniedError, match=r"s3://lake/a.*s3:GetObject") as caught:
        store.read(found)
    assert caught.value.key == "a"
    with pytest.raises(AccessDeniedError):
        store.stat("a")
    store.close()


@pytest.mark.parametrize(
    "identity",
    [Identity("nobody", "canary-secret"), Identity(ADMIN.access_key, "canary-secret")],
    ids=["unknown key", "wrong secret"],
)
def test_bad_credentials_are_named_without_being_shown(checking: str, identity: Identity) -> None:
    """Unknown or wrong credentials have an error of their own, without the secret."""
    store = opened_as(identity, checking)
    for ask in (lambda: list(list_prefix(store, "")), lambda: store.read(META)):
        with pytest.raises(CredentialsError, match="S3 answered") as caught:
            ask()
        assert not caught.value.retryable
        assert "canary-secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    store.close()


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"])
def test_temporary_credentials_that_ended_are_named(bucket: Bucket, code: str) -> None:
    """S3 answers 400 for expired credentials, which is reported as such."""
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    bucket.proxy.before = lambda _: Answer(400, body)
    with opened(bucket) as store, pytest.raises(CredentialsError, match=code):
        list(list_prefix(store, ""))


def test_a_region_that_s3_does_not_take_is_named(bucket: Bucket) -> None:
    """S3 answers 400 for a signature of another region; the step is not retried."""
    body = (
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message>"
        b"<Region>eu-north-1</Region></Error>"
    )
    bucket.proxy.before = lambda _: Answer(400, body)
    with (
        opened(bucket) as store,
        pytest.raises(BucketNotFoundError, match=r"'eu-north-1'.*`region`"),
    ):
        list(list_prefix(store, ""))


def test_an_archived_object_is_malformed(bucket: Bucket) -> None:
    """An object in Glacier is quarantined alone."""
    body = b"<Error><Code>InvalidObjectState</Code><Message>m</Message></Error>"
    bucket.proxy.before = lambda _: Answer(403, body)
    with (
        opened(bucket) as store,
        pytest.raises(MalformedObjectError, match=r"archived.*retry_quarantined"),
    ):
        store.read(META)


def test_no_credentials_at_all_are_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where to put credentials."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = Store.open(spec(**bucket.spec))
    with pytest.raises(CredentialsError, match="AWS_ACCESS_KEY_ID"):
        list(list_prefix(store, ""))
    store.close()


def test_a_profile_gives_the_credentials(
    checking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`local_profile` picks a profile of the AWS files, instead of the environment."""
    profiles = tmp_path / "credentials"
    profiles.write_text(
        f"[lake]\naws_access_key_id = {LISTER.access_key}\n"
        f"aws_secret_access_key = {LISTER.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    store = Store.open(spec(endpoint_url=checking, local_profile="lake"))
    (found,) = list_prefix(store, "")
    with pytest.raises(AccessDeniedError):
        store.read(found)
    store.close()


def test_a_missing_profile_is_named() -> None:
    """A profile that does not exist is an error on opening, with its name."""
    with pytest.raises(CredentialsError, match="no-such-profile"):
        Store.open(spec(local_profile="no-such-profile"))


def test_a_configuration_file_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A broken AWS configuration file is a credentials error that names the file."""
    broken = tmp_path / "aws-config"
    broken.write_text("garbage\n[x")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(broken))
    with pytest.raises(CredentialsError, match="aws-config"):
        Store.open(spec())


def test_an_unreachable_server_is_named_within_seconds() -> None:
    """A closed port is reported within seconds, and the step is not retried."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = Store.open(spec(endpoint_url=endpoint))
    started = time.monotonic()
    for ask in (lambda: list(list_prefix(store, "")), lambda: store.read(META)):
        with pytest.raises(StoreUnreachableError, match=endpoint) as caught:
            ask()
        assert not caught.value.retryable
    assert time.monotonic() - started < 40
    store.close()


def test_a_connection_that_is_reset_is_an_error_of_the_store() -> None:
    """A connection that is closed without an answer is retried, then a StoreError."""
    with saying([b""]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        with pytest.raises(S3ParquetError) as caught:
            store.read(META)
        store.close()
    assert isinstance(caught.value, StoreError)
    assert len(server.requests) > 1


def test_an_endpoint_of_our_own_is_addressed_by_path(bucket: Bucket) -> None:
    """`endpoint_url` implies path-style addressing: the bucket is in the path."""
    with opened(bucket) as store:
        list(list_prefix(store, "a/"))
        assert store.endpoint == bucket.proxy.endpoint
    assert {request.bucket for request in bucket.proxy.requests} == {bucket.name}


def test_without_an_endpoint_it_is_awss_of_the_region() -> None:
    """Bucket and region alone mean AWS; nothing is sent on opening."""
    store = Store.open(spec(region="eu-central-1"))
    assert store.endpoint == "https://s3.eu-central-1.amazonaws.com"
    store.close()


def test_opening_and_closing_sends_nothing(bucket: Bucket) -> None:
    """Opening a bucket needs no server."""
    with opened(bucket):
        pass
    assert bucket.proxy.requests == []


def test_botos_descriptions_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them takes most of the time of making a client, and a process makes many."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    Store.open(spec()).close()
    found: list[str] = []
    is_on = True

    def heard(event: str, arguments: tuple[object, ...]) -> None:
        if is_on and event == "open" and ".json" in str(arguments[0]):
            found.append(str(arguments[0]))

    sys.addaudithook(heard)  # cannot be removed, so a flag turns it off
    Store.open(spec()).close()
    is_on = False
    assert found == []
