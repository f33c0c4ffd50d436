"""An open bucket, and reads of its objects, over HTTP."""

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from s3pq_dagster.errors import (
    BrokenAnswerError,
    CredentialsError,
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreError,
)
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.broken import http, saying
from s3pq_dagster_tests.unit.made import opened, opened_at, spec

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


META = ObjectMeta("a", 5, "tag", datetime(2024, 1, 1, tzinfo=UTC))


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
    """A server that ignores byte ranges ends in an error that says so, and what it sent."""
    bucket.proxy.before = lambda _: WRONG["whole"]
    said = "asked for bytes 2 to 5 of 'a'.*ignores the Range header"
    with opened(bucket) as store, pytest.raises(StoreError, match=said):
        store.read(META, 2, 5)
    assert 1 < len(bucket.proxy.object_reads) < 10


@pytest.mark.parametrize("end", [3, 5], ids=["a range", "the whole"])
def test_no_more_is_read_than_was_asked_for(end: int) -> None:
    """A body of any length is left after one byte too many, or before its first."""
    long = http(b"0123456", length=10**12, ETag='"tag"')
    with (
        saying([long]) as server,
        opened_at(server.endpoint) as store,
        pytest.raises(BrokenAnswerError, match=f"got {10**12 if end == 3 else 6} bytes"),
    ):
        store.read(META, 0, end)


WEAK = ObjectMeta("a", 5, 'W/"tag"', datetime(2024, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("sent", ['W/"tag"', '"tag"'])
def test_a_weak_e_tag_is_compared_but_is_no_condition(sent: str) -> None:
    """By HTTP's rules no weak e_tag fulfils If-Match; the answer's tells what was read."""
    with saying([http(b"01234", ETag=sent)]) as server, opened_at(server.endpoint) as store:
        assert store.read(WEAK) == b"01234"
    (request,) = server.requests
    assert b"if-match" not in request.lower()


def test_an_object_with_a_weak_e_tag_is_seen_to_change() -> None:
    """Another weak e_tag is another version."""
    with (
        saying([http(b"01234", ETag='W/"new"')]) as server,
        opened_at(server.endpoint) as store,
        pytest.raises(ObjectChangedError),
    ):
        store.read(WEAK)


def test_an_e_tag_that_was_weakened_on_its_way_is_the_same() -> None:
    """What compresses answers weakens e_tags."""
    with saying([http(b"01234", ETag='W/"tag"')]) as server, opened_at(server.endpoint) as store:
        assert store.read(META) == b"01234"


def test_the_checksum_that_s3_stored_is_compared() -> None:
    """Bytes that do not match it are not used, even where the e_tag is no MD5."""
    wrong = http(b"01234", ETag='"tag"', x_amz_checksum_crc32="AAAAAA==")
    with (
        saying([wrong]) as server,
        opened_at(server.endpoint) as store,
        pytest.raises(BrokenAnswerError, match="checksum"),
    ):
        store.read(META)


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
    assert len(server.requests) == 1 + 4  # directly, then by botocore


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
    assert len(server.requests) == 2  # the direct read does not look how it is encrypted


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
