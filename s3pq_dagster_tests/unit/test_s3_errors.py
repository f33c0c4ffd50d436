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
    StoreRefusedError,
)
from s3pq_dagster.s3_errors import ErrorAnswer, Meaning, of_answer
from s3pq_dagster_tests.unit.broken import http, saying
from s3pq_dagster_tests.unit.made import meta, opened_at

CREDENTIALS, DENIED, NO_BUCKET, REGION = "credentials", "denied", "no bucket", "region"
ARCHIVED, GONE, BUSY, REFUSED = "archived", "gone", "busy", "refused"
ANSWERS = {
    "ExpiredToken": (400, CREDENTIALS),
    "ExpiredTokenException": (400, CREDENTIALS),
    "InvalidAccessKeyId": (403, CREDENTIALS),
    "InvalidToken": (400, CREDENTIALS),
    "RequestTimeTooSkewed": (403, BUSY),
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
    "KMS.DisabledException": (400, REFUSED),
    "InvalidRequest": (400, REFUSED),
    "MethodNotAllowed": (405, REFUSED),
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
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


def of_source(endpoint: str) -> str | None:
    """Read an object of the source bucket, and say what the answer was taken for."""
    kinds: dict[type, str] = {
        StoreRefusedError: REFUSED,
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
        "KMS key|documentation of this S3": REFUSED,
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


@pytest.mark.first_case
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


def test_a_redirect_of_the_bucket_itself_is_followed_once_at_most() -> None:
    """A proxy that redirects everything would be asked until Python's stack is full."""
    with saying([answer("PermanentRedirect")]) as server:
        of_source(server.endpoint)
        asked = len(server.requests)
        of_storage(server.endpoint)
    assert (asked, len(server.requests)) == (1, 3)


@pytest.mark.first_case
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NO_PROXY": "a.example"},
        {"HTTPS_PROXY": "http://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"},
    ],
    ids=str,
)
def test_delta_rs_takes_no_credentials_to_another_host(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """object_store follows redirects; a request to another host than the endpoint goes nowhere."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with saying([http(b"[]")]) as other:
        location = f"http://localhost:{other.endpoint.rpartition(':')[2]}/lake/a"
        with saying([http(b"", status="307 Elsewhere", Location=location)]) as server:
            assert of_delta(server.endpoint) == BUSY
    assert other.requests == []
    assert server.requests != []


DOCUMENTED: dict[int, tuple[str, ...]] = {
    301: ("PermanentRedirect", "PermanentRedirectControlError"),
    307: ("Redirect", "TemporaryRedirect"),
    400: (
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "DeviceNotActiveError",
        "EndpointNotFound",
        "EntityTooLarge",
        "EntityTooSmall",
        "ExpiredToken",
        "IllegalLocationConstraintException",
        "IllegalVersioningConfigurationException",
        "IncorrectEndpoint",
        "IncorrectNumberOfFilesInPostRequest",
        "InlineDataTooLarge",
        "InvalidAccessPoint",
        "InvalidAccessPointAliasError",
        "InvalidArgument",
        "InvalidBucketAclWithObjectOwnership",
        "InvalidBucketName",
        "InvalidBucketOwnerAWSAccountID",
        "InvalidDigest",
        "InvalidEncryptionAlgorithmError",
        "InvalidHostHeader",
        "InvalidHttpMethod",
        "InvalidLocationConstraint",
        "InvalidPart",
        "InvalidPartOrder",
        "InvalidPolicyDocument",
        "InvalidRegion",
        "InvalidRequest",
        "InvalidSOAPRequest",
        "InvalidStorageClass",
        "InvalidTargetBucketForLogging",
        "InvalidTag",
        "InvalidToken",
        "InvalidURI",
        "KMS.DisabledException",
        "KMS.InvalidKeyUsageException",
        "KMS.KMSInvalidStateException",
        "KMS.NotFoundException",
        "KeyTooLongError",
        "MalformedACLError",
        "MalformedPOSTRequest",
        "MalformedPolicy",
        "MalformedXML",
        "MaxMessageLengthExceeded",
        "MaxPostPreDataLengthExceededError",
        "MetadataTooLarge",
        "MissingAttachment",
        "MissingRequestBodyError",
        "MissingSecurityElement",
        "MissingSecurityHeader",
        "NoLoggingStatusForKey",
        "RequestIsNotMultiPartContent",
        "RequestTorrentOfBucketError",
        "ServerSideEncryptionConfigurationNotFoundError",
        "TokenCodeInvalidError",
        "TokenRefreshRequired",
        "TooManyAccessPoints",
        "TooManyBuckets",
        "TooManyMultiRegionAccessPointregionsError",
        "TooManyMultiRegionAccessPoints",
        "UnauthorizedAccessError",
        "UnexpectedContent",
        "UnresolvableGrantByEmailAddress",
        "UserKeyMustBeSpecified",
        "UnsupportedArgument",
        "UnsupportedSignature",
        "XAmzContentSHA256Mismatch",
    ),
    403: (
        "AccessDenied",
        "AccessPointNotOwnedError",
        "AccountProblem",
        "AllAccessDisabled",
        "CrossLocationLoggingProhibited",
        "InvalidAccessKeyId",
        "InvalidObjectState",
        "InvalidPayer",
        "InvalidSecurity",
        "NotDeviceOwnerError",
        "NotSignedUp",
        "SignatureDoesNotMatch",
    ),
    404: (
        "NoSuchAccessPoint",
        "NoSuchAsyncRequest",
        "NoSuchBucket",
        "NoSuchBucketPolicy",
        "NoSuchCORSConfiguration",
        "NoSuchKey",
        "NoSuchLifecycleConfiguration",
        "NoSuchMultiRegionAccessPoint",
        "NoSuchObjectLockConfiguration",
        "NoSuchResource",
        "NoSuchTagSet",
        "NoSuchUpload",
        "NoSuchVersion",
        "NoSuchWebsiteConfiguration",
        "ObjectLockConfigurationNotFoundError",
        "OwnershipControlsNotFoundError",
        "ReplicationConfigurationNotFoundError",
    ),
    405: ("MethodNotAllowed",),
    409: (
        "BucketAlreadyExists",
        "BucketAlreadyOwnedByYou",
        "BucketNotEmpty",
        "ClientTokenConflict",
        "InvalidBucketState",
        "RestoreAlreadyInProgress",
    ),
    411: ("MissingContentLength",),
    416: ("InvalidRange",),
    501: ("NotImplemented",),
}
"""S3's error codes that another attempt does not mend, by their status."""
PASSING = {
    "BadDigest": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "KMS.ThrottlingException": 400,
    "OperationAborted": 409,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "ThrottlingException": 400,
    "TooManyRequests": 429,
}
"""S3's error codes that another attempt may mend, and their statuses."""
LASTING = [(status, code) for status, codes in DOCUMENTED.items() for code in codes]
CONDITIONS = {"ConditionalRequestConflict": 409, "PreconditionFailed": 412}


@pytest.mark.first_case
@pytest.mark.parametrize(("status", "code"), LASTING, ids=str)
def test_a_documented_code_that_stays_is_asked_once_and_named(status: int, code: str) -> None:
    """The error is no bare one, says what to do, and neither store nor step asks again."""
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    with (
        saying([http(body, status=f"{status} No", Content_Type="text/xml")]) as server,
        opened_at(server.endpoint) as store,
    ):
        error = caught(lambda: store.read(meta("a")))
    assert error is not None
    assert not error.retryable
    is_named = type(error) not in {StoreError, StoreRefusedError}
    assert is_named or (code in str(error) and "Trying again does not help" in str(error))
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", PASSING)
def test_a_documented_code_that_passes_may_be_asked_again(code: str) -> None:
    """Throttling, time-outs, clocks and S3's own failures are no refusals."""
    assert of_answer(code, PASSING[code]) in {Meaning.OTHER, Meaning.CLOCK}


@pytest.mark.parametrize("code", CONDITIONS)
def test_a_condition_that_does_not_hold_is_a_change(code: str) -> None:
    """Another version is there than the one that was asked for."""
    assert of_answer(code, CONDITIONS[code]) is Meaning.CONDITION_FAILED


def test_an_error_that_passes_says_that_trying_again_may_help() -> None:
    """The error quotes the code, and the step is tried again."""
    body = b"<Error><Code>KMS.KMSInternalException</Code><Message>try later</Message></Error>"
    with (
        saying([http(body, status="400 Bad Request")]) as server,
        opened_at(server.endpoint) as store,
    ):
        error = caught(lambda: store.read(meta("a")))
    assert error is not None
    assert error.retryable
    assert "KMS.KMSInternalException: try later" in str(error)
    assert "Trying again may help" in str(error)


MESSAGES = {
    "SSE-C": (
        400,
        "InvalidRequest",
        (
            "The object was stored using a form of Server Side Encryption. The correct parameters "
            "must be provided to retrieve the object."
        ),
        MalformedObjectError,
        "customer's key",
    ),
    "a disabled key": (
        400,
        "KMS.DisabledException",
        "arn:aws:kms:eu-west-1:1:key/k is disabled.",
        StoreRefusedError,
        "k is disabled.*Enable the KMS key",
    ),
    "a denied key": (
        403,
        "AccessDenied",
        ("User: u is not authorized to perform: kms:Decrypt on the resource with this ciphertext"),
        AccessDeniedError,
        "lack kms:Decrypt.*key policy",
    ),
    "requester pays": (
        403,
        "AccessDenied",
        "This is a Requester Pays bucket",
        StoreRefusedError,
        "requesters pay.*bucket of your own",
    ),
    "a clock": (403, "RequestTimeTooSkewed", "The difference is too large", StoreError, "NTP"),
}


@pytest.mark.parametrize("which", MESSAGES)
def test_codes_of_several_meanings_are_mapped_by_their_message(which: str) -> None:
    """One code stands for several things; each has its own error that says what to do."""
    status, code, message, kind, pattern = MESSAGES[which]
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    with (
        saying([http(body, status=f"{status} No")]) as server,
        opened_at(server.endpoint) as store,
    ):
        error = caught(lambda: store.read(meta("a")))
    assert error is not None
    assert type(error) is kind
    assert re.search(pattern, str(error)), error
    assert error.retryable is (kind is StoreError)


@pytest.mark.parametrize(
    ("said", "host"),
    [
        ("https://u:p@other.example:8443/b?X-Amz-Security-Token=t", "other.example:8443"),
        ("//other.example/b", "other.example"),
        ("lake.s3.eu-west-1.amazonaws.com", "lake.s3.eu-west-1.amazonaws.com"),
        ("/elsewhere", None),
        ("https://[::1", None),
        ("", None),
    ],
)
def test_of_where_a_redirect_points_only_the_host_is_kept(said: str, host: str | None) -> None:
    """User, path and query may hold secrets, and a relative address has no host."""
    about = {"HTTPStatusCode": 307, "HTTPHeaders": {"location": said}}
    assert ErrorAnswer.of({"ResponseMetadata": about}).points_to == host
