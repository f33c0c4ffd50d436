"""What the codes, statuses and exceptions of S3 mean, for the source and for destinations in S3.

A new code gets its line in this module and nowhere else. Only names are compared, so that this
module imports no S3 library.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self
from urllib.parse import urlsplit


class Meaning(Enum):
    """What went wrong, as far as S3's answer or the lack of one tells."""

    MISSING_CREDENTIALS = auto()
    """No usable credentials were found; nothing was sent."""
    REFUSED_CREDENTIALS = auto()
    """S3 does not accept the credentials: unknown, wrong, or expired."""
    DENIED = auto()
    """The credentials are accepted but lack a permission."""
    NO_BUCKET = auto()
    OTHER_REGION = auto()
    """S3 redirects, or wants a signature for another region."""
    NO_OBJECT = auto()
    """S3 itself says that the object is not there."""
    NOT_FOUND = auto()
    """A 404 without S3's code: the answer to HEAD, or that of something that is not S3."""
    ARCHIVED = auto()
    """The object is in a storage class that cannot be read at once."""
    CUSTOMER_KEY = auto()
    """The object is encrypted with a key that only its writer has (SSE-C)."""
    KMS_KEY = auto()
    """The object's KMS key is disabled, gone, or may not be used."""
    REQUESTER_PAYS = auto()
    """The bucket is read only by those who say that they pay."""
    CLOCK = auto()
    """This machine's clock and S3's are too far apart."""
    CONDITION_FAILED = auto()
    """The condition of a request (``If-Match``, ``If-None-Match``) does not hold."""
    UNREACHABLE = auto()
    """Nothing answers at the endpoint."""
    REFUSED = auto()
    """S3 refuses the request for another reason, and would refuse the same one again."""
    OTHER = auto()
    """Anything else; trying again may help."""


_BY_CODE = {
    "AccessDenied": Meaning.DENIED,
    "AuthorizationHeaderMalformed": Meaning.OTHER_REGION,
    "BadDigest": Meaning.OTHER,  # bytes were changed on their way to S3
    "BandwidthLimitExceeded": Meaning.OTHER,
    "ConditionalRequestConflict": Meaning.CONDITION_FAILED,
    "ExpiredToken": Meaning.REFUSED_CREDENTIALS,
    "ExpiredTokenException": Meaning.REFUSED_CREDENTIALS,
    "IllegalLocationConstraintException": Meaning.OTHER_REGION,
    "IncompleteBody": Meaning.OTHER,
    "IncorrectEndpoint": Meaning.OTHER_REGION,
    "InvalidAccessKeyId": Meaning.REFUSED_CREDENTIALS,
    "InvalidClientTokenId": Meaning.REFUSED_CREDENTIALS,
    "InvalidObjectState": Meaning.ARCHIVED,
    "InvalidSecurity": Meaning.REFUSED_CREDENTIALS,
    "InvalidToken": Meaning.REFUSED_CREDENTIALS,
    "KMS.DependencyTimeoutException": Meaning.OTHER,
    "KMS.KMSInternalException": Meaning.OTHER,
    "KMS.KeyUnavailableException": Meaning.OTHER,
    "KMS.ThrottlingException": Meaning.OTHER,
    "NoSuchAccessPoint": Meaning.NO_BUCKET,
    "NoSuchBucket": Meaning.NO_BUCKET,
    "NoSuchKey": Meaning.NO_OBJECT,
    "NoSuchVersion": Meaning.NO_OBJECT,
    "NotImplemented": Meaning.REFUSED,
    "NotSignedUp": Meaning.REFUSED_CREDENTIALS,
    "OperationAborted": Meaning.OTHER,
    "PermanentRedirect": Meaning.OTHER_REGION,
    "PreconditionFailed": Meaning.CONDITION_FAILED,
    "ProvisionedThroughputExceededException": Meaning.OTHER,
    "Redirect": Meaning.OTHER_REGION,
    "RequestExpired": Meaning.CLOCK,
    "RequestLimitExceeded": Meaning.OTHER,
    "RequestThrottled": Meaning.OTHER,
    "RequestTimeTooSkewed": Meaning.CLOCK,
    "RequestTimeout": Meaning.OTHER,
    "RequestTimeoutException": Meaning.OTHER,
    "SignatureDoesNotMatch": Meaning.REFUSED_CREDENTIALS,
    "SlowDown": Meaning.OTHER,
    "TemporaryRedirect": Meaning.OTHER_REGION,
    "Throttling": Meaning.OTHER,
    "ThrottlingException": Meaning.OTHER,
    "TokenRefreshRequired": Meaning.REFUSED_CREDENTIALS,
    "TooManyRequestsException": Meaning.OTHER,
    "UnrecognizedClientException": Meaning.REFUSED_CREDENTIALS,
}
"""S3's error codes (Amazon S3 API reference, "Error responses"), and those of its gateways.

A code that is not here means what its status says: see :func:`of_answer`.
"""
_BY_MESSAGE = [
    ({"InvalidRequest", "InvalidArgument"}, "form of Server Side Encryption", Meaning.CUSTOMER_KEY),
    ({"AccessDenied"}, "kms:", Meaning.KMS_KEY),
    ({"AccessDenied"}, "requester pays", Meaning.REQUESTER_PAYS),
]
"""Codes that stand for several things, and what in S3's message, in any case, tells which."""
_KMS = "KMS."
"""S3 puts this before the codes of the key management service that it passes on."""
_BY_STATUS = {
    301: Meaning.OTHER_REGION,
    302: Meaning.OTHER_REGION,
    303: Meaning.OTHER_REGION,
    307: Meaning.OTHER_REGION,
    308: Meaning.OTHER_REGION,
    401: Meaning.REFUSED_CREDENTIALS,
    403: Meaning.DENIED,
    404: Meaning.NOT_FOUND,
    409: Meaning.CONDITION_FAILED,
    412: Meaning.CONDITION_FAILED,
}
"""HTTP statuses, where the code says nothing: an answer to HEAD has no body and so no code."""
_BY_EXCEPTION = {
    "ConfigParseError": Meaning.MISSING_CREDENTIALS,
    "CredentialRetrievalError": Meaning.MISSING_CREDENTIALS,
    "NoCredentialsError": Meaning.MISSING_CREDENTIALS,
    "PartialCredentialsError": Meaning.MISSING_CREDENTIALS,
    "ProfileNotFound": Meaning.MISSING_CREDENTIALS,
    "SSOError": Meaning.MISSING_CREDENTIALS,
    "TokenRetrievalError": Meaning.MISSING_CREDENTIALS,
    "ConnectTimeoutError": Meaning.UNREACHABLE,
    "EndpointConnectionError": Meaning.UNREACHABLE,
    "ProxyConnectionError": Meaning.UNREACHABLE,
    "ReadTimeoutError": Meaning.UNREACHABLE,
    "SSLError": Meaning.UNREACHABLE,
}
"""Classes of botocore, by name."""
_WITH_CODE_OF_ITS_OWN = {404, 409}
"""Statuses that mean what :data:`_BY_STATUS` says only where no code says something else."""
_BUSY = {408, 425, 429}
"""Statuses of 4xx that ask for another attempt: time-out, too early, too many requests."""
_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_MOST_QUOTED = 300
SENT_AS_200 = "SentAs200"
"""Key of a response whose answer came with 200, and which botocore counts as a 500."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """S3's error answer, as botocore parsed it; as text it is what a message quotes of it."""

    status: int
    code: str
    """S3's code; empty where the answer has none, such as one to HEAD."""
    message: str
    region: str | None
    """Region that S3 says the bucket is in."""
    points_to: str | None
    """Host that a redirect names, without user, path and query."""

    @classmethod
    def of(cls, response: Mapping[str, Any]) -> Self:
        """Take the facts out of the response of botocore's ``ClientError``."""
        said = response.get("Error", {})
        about = response.get("ResponseMetadata", {})
        counted = int(about.get("HTTPStatusCode", 0))
        status = 200 if response.get(SENT_AS_200) else counted
        headers = about.get("HTTPHeaders", {})
        code = str(said.get("Code", ""))
        return cls(
            status=status,
            code="" if code == str(counted) else code,  # botocore's, where there is none
            message=str(said.get("Message", "")).strip(),
            region=headers.get("x-amz-bucket-region") or said.get("Region"),
            points_to=_host(str(headers.get("location") or said.get("Endpoint") or "")),
        )

    @property
    def meaning(self) -> Meaning:
        """What the answer says."""
        return of_answer(self.code, self.status, self.message)

    def __str__(self) -> str:
        text = f"{self.status} {self.code or 'without a code'}"
        quoted = " ".join(self.message.split())[:_MOST_QUOTED].rstrip(". ")
        return f"{text}: {quoted}" if self.code and quoted else text


