"""Direct reads: used where the MD5 proves the bytes, and dropped where it does not."""

import hashlib
from datetime import UTC, datetime

import boto3
import pytest

from s3pq_dagster.errors import ObjectChangedError, ObjectNotFoundError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.source.direct_reads import DirectReads
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.unit.broken import http, saying
from s3pq_dagster_tests.unit.made import spec

BYTES = b"0123456789" * 20
MD5 = hashlib.md5(BYTES).hexdigest()
GOOD = http(BYTES, ETag=f'"{MD5}"')


def summed(key: str = "a", e_tag: str = MD5) -> ObjectMeta:
    """List an object of :data:`BYTES`."""
    return ObjectMeta(key, len(BYTES), e_tag, datetime(2024, 1, 1, tzinfo=UTC))


def opened(endpoint: str) -> DirectReads:
    """Open the direct reads."""
    credentials = boto3.Session("key", "secret", "token").get_credentials
    direct = DirectReads.open(spec(endpoint_url=endpoint), credentials, endpoint)
    assert direct is not None
    return direct


def test_an_object_takes_one_request_that_names_its_version() -> None:
    """A read is one request, and it carries the e_tag, so that S3 refuses another version."""
    with saying([GOOD]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        piece = store.read_piece(summed())
        store.close()
    assert (piece.data, piece.md5) == (BYTES, MD5)
    (request,) = server.requests
    assert b"amz-sdk-invocation-id" not in request.lower()
    assert f'if-match: "{MD5}"'.encode() in request.lower()


@pytest.mark.parametrize(
    "answer",
    [
        http(BYTES[:-1], ETag=f'"{MD5}"'),
        http(b"<html>welcome</html>"),
        http(b"", status="404 Not Found"),
        http(b"", status="503 Slow Down"),
        http(b"", status="301 Moved Permanently"),
    ],
    ids=["other bytes", "somebody else", "a 404 of somebody", "busy", "elsewhere"],
)
def test_whatever_else_comes_is_left_to_the_long_way(answer: bytes) -> None:
    """Any other answer is dropped after one request."""
    with saying([answer]) as server:
        assert opened(server.endpoint).read(summed()) is None
    assert len(server.requests) == 1


def test_three_failures_in_a_row_are_the_last() -> None:
    """After some failures no more are tried, since each object would be read twice."""
    with saying([http(b"?"), http(b"?"), GOOD, http(b"?"), http(b"?"), http(b"?"), GOOD]) as server:
        direct = opened(server.endpoint)
        read = [direct.read(summed()) for _ in range(8)]
    assert [data is not None for data in read] == [False, False, True] + 5 * [False]
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "found",
    [
        *map(summed, ["a//b", "/a", "a/", "./a", "a/../b", "a b", "a+b", "a%41", "ü", "a\x01"]),
        summed(e_tag=f"{MD5}-2"),
        summed(e_tag="opaque"),
    ],
    ids=repr,
)
def test_what_it_may_not_read_right_is_not_asked_for(found: ObjectMeta) -> None:
    """Unusual keys, and e_tags that are no MD5, are not tried."""
    with saying([GOOD]) as server:
        assert opened(server.endpoint).read(found) is None
    assert server.requests == []


def test_it_keeps_to_the_addresses_it_knows() -> None:
    """FIPS, accelerated and dual-stack endpoints are left to botocore."""
    credentials = boto3.Session("key", "secret").get_credentials
    plain = spec(region="eu-central-1")
    known, other = "https://s3.eu-central-1.amazonaws.com", "https://s3-accelerate.amazonaws.com"
    assert DirectReads.open(plain, credentials, known)
    assert not DirectReads.open(plain, credentials, other)
    assert not DirectReads.open(plain, lambda: None, known)
    assert not DirectReads.open(spec(verify_e_tags=False), credentials, known)


def test_the_environment_sends_it_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's variables do not send requests, and credentials with them, to another server."""
    with saying([GOOD]) as server, saying([GOOD]) as other:
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
            monkeypatch.setenv(name, other.endpoint)
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("AWS_REQUEST_PAYER", "true")
        assert opened(server.endpoint).read(summed()) == BYTES
    assert other.requests == []
    (request,) = server.requests
    assert b"authorization: aws4-hmac-sha256" in request.lower()
    assert b"x-amz-request-payer" not in request.lower()


def test_a_session_token_that_is_no_header_does_not_end_the_thread() -> None:
    """Nothing is sent then; botocore meets the same token, and names it."""
    credentials = boto3.Session("key", "secret", "to\nken").get_credentials
    with saying([GOOD]) as server:
        direct = DirectReads.open(spec(endpoint_url=server.endpoint), credentials, server.endpoint)
        assert direct is not None
        assert direct.read(summed()) is None


def test_a_server_behind_a_proxy_is_left_to_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore knows the rules of proxies; one that excludes the server does not matter."""
    credentials = boto3.Session("key", "secret").get_credentials
    plain = spec(region="eu-central-1")
    known = "https://s3.eu-central-1.amazonaws.com"
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    assert not DirectReads.open(plain, credentials, known)
    monkeypatch.setenv("no_proxy", ".amazonaws.com")
    assert DirectReads.open(plain, credentials, known)


def test_seaweedfs_takes_the_signature(weed_bucket: Bucket) -> None:
    """A server that checks signatures answers, whatever plain characters the key has."""
    for key in ("a=b/c.d_e-f", "plain"):
        weed_bucket.put(key, BYTES)
    session = boto3.Session()
    given = S3ParquetSpec(**weed_bucket.spec)
    direct = DirectReads.open(given, session.get_credentials, weed_bucket.proxy.endpoint)
    assert direct is not None
    assert direct.read(summed("a=b/c.d_e-f")) == BYTES
    assert direct.read(summed("plain")) == BYTES
    direct.close()


def test_larger_objects_go_the_long_way() -> None:
    """Large objects are left to botocore: they may take longer than the time limit."""
    large = ObjectMeta("a", 2 * 1024 * 1024, MD5, datetime(2024, 1, 1, tzinfo=UTC))
    with saying([GOOD]) as server:
        assert opened(server.endpoint).read(large) is None
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http(b"", status="412 Precondition Failed"), ObjectChangedError),
        (
            http(b"<Error><Code>NoSuchKey</Code></Error>", status="404 Not Found"),
            ObjectNotFoundError,
        ),
    ],
    ids=["overwritten", "deleted"],
)
def test_what_s3_says_of_an_object_is_not_asked_twice(
    answer: bytes, error: type[Exception]
) -> None:
    """Such an answer is final, since botocore would get the same."""
    with saying([answer]) as server:
        direct = opened(server.endpoint)
        for _ in range(5):
            with pytest.raises(error):
                direct.read(summed())
    assert len(server.requests) == 5
