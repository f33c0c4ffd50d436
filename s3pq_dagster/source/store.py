"""The source bucket: opened once, and read by objects or byte ranges."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import boto3
from botocore import exceptions as boto_errors
from urllib3.exceptions import HTTPError

from s3pq_dagster.errors import (
    BrokenAnswerError,
    CredentialsError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.s3_errors import Meaning, of_exception
from s3pq_dagster.source import e_tags
from s3pq_dagster.source.client import make_client
from s3pq_dagster.source.direct_reads import DirectReads
from s3pq_dagster.source.requests import Requests, retry_broken
from s3pq_dagster.spec import S3ParquetSpec


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of an object, or of a range of it."""

    data: bytes
    md5: str | None
    """Expected MD5 of the whole object; ``None`` where its e_tag is no MD5."""


class Store:
    """An open bucket.

    Requests are retried with backoff on throttling, 5xx and broken connections or bodies. Every
    answer's length, range and e_tag is checked against what was asked. Safe to use from many
    threads at a time.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        *,
        verify_e_tags: bool = True,
        open_direct: Callable[[], DirectReads | None] = lambda: None,
    ) -> None:
        self._open_direct = open_direct
        self._verify = verify_e_tags
        self.requests = Requests(client, bucket)
        self.bucket = bucket

    @classmethod
    def open(
        cls,
        spec: S3ParquetSpec,
        session: boto3.session.Session | None = None,
        *,
        signed: bool = True,
    ) -> Self:
        """Open a bucket without sending anything yet.

        Args:
            spec: Bucket, region, endpoint, profile and concurrency.
            session: Where credentials come from instead of ``local_profile`` and the usual chain.
            signed: Whether requests are signed, which a public bucket does not need.

        Raises:
            CredentialsError: ``local_profile`` names no profile, or AWS's configuration files
                cannot be read.
        """
        try:
            client, credentials = make_client(spec, session, signed=signed)
        except boto_errors.BotoCoreError as error:
            if of_exception(error) is not Meaning.MISSING_CREDENTIALS:
                raise
            raise CredentialsError(spec.bucket, str(error)) from error
        open_direct = partial(DirectReads.open, spec, credentials, client.meta.endpoint_url)
        return cls(client, spec.bucket, verify_e_tags=spec.verify_e_tags, open_direct=open_direct)

    @cached_property
    def _direct(self) -> DirectReads | None:
        """Fast reads of small objects, opened on first use since that looks for credentials."""
        return self._open_direct()

    @property
    def endpoint(self) -> str:
        """The URL requests go to."""
        return self.requests.endpoint

    def close(self) -> None:
        """Close the connections."""
        if (direct := self.__dict__.get("_direct")) is not None:  # not to open it now
            direct.close()
        self.requests.close()

    @retry_broken
    def stat(self, key: str) -> ObjectMeta:
        """Ask for an object's current size, e_tag and time.

        Raises:
            ObjectNotFoundError: It is gone, and S3 says so.
            StoreError: As :meth:`read`.
        """
        try:
            found = self.requests.send("head_object", "s3:GetObject", key=key)
        except ObjectNotFoundError:
            self._confirm_deletion(key)
            raise
        if "ContentLength" not in found or "LastModified" not in found:
            raise self.requests.broken(key, "no size or no time")
        return ObjectMeta(key, found["ContentLength"], _e_tag(found), found["LastModified"])

    def is_there(self, key: str) -> bool:
        """Return whether an object exists now, by asking for that very key.

        Raises:
            StoreError: As :meth:`read`.
        """
        try:
            self.stat(key)
        except ObjectNotFoundError:
            return False
        return True

    def read(self, found: ObjectMeta, start: int = 0, end: int | None = None) -> bytes:
        """Read an object, or a range of it, as :meth:`read_piece` does.

        Returns:
            Exactly ``end - start`` bytes.

        Raises:
            StoreError: As :meth:`read_piece`.
            MalformedObjectError: As :meth:`read_piece`.
        """
        return self.read_piece(found, start, end).data

    def read_piece(self, found: ObjectMeta, start: int = 0, end: int | None = None) -> Piece:
        """Read an object, or a range of it, in one request.

        The MD5 of a whole object is compared with its e_tag, where that is one. The MD5 of a range
        cannot be; whoever puts the ranges together compares it.

        Args:
            found: The object as listed; ``If-Match`` carries its e_tag.
            start: First byte.
            end: One past the last byte; ``None`` is the object's end.

        Returns:
            Exactly ``end - start`` bytes.

        Raises:
            ObjectNotFoundError: It was deleted since it was listed.
            ObjectChangedError: It was overwritten since it was listed.
            MalformedObjectError: It is in an archived storage class, or several reads gave the same
                bytes, which do not match its e_tag.
            AccessDeniedError: ``s3:GetObject`` is missing.
            CredentialsError: Credentials are missing, wrong or expired.
            StoreUnreachableError: Nothing answers.
            StoreError: Anything else, after retries.
        """
        seen: list[str] = []
        last = found.size if end is None else end
        if self._direct is not None and start == 0 and last == found.size:
            data = self._direct.read(found)
            if data is not None:
                return Piece(data, e_tags.expected_md5(found, {}, self.bucket))

        @retry_broken
        def read_once() -> Piece:
            piece = self._read(found, start, last)
            if piece.md5 is not None and start == 0 and last == found.size:
                e_tags.check(found, piece.md5, e_tags.md5_hex([piece.data]), seen)
            return piece

        return read_once()

    def _confirm_deletion(self, key: str) -> None:
        """Ask by GET whether an object is gone, since the answer to HEAD has no body to prove it.

        Raises:
            ObjectNotFoundError: It is gone.
            BrokenAnswerError: It is there, or the 404 does not come from S3.
        """
        answer = self.requests.send("get_object", "s3:GetObject", key=key, Range="bytes=0-0")
        answer["Body"].close()
        raise self.requests.broken(key, "404 to HEAD, and an object to GET")

    def _read(self, found: ObjectMeta, start: int, end: int) -> Piece:
        whole = start == 0 and end == found.size
        asked: dict[str, Any] = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        if (condition := e_tags.if_match(found.e_tag)) is not None:
            asked["IfMatch"] = condition
        answer = self.requests.send("get_object", "s3:GetObject", key=found.key, **asked)
        try:
            # Not a context of botocore's own, which would read without its checks.
            with closing(answer["Body"]) as body:
                _check_headers(answer, found, start, end)
                data = _read_at_most(body, end - start + 1)
        except boto_errors.FlexibleChecksumError as error:
            msg = f"the body of {found.key!r} does not have the checksum S3 stored: {error}"
            raise BrokenAnswerError(msg) from error
        except (boto_errors.BotoCoreError, HTTPError, ValueError) as error:
            msg = f"the body of {found.key!r} broke off: {error}"
            raise BrokenAnswerError(msg) from error
        if len(data) != end - start:
            raise _not_asked_for(answer, found, start, end, len(data))
        return Piece(
            data, e_tags.expected_md5(found, answer, self.bucket) if self._verify else None
        )


def _e_tag(answer: dict[str, Any]) -> str | None:
    return e_tags.of_header(str(answer.get("ETag", "")))


def _check_headers(answer: dict[str, Any], found: ObjectMeta, start: int, end: int) -> None:
    """Compare an answer's headers with the request, before anything of its body is read."""
    if (e_tag := _e_tag(answer)) is None and found.e_tag is not None:
        raise BrokenAnswerError(f"the answer about {found.key!r} has no e_tag: S3's have one")
    if not e_tags.is_same(e_tag, found.e_tag):
        raise ObjectChangedError(found.key)
    whole = start == 0 and end == found.size
    expected = None if whole else f"bytes {start}-{end - 1}/{found.size}"
    if answer.get("ContentRange") != expected:
        raise _not_asked_for(answer, found, start, end, answer.get("ContentLength"))


def _not_asked_for(
    answer: dict[str, Any], found: ObjectMeta, start: int, end: int, length: object
) -> BrokenAnswerError:
    said = answer.get("ContentRange")
    is_ignored = said is None and not (start == 0 and end == found.size)
    why = ": this server ignores the Range header" if is_ignored else ""
    return BrokenAnswerError(
        f"asked for bytes {start} to {end} of {found.key!r} ({found.size} bytes), got {length} "
        f"bytes with Content-Range {said!r}{why}"
    )


def _read_at_most(body: Any, most: int) -> bytes:
    """Read a body up to a number of bytes, however long it says it is."""
    pieces = []
    # Asked once more at its end, botocore checks its length and checksum.
    while most > 0 and (piece := body.read(most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)
