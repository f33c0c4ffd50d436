"""What S3's errors mean: the same to the source and to each destination in S3."""

import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from s3pq_dagster.destinations.delta.log import Log
from s3pq_dagster.destinations.storage.requests import Requests
from s3pq_dagster.destinations.storage.s3 import S3Storage
from s3pq_dagster.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsError,
    DestinationDeniedError,
    DestinationError,
    MalformedObjectError,
    ObjectNotFoundError,
    S3ParquetError,
    StoreError,
)
from s3pq_dagster_tests.unit.broken import http, saying
from s3pq_dagster_tests.unit.made import meta, opened_at

CREDENTIALS, DENIED, NO_BUCKET, REGION = "credentials", "denied", "no bucket", "region"
ARCHIVED, GONE, BUSY = "archived", "gone", "busy"
ANSWERS = {
    "ExpiredToken": (400, CREDENTIALS),
    "ExpiredTokenException": (400, CREDENTIALS),
    "InvalidAccessKeyId": (403, CREDENTIALS),
    "InvalidToken": (400, CREDENTIALS),
    "RequestTimeTooSkewed": (403, CREDENTIALS),
    "SignatureDoesNotMatch": (403, CREDENTIALS),
    "TokenRefreshRequired": (400, CREDENTIALS),
    "UnrecognizedClientException": (400, CREDENTIALS),
    "Unauthorized": (401, CREDENTIALS),
    "AccessDenied": (403, DENIED),
    "AllAccessDisabled": (403, DENIED),
    "NoSuchBucket": (404, NO_BUCKET),
    "PermanentRedirect": (301, REGION),
    "TemporaryRedirect": (307, REGION),
    "AuthorizationHeaderMalformed": (400, REGION),
    "InvalidObjectState": (403, ARCHIVED),
    "NoSuchKey": (404, GONE),
    "NoSuchVersion": (404, GONE),
    "SlowDown": (503, BUSY),
}


def answer(code: str) -> bytes:
    """Write S3's answer with a code."""
    status, _ = ANSWERS[code]
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>"
    return http(body.encode(), status=f"{status} {_PHRASES[status]}", Content_Type="text/xml")


_PHRASES = {
    301: "Moved Permanently",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    503: "Service Unavailable",
}


def of_source(endpoint: str) -> str | None:
    """Read an object of the source bucket, and say what the answer was taken for."""
    kinds = {
        CredentialsError: CREDENTIALS,
        AccessDeniedError: DENIED,
        MalformedObjectError: ARCHIVED,
        ObjectNotFoundError: GONE,
    }
    with opened_at(endpoint) as store:
        error = caught(lambda: store.read(meta("a")))
    if isinstance(error, BucketNotFoundError):
        return of_bucket(str(error))
    if type(error) is StoreError:
        assert error.retryable
        return BUSY
    return kinds.get(type(error), repr(error))


def of_delta(endpoint: str) -> str | None:
    """Open a Delta table with delta-rs, and say what the answer was taken for."""
    return of_destination(lambda: Log(storage_at(endpoint), "a").open())


def of_storage(endpoint: str) -> str | None:
    """Read a file of a destination, and say what the answer was taken for."""
    return of_destination(lambda: storage_at(endpoint).get("a"))


def storage_at(endpoint: str) -> S3Storage:
    """Open a bucket as the destinations do that keep files in S3."""
    requests = Requests.open("lake", endpoint_url=endpoint, region="us-east-1", profile=None)
    return S3Storage(
        requests, "", lock_timeout_seconds=1, lease_seconds=1, log=logging.getLogger(__name__)
    )


def of_destination(ask: Callable[[], object]) -> str | None:
    """Tell from a destination's error what an answer was taken for; ``None`` stands for gone."""
    error = caught(ask)
    if error is None:
        return GONE
    text = str(error)
    if type(error) is DestinationError:
        return BUSY
    assert type(error) is DestinationDeniedError, repr(error)
    for pattern, meaning in {
        "credentials.*if they are temporary, renew them": CREDENTIALS,
        "access (is )?denied.*[Aa]llow ": DENIED,
        "archived.*Restore it": ARCHIVED,
    }.items():
        if re.search(pattern, text):
            return meaning
    return of_bucket(text)


def of_bucket(text: str) -> str:
    """Tell a bucket that is not there from one of another region."""
    assert re.search("Check .*`region`.*`endpoint_url`", text), text
    return REGION if re.search("redirect|another region", text) else NO_BUCKET


def caught(ask: Callable[[], object]) -> S3ParquetError | None:
    """Give the error a request ends in, if it is one of ours."""
    try:
        ask()
    except S3ParquetError as error:
        return error
    return None


@pytest.mark.parametrize("code", ANSWERS)
def test_a_code_means_the_same_to_source_and_destinations(code: str) -> None:
    """Whoever asks gets the same meaning of the same answer."""
    _, meaning = ANSWERS[code]
    asking = [of_source, of_storage]
    if meaning != GONE:  # delta-rs lists first, and S3 does not answer that to a listing
        asking.append(of_delta)
    with saying([answer(code)]) as server, ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda ask: ask(server.endpoint), asking))
    assert found == [meaning] * len(asking)


def test_a_redirect_of_the_bucket_itself_is_followed_once() -> None:
    """A proxy that redirects everything would be asked until Python's stack is full."""
    with saying([answer("PermanentRedirect")]) as server:
        of_source(server.endpoint)
        asked = len(server.requests)
        of_storage(server.endpoint)
    assert (asked, len(server.requests)) == (2, 4)
