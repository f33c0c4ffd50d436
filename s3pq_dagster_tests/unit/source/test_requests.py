"""Requests to the bucket, and the errors for what goes wrong with them, over HTTP."""

import gc
import socketserver
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
    BucketNotFoundError,
    CredentialsError,
    MalformedObjectError,
    S3ParquetError,
    StoreError,
    StoreUnreachableError,
)
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.s3_errors import SENT_AS_200, ErrorAnswer
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.listing_page import take_objects
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

LISTER = Identity("lister", "lister-secret", ("List",))


READER = Identity("reader", "reader-secret", ("Read",))


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
}


@pytest.mark.first_case
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_whatever_the_server_answers_ends_as_an_error_of_the_store(said: bytes) -> None:
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
    # botocore does not close an answer whose headers it cannot parse, and the errors hold it: it
    # goes here, not during some later test.
    del found
    gc.collect()


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


@pytest.mark.parametrize("status", [403, 400])
def test_the_error_of_a_refused_key_of_many_lines_is_one_line(bucket: Bucket, status: int) -> None:
    """Control characters of a key are escaped in messages."""
    bucket.put("a\tb\x1b[2J\u202e.parquet", b"1")
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
        bucket.proxy.before = lambda _: Answer(status)
        with pytest.raises(StoreError) as caught:
            store.read(found)
    assert str(caught.value).isprintable()
    assert r"a\tb\x1b[2J\u202e.parquet" in str(caught.value)


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


@pytest.mark.parametrize("status", [301, 400])
def test_a_region_that_only_a_header_names_is_named(bucket: Bucket, status: int) -> None:
    """AWS names the region in a header, whatever the body says, and the error quotes it."""
    code = "PermanentRedirect" if status == 301 else "AuthorizationHeaderMalformed"
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    bucket.proxy.before = lambda _: Answer(status, body, {"x-amz-bucket-region": "eu-west-1"})
    with opened(bucket) as store:
        for ask in (lambda: list(list_prefix(store, "")), lambda: store.read(META)):
            with pytest.raises(BucketNotFoundError, match=r"'eu-west-1'.*`region`"):
                ask()
    assert len(bucket.proxy.requests) == 2


def test_the_error_says_that_broken_xml_came_with_200() -> None:
    """Botocore counts it as a 500, which nobody sent."""
    answer = {"Error": {"Code": "500"}, "ResponseMetadata": {"HTTPStatusCode": 500}}
    told = ErrorAnswer.of({**answer, SENT_AS_200: True})
    assert (told.status, told.code) == (200, "")
    customized: dict[str, object] = {}
    take_objects({"status_code": 200, "body": b"<ListBucketResult><Na"}, customized)
    assert customized == {SENT_AS_200: True}


@pytest.mark.thorough
def test_a_listing_of_broken_xml_says_so() -> None:
    """The error says 200 and XML; it is worth another try."""
    with saying([http(b"<ListBucketResult><Na", Content_Type="application/xml")]) as server:
        store = Store.open(spec(endpoint_url=server.endpoint))
        with pytest.raises(StoreError, match="200 with broken XML") as caught:
            list(list_prefix(store, ""))
        store.close()
    assert "500" not in str(caught.value)
    assert caught.value.retryable


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
