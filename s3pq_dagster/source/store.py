"""The only module that reads the source bucket."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self, TypeVar

import boto3
import polars as pl
from botocore import exceptions as boto_errors
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.exceptions import HTTPError

from s3pq_dagster.errors import (
    BrokenAnswerError,
    CredentialsError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.s3_errors import Meaning, of_exception
from s3pq_dagster.source import e_tags, listing_page
from s3pq_dagster.source.client import ATTEMPTS, make_client
from s3pq_dagster.source.obstore_reads import DirectReads
from s3pq_dagster.source.requests import Answers, not_utf8
from s3pq_dagster.spec import S3ParquetSpec

PAGE_SIZE = 1000
"""Keys a listing request returns at most, by S3's rule."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece:
    """An object's bytes, or some of them."""

    data: bytes
    md5: str | None
    """Of the whole object's content, where its e_tag says it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing."""

    objects: pl.DataFrame
    """In the store's order and in the columns of a :class:`Listing`."""
    prefixes: list[str]
    """What goes on behind the delimiter, up to and with it."""
    next_token: str | None
    """Of the page that follows; ``None`` where none does."""


class Store:
    """A bucket of one S3 API.

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
        self._client = client
        self._open_direct = open_direct
        self._verify = verify_e_tags
        self._answers = Answers(bucket, self.endpoint)
        self.bucket = bucket

    @classmethod
    def open(cls, spec: S3ParquetSpec, session: boto3.session.Session | None = None) -> Self:
        """Make a client; nothing is sent yet.

        Args:
            spec: Bucket, region, endpoint, profile and concurrency.
            session: Where credentials come from instead of ``local_profile`` and the usual chain.

        Raises:
            CredentialsError: ``local_profile`` names no profile, or AWS's configuration files
                cannot be read.
        """
        try:
            client, credentials = make_client(spec, session)
        except boto_errors.BotoCoreError as error:
            if of_exception(error) is not Meaning.MISSING_CREDENTIALS:
                raise
            raise CredentialsError(spec.bucket, str(error)) from error
        direct = partial(DirectReads.open, spec, credentials, client.meta.endpoint_url)
        return cls(client, spec.bucket, verify_e_tags=spec.verify_e_tags, open_direct=direct)

    @cached_property
    def _direct(self) -> DirectReads | None:
        """The short way, opened when it is first needed: by then there are credentials, or none."""
        return self._open_direct()

    @property
    def endpoint(self) -> str:
        """The URL requests go to."""
        return str(self._client.meta.endpoint_url)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def list_objects(self, prefix: str, *, delimiter: str = "") -> Iterator[ObjectMeta]:
        """List the objects whose keys start with a raw string, one by one; see :meth:`list_pages`.

        Raises:
            StoreError: As :meth:`list_pages`.
        """
        for page in self.list_pages(prefix, delimiter=delimiter):
            yield from Listing(page)

    def list_pages(self, prefix: str, *, delimiter: str = "") -> Iterator[pl.DataFrame]:
        """List the objects whose keys start with a raw string, page by page.

        Args:
            prefix: Any string; empty lists the bucket.
            delimiter: ``/`` leaves out keys with a further slash behind the prefix.

        Yields:
            Objects in the store's order and in the columns of a :class:`Listing`, keys exactly as
            S3 has them.

        Raises:
            BucketNotFoundError: The bucket is not there.
            AccessDeniedError: ``s3:ListBucket`` is missing.
            CredentialsError: Credentials are missing, wrong or expired.
            StoreUnreachableError: Nothing answers.
            StoreError: Anything else, after retries.
        """
        token: str | None = None
        seen: set[str] = set()
        while True:
            page = self.list_page(prefix, delimiter=delimiter, token=token, seen=seen)
            yield page.objects
            if (token := page.next_token) is None:
                return

    def list_page(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, seen: set[str]
    ) -> Page:
        """List one page, of at most 1,000 objects.

        Args:
            prefix: As :meth:`list_pages`.
            delimiter: As :meth:`list_pages`.
            token: Of the page, as the one before it said; ``None`` is the first.
            seen: The tokens of the pages so far; gets the next one's.

        Raises:
            StoreError: As :meth:`list_pages`.
        """
        asked: dict[str, Any] = {
            "Bucket": self.bucket,
            "Prefix": prefix,
            "MaxKeys": PAGE_SIZE,
            "EncodingType": "url",  # of any key XML cannot hold; we decode, see `listing_page`
        }
        if delimiter:
            asked["Delimiter"] = delimiter
        if token is not None:
            asked["ContinuationToken"] = token
        page = self._retry(lambda: self._list_page(asked, seen))
        if page.next_token is not None:
            seen.add(page.next_token)
        return page

    def stat(self, key: str) -> ObjectMeta:
        """Ask for an object as it is now.

        Raises:
            ObjectNotFoundError: It is gone, and S3 says so.
            StoreError: As :meth:`read`.
        """
        found = self._retry(lambda: self._head(key))
        return ObjectMeta(key, found["ContentLength"], _e_tag(found), found["LastModified"])

    def is_there(self, key: str) -> bool:
        """Tell whether an object is there now, by asking for that very key.

        Raises:
            StoreError: As :meth:`read`.
        """
        try:
            self.stat(key)
        except ObjectNotFoundError:
            return False
        return True

    def read(self, found: ObjectMeta, start: int = 0, end: int | None = None) -> bytes:
        """Read an object, or a range of it, in one request; see :meth:`read_piece`.

        Returns:
            Exactly ``end - start`` bytes.

        Raises:
            StoreError: As :meth:`read_piece`.
            MalformedObjectError: As :meth:`read_piece`.
        """
        return self.read_piece(found, start, end).data

    def read_piece(self, found: ObjectMeta, start: int = 0, end: int | None = None) -> Piece:
        """Read an object, or a range of it, in one request.

        The bytes of a whole object are held against its e_tag where that is their MD5; those of a
        range cannot be, which is left to who puts them together.

        Args:
            found: The object as listed; ``If-Match`` carries its e_tag.
            start: First byte.
            end: One past the last byte; ``None`` is the object's end.

        Returns:
            Exactly ``end - start`` bytes.

        Raises:
            ObjectNotFoundError: It was deleted since it was listed.
            ObjectChangedError: It was overwritten since it was listed.
            MalformedObjectError: It is in an archived storage class, or its bytes again and again
                do not match its e_tag.
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
                return Piece(data, e_tags.md5_of(found, {}, self.bucket))

        def once() -> Piece:
            piece = self._read(found, start, last)
            if piece.md5 is not None and start == 0 and last == found.size:
                e_tags.check(found, piece.md5, e_tags.digest_of([piece.data]), seen)
            return piece

        return self._retry(once)

    def _list_page(self, asked: dict[str, Any], tokens: set[str]) -> Page:
        """Ask for one page; ``tokens`` are those that were asked for so far."""
        page = self._answers.call(self._client.list_objects_v2, "s3:ListBucket", **asked)
        # An HTML page answered with 200 parses as a listing of nothing; what `listing_page` has
        # refused and botocore has parsed is none either.
        is_whole = {"IsTruncated", "Name", "Contents"} <= page.keys()
        if not is_whole or not isinstance(page["Contents"], pl.DataFrame):
            raise BrokenAnswerError(self._answers.broken(None, "that is no S3 listing"))
        token = page.get("NextContinuationToken")
        if page["IsTruncated"] and (not token or token in tokens):
            found = "a listing that goes on, but not where" if not token else "one page for ever"
            raise BrokenAnswerError(self._answers.broken(None, found))
        below = [str(found["Prefix"]) for found in page.get("CommonPrefixes", ())]
        if page.get("EncodingType") == "url":
            try:
                below = [listing_page.decoded(prefix) for prefix in below]
            except listing_page.KeyEncodingError as error:
                raise not_utf8(error) from error
        # Another listing's answer would leave out what was asked for, and say that it is all.
        prefix = asked["Prefix"]
        keys = page["Contents"]["key"]
        astray = keys.filter(~keys.str.starts_with(prefix))
        if foreign := [*astray, *(name for name in below if not name.startswith(prefix))]:
            found = f"a listing of {prefix!r} with {foreign[0]!r} in it"
            raise BrokenAnswerError(self._answers.broken(None, found))
        return Page(page["Contents"], below, token if page["IsTruncated"] else None)

    def _head(self, key: str) -> dict[str, Any]:
        try:
            found = self._answers.call(self._client.head_object, "s3:GetObject", key=key)
        except ObjectNotFoundError:
            self._see_it_gone(key)
            raise
        if "ContentLength" not in found or "LastModified" not in found:
            raise BrokenAnswerError(self._answers.broken(key, "no size or no time"))
        return found

    def _see_it_gone(self, key: str) -> None:
        """Ask in a way that is answered with a body: that to HEAD has none to tell S3 by.

        Raises:
            ObjectNotFoundError: It is gone.
            BrokenAnswerError: It is there, or somebody else than S3 says otherwise.
        """
        answer = self._answers.call(
            self._client.get_object, "s3:GetObject", key=key, Range="bytes=0-0"
        )
        answer["Body"].close()
        raise BrokenAnswerError(self._answers.broken(key, "404 to HEAD, and an object to GET"))

    def _read(self, found: ObjectMeta, start: int, end: int) -> Piece:
        whole = start == 0 and end == found.size
        asked: dict[str, Any] = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        if found.e_tag is not None:
            asked["IfMatch"] = f'"{found.e_tag}"'
        answer = self._answers.call(self._client.get_object, "s3:GetObject", key=found.key, **asked)
        try:
            with answer["Body"] as body:
                data: bytes = body.read()
        except boto_errors.FlexibleChecksumError as error:
            msg = f"the body of {found.key!r} does not have the checksum S3 stored: {error}"
            raise BrokenAnswerError(msg) from error
        except (boto_errors.BotoCoreError, HTTPError, ValueError) as error:
            msg = f"the body of {found.key!r} broke off: {error}"
            raise BrokenAnswerError(msg) from error
        _check_answer(answer, data, found, start, end)
        return Piece(data, e_tags.md5_of(found, answer, self.bucket) if self._verify else None)

    def _retry(self, once: Callable[[], T]) -> T:
        """Ask again when an answer broke: botocore retries requests, but not bodies."""
        return Retrying(
            retry=retry_if_exception_type(BrokenAnswerError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            reraise=True,
        )(once)


def _e_tag(answer: dict[str, Any]) -> str | None:
    return str(answer.get("ETag", "")).strip('"') or None


def _check_answer(
    answer: dict[str, Any], data: bytes, found: ObjectMeta, start: int, end: int
) -> None:
    if (e_tag := _e_tag(answer)) is None and found.e_tag is not None:
        raise BrokenAnswerError(f"the answer about {found.key!r} has no e_tag: S3's have one")
    if e_tag != found.e_tag:
        raise ObjectChangedError(found.key)
    whole = start == 0 and end == found.size
    expected = None if whole else f"bytes {start}-{end - 1}/{found.size}"
    if answer.get("ContentRange") != expected or len(data) != end - start:
        msg = (
            f"asked for bytes {start} to {end} of {found.key!r} ({found.size} bytes), got "
            f"{len(data)} bytes with Content-Range {answer.get('ContentRange')!r}"
        )
        raise BrokenAnswerError(msg)