def _host(address: str) -> str | None:
    """Return host and port of a URL, or of an address without a scheme."""
    if not address or (address.startswith("/") and not address.startswith("//")):
        return None
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return None
    return f"{parts.hostname}{port}" if parts.hostname else None


def of_answer(code: str, status: int, message: str = "") -> Meaning:
    """Classify an error answer.

    Args:
        code: Content of ``Code`` in its body; empty where it has none.
        status: Its HTTP status.
        message: Content of ``Message``.

    Returns:
        What code and message say, or else the status. A 4xx with a code that is not known is
        refused for good; without one it may come from something that is not S3.
    """
    said = message.casefold()
    for codes, part, meaning in _BY_MESSAGE:
        if code in codes and part.casefold() in said:
            return meaning
    if (known := _BY_CODE.get(code)) is not None:
        return known
    if code.startswith(_KMS):
        return Meaning.KMS_KEY
    if status in _BY_STATUS and not (code and status in _WITH_CODE_OF_ITS_OWN):
        return _BY_STATUS[status]
    is_refused = code and 400 <= status < 500 and status not in _BUSY  # noqa: PLR2004 - HTTP
    return Meaning.REFUSED if is_refused else Meaning.OTHER


def of_exception(error: BaseException) -> Meaning:
    """Classify an exception of botocore that is no answer, by the names of its classes."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((_BY_EXCEPTION[name] for name in names if name in _BY_EXCEPTION), Meaning.OTHER)


def code_in(text: str) -> str:
    """Find the code in a text that quotes S3's error document; empty where it has none."""
    found = _CODE.search(text)
    return found[1] if found else ""


def follow_no_redirect(context: dict[str, Any], **_event: Any) -> None:
    """Keep botocore from asking another region's endpoint; a handler of its events."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def follow_one_redirect(model: Any, context: dict[str, Any], **_event: Any) -> None:
    """Keep botocore from following redirects without end; a handler of its events.

    botocore answers a redirect with HEAD on the bucket, to learn the region. Where that is
    redirected too and names no region, as by a proxy, it repeats HEAD until Python's stack is full.
    """
    if model.name == "HeadBucket":
        context.setdefault("s3_redirect", {})["redirected"] = True
