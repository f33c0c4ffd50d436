"""Errors of delta-rs and of the object_store library, as errors of the destination."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from deltalake.exceptions import DeltaError

from s3pq_dagster.errors import (
    DestinationConflictError,
    DestinationDeniedError,
    DestinationError,
)
from s3pq_dagster.s3_errors import Meaning, code_in, of_answer

_TERMINAL = re.compile(r"\x1b\[[0-9;]*m")
_BACKTRACE = re.compile(r"\s+0: <unknown>.*", re.DOTALL)
_XML_ONLY = re.compile(r"<(?!Code>|/Code>)[^>]*>(?:[^<]*</[^>]*>)?")
_TOOK = re.compile(r" in [\d.]+(?:ns|µs|ms|s)(?= - )")
"""How long a request took, which object_store says too: one cause is to be told in one way."""
_LONGEST = 400
_AGAIN = "Run again once the cause is gone: what is committed is not read again."
_CAUSES = {
    Meaning.NO_BUCKET: (
        "the bucket does not exist at this endpoint. Check its name, `region` and `endpoint_url`"
    ),
    Meaning.OTHER_REGION: (
        "S3 answers as for a bucket of another region. Check its name, `region` and `endpoint_url`"
    ),
    Meaning.REFUSED_CREDENTIALS: (
        "the credentials are not accepted. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
        "or `profile`; if they are temporary, renew them"
    ),
    Meaning.DENIED: (
        "access is denied. Allow s3:ListBucket on the bucket and s3:GetObject, s3:PutObject "
        "and s3:DeleteObject below the prefix, or check which credentials and `profile` are "
        "in use"
    ),
    Meaning.ARCHIVED: (
        "a file is in an archived storage class. Restore it, and keep the tables out of such "
        "classes"
    ),
    Meaning.KMS_KEY: (
        "the KMS key that encrypts a file is disabled, gone or not to be used. Enable it and allow "
        "its use"
    ),
    Meaning.CUSTOMER_KEY: (
        "a file is encrypted with a customer's key (SSE-C). Keep such files out of the tables"
    ),
    Meaning.REQUESTER_PAYS: (
        "the bucket's requesters pay. Have that turned off, or use another bucket"
    ),
    Meaning.REFUSED: (
        "S3 refuses the request. Look the code up in the documentation of this S3, and change what "
        "it names"
    ),
}
_STATUS = re.compile(r"\b(4\d\d) [A-Z][a-z]+")
"""How object_store quotes a status; those of 5xx mean nothing but another attempt."""
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_PHRASES = {
    "privileges": Meaning.DENIED,
    "redirect without LOCATION": Meaning.OTHER_REGION,
}
"""What object_store says in words of its own instead of quoting the answer."""
_UNREACHABLE = re.compile(
    r"\(Connect\)|error sending request|operation timed out|dns error", re.IGNORECASE
)


def failed(shown: str, error: BaseException) -> DestinationError:
    """Return the destination's error for one of delta-rs, pyarrow or the file system.

    Args:
        shown: The root or the table's directory.
        error: The error. Neither its text nor the requests it quotes have credentials in them.
    """
    found = short(error)
    if (cause := _CAUSES.get(_meaning(str(error)))) is not None:
        return DestinationDeniedError(f"cannot use {shown}: {cause}. Found: {found}")
    if isinstance(error, PermissionError):
        msg = f"cannot use {shown}: {found}. Allow this user to read and write there."
        return DestinationDeniedError(msg)
    if is_unreachable(error):
        msg = (
            f"cannot reach {shown}: {found}. Check `endpoint_url`, `region` and the network. "
            f"{_AGAIN}"
        )
        return DestinationError(msg)
    return DestinationError(f"Delta Lake failed in {shown}: {found}. {_AGAIN}")


def _meaning(text: str) -> Meaning:
    status = _STATUS.search(text)
    message = _MESSAGE.search(text)
    found = of_answer(code_in(text), int(status[1]) if status else 0, message[1] if message else "")
    if found is not Meaning.OTHER:
        return found
    said = (meaning for phrase, meaning in _PHRASES.items() if phrase in text)
    return next(said, Meaning.OTHER)


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error says that no server answered."""
    return _UNREACHABLE.search(str(error)) is not None


def short(error: BaseException) -> str:
    """Return an error's message as one line, without colours, backtrace and times."""
    text = _BACKTRACE.sub("", _TERMINAL.sub("", str(error)))
    text = _TOOK.sub("", " ".join(_XML_ONLY.sub(" ", text).replace("↳", "").split()))
    return text[:_LONGEST].rstrip(". ")


@contextmanager
def translated(shown: str) -> Iterator[None]:
    """Raise errors of delta-rs, pyarrow and the file system as :class:`DestinationError`.

    Args:
        shown: The root or the table's directory.
    """
    try:
        yield
    except (DeltaError, pa.ArrowException, OSError) as error:
        raise failed(shown, error) from error


def written_meanwhile(table: str) -> DestinationConflictError:
    """Return the error for a table that another run wrote since this run read it."""
    return DestinationConflictError(
        f"another run wrote table {table!r} meanwhile, so that nothing of this checkpoint is "
        f"written. Run again: what the other run loaded will not be read."
    )
