"""A lock in S3: an object that its holder renews, and that others may take once he falls silent."""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.destinations.storage.requests import PreconditionFailedError, Requests
from s3pq_dagster.errors import DestinationDeniedError, DestinationError, DestinationLockedError

_FREE = b"free"


@dataclass(frozen=True, slots=True)
class _Found:
    """The lease's object as it was read."""

    e_tag: str
    holder: bytes
    """Who holds the lease, or ``free``."""
    age: timedelta
    """Time since it was last written, by the server's clock alone."""


class Lease:
    """A lock that is renewed in a thread of its own; see :class:`Lock`.

    The lease only spares runs from writing the same table at the same time. A holder that slept
    longer than the lease lasts does not know that it is lost, and may still write. So whoever
    takes it over replaces the manifest by the same content, which gives it another e_tag: the
    conditional swap of the former holder then fails.
    """

    def __init__(self, requests: Requests, key: str, seconds: float) -> None:
        self._requests, self._key, self._seconds = requests, key, seconds
        self._holder = f"{socket.gethostname()} pid {os.getpid()} {secrets.token_hex(12)}"
        self._renewals = 0
        self._e_tag = ""
        self._seen = "", 0.0
        """The e_tag of another holder's lease, and when it was first seen, by a steady clock."""
        self._ended = threading.Event()
        self._lost = ""
        self._is_kept = False
        self.is_taken_over = False

    @contextmanager
    def held(self, timeout_seconds: float, log: logging.Logger) -> Iterator["Lease"]:
        """Take the lease, waiting for another holder, and release it when the context ends.

        Raises:
            DestinationLockedError: Another writer held it until the timeout.
        """
        wait_for_lock(
            self._take,
            timeout_seconds=timeout_seconds,
            log=log,
            first_pause_seconds=0.1,
            lease=self._where,
        )
        renewing = threading.Thread(target=self._renew, name="s3pq-lease", daemon=True)
        renewing.start()
        try:
            yield self
        finally:
            self._ended.set()
            renewing.join()
            self._release()

    def check(self) -> None:
        """See :meth:`Lock.check`."""
        if self._lost:
            raise DestinationLockedError(
                f"the lease {self._where} was lost: {self._lost}. Nothing of this checkpoint is "
                f"written. Run again: what is committed is not read again."
            )

    def abandon(self) -> None:
        """See :meth:`Lock.abandon`."""
        self._is_kept = True

    @property
    def _where(self) -> str:
        return f"s3://{self._requests.bucket}/{self._key}"

    def _take(self) -> None:
        """Take the lease, if it is free or its holder has fallen silent.

        Raises:
            DestinationLockedError: Another writer holds it.
        """
        found = self._read()
        if found is None:
            self._put_first(None)
            self._check_conditions()
            return
        if found.holder.startswith(self._holder.encode()):
            self._e_tag = found.e_tag  # we took it before, but the answer got lost
            return
        age = self._age_of(found)
        if found.holder != _FREE and age < self._seconds:
            msg = (
                f"another process writes this table: {found.holder.decode(errors='replace')} "
                f"renewed {self._where} {age:.0f} s ago"
            )
            raise DestinationLockedError(msg)
        self.is_taken_over = found.holder != _FREE
        self._put_first(found.e_tag)
        if self.is_taken_over:
            self._check_conditions()  # the former holder may have died before it checked them

    def _age_of(self, found: _Found) -> float:
        """Return for how many seconds a lease was not renewed.

        If the server's clock was set back, its own stamps lie in the future. So time counts, too,
        in which this process has seen the lease unchanged.
        """
        now = time.monotonic()
        if self._seen[0] != found.e_tag:
            self._seen = found.e_tag, now
        return max(found.age.total_seconds(), now - self._seen[1])

    def _read(self) -> _Found | None:
        try:
            answer = self._requests.ask("get_object", "s3:GetObject", Key=self._key)
        except FileNotFoundError:
            return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        stamped: datetime = answer["LastModified"]
        return _Found(answer["ETag"], answer["Body"].read(), now - stamped)

    def _put_first(self, e_tag: str | None) -> None:
        try:
            self._put(e_tag)
        except PreconditionFailedError as error:
            msg = f"another process was quicker to take {self._where}"
            raise DestinationLockedError(msg) from error

    def _check_conditions(self) -> None:
        """Check that the server honours conditions on writes, with two that do not hold.

        Raises:
            DestinationDeniedError: It ignored one.
        """
        for condition in (None, '"00000000000000000000000000000000"'):
            kept = self._e_tag
            try:
                self._put(condition)
            except PreconditionFailedError:
                self._e_tag = kept
                continue
            self._requests.ask("delete_object", "s3:DeleteObject", Key=self._key)
            msg = (
                f"{self._requests.endpoint} does not heed If-Match and "
                f"If-None-Match on PutObject, without which two runs could overwrite each other's "
                f"ledger. Use an S3 that does, or another destination. Nothing is written."
            )
            raise DestinationDeniedError(msg)

    def _put(self, e_tag: str | None) -> None:
        self._renewals += 1
        self._e_tag = put_if(
            self._requests, self._key, f"{self._holder} {self._renewals}".encode(), e_tag
        )

    def _renew(self) -> None:
        """Write the lease again four times in the time it lasts, until the context ends."""
        while not self._ended.wait(self._seconds / 4):
            try:
                self._put(self._e_tag)
            except PreconditionFailedError:
                found = self._read()
                if found is not None and found.holder.startswith(self._holder.encode()):
                    self._e_tag = found.e_tag  # our own renewal, whose answer got lost
                    continue
                self._lost = "another run took it, since it was not renewed in time"
                return
            except DestinationError:
                continue  # the lease is ours until another takes it

    def _release(self) -> None:
        if self._lost or self._is_kept:
            return
        try:
            put_if(self._requests, self._key, _FREE, self._e_tag)
        except (PreconditionFailedError, DestinationError):
            return  # it expires by itself


def holder_in(content: bytes) -> str | None:
    """Name who holds a lease, or held it when he fell silent; ``None`` if it is free."""
    return None if content == _FREE else content.decode(errors="replace")


def put_if(requests: Requests, key: str, content: bytes, e_tag: str | None) -> str:
    """Put an object, only if the one that is there has an expected e_tag.

    Args:
        requests: Requests to its bucket.
        key: The object's key.
        content: Its new content.
        e_tag: The e_tag it must have; ``None`` if it must not exist.

    Returns:
        The new e_tag.

    Raises:
        PreconditionFailedError: It has another e_tag.
        DestinationError: Nobody can say whether it was put.
    """
    condition = {"IfNoneMatch": "*"} if e_tag is None else {"IfMatch": e_tag}
    try:
        answer = requests.ask("put_object", "s3:PutObject", Key=key, Body=content, **condition)
    except FileNotFoundError as error:
        raise PreconditionFailedError(key) from error
    return str(answer["ETag"])
