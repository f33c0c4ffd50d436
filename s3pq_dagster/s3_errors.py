"""What the codes, statuses and exceptions of S3 mean, for the source and for destinations in S3.

A new code gets its line in this module and nowhere else. Only names are compared, so that this
module imports no S3 library.
"""

import re
from enum import Enum, auto
from typing import Any


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
    CONDITION_FAILED = auto()
    """The condition of a request (``If-Match``, ``If-None-Match``) does not hold."""
    UNREACHABLE = auto()
    """Nothing answers at the endpoint."""
    OTHER = auto()
    """Anything else; trying again may help."""


_BY_CODE = {
    "AccessDenied": Meaning.DENIED,
    "AuthorizationHeaderMalformed": Meaning.OTHER_REGION,
    "ConditionalRequestConflict": Meaning.CONDITION_FAILED,
    "ExpiredToken": Meaning.REFUSED_CREDENTIALS,
    "ExpiredTokenException": Meaning.REFUSED_CREDENTIALS,
    "InvalidAccessKeyId": Meaning.REFUSED_CREDENTIALS,
    "InvalidObjectState": Meaning.ARCHIVED,
    "InvalidToken": Meaning.REFUSED_CREDENTIALS,
    "NoSuchBucket": Meaning.NO_BUCKET,
    "NoSuchKey": Meaning.NO_OBJECT,
    "NoSuchVersion": Meaning.NO_OBJECT,
    "PermanentRedirect": Meaning.OTHER_REGION,
    "PreconditionFailed": Meaning.CONDITION_FAILED,
    "RequestTimeTooSkewed": Meaning.REFUSED_CREDENTIALS,
    "SignatureDoesNotMatch": Meaning.REFUSED_CREDENTIALS,
    "TemporaryRedirect": Meaning.OTHER_REGION,
    "TokenRefreshRequired": Meaning.REFUSED_CREDENTIALS,
    "UnrecognizedClientException": Meaning.REFUSED_CREDENTIALS,
}
"""S3's error codes (Amazon S3 API reference, "Error responses"), and those of its gateways."""
_BY_STATUS = {
    301: Meaning.OTHER_REGION,
    307: Meaning.OTHER_REGION,
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
_CODE = re.compile(r"<Code>(\w+)</Code>")


def of_answer(code: str, status: int) -> Meaning:
    """Classify an error answer.

    Args:
        code: Content of ``Code`` in its body; empty where it has none.
        status: Its HTTP status.
    """
    return _BY_CODE.get(code) or _BY_STATUS.get(status, Meaning.OTHER)


def of_exception(error: BaseException) -> Meaning:
    """Classify an exception of botocore that is no answer, by the names of its classes."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((_BY_EXCEPTION[name] for name in names if name in _BY_EXCEPTION), Meaning.OTHER)


def code_in(text: str) -> str:
    """Find the code in a text that quotes S3's error document; empty where it has none."""
    found = _CODE.search(text)
    return found[1] if found else ""


def follow_one_redirect(model: Any, context: dict[str, Any], **_event: Any) -> None:
    """Keep botocore from following redirects without end; a handler of its events.

    botocore answers a redirect with HEAD on the bucket, to learn the region. Where that is
    redirected too and names no region, as by a proxy, it repeats HEAD until Python's stack is full.
    """
    if model.name == "HeadBucket":
        context.setdefault("s3_redirect", {})["redirected"] = True
