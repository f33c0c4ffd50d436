"""Which storage a root's URL stands for."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from s3pq_dagster.destinations.storage.local import LocalStorage
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.storage.requests import Requests
from s3pq_dagster.destinations.storage.s3 import S3Storage

_SCHEME = "s3://"


class Root:
    """A directory, or a prefix in S3, that is opened as often as it is needed."""

    def __init__(
        self,
        url: str,
        *,
        endpoint_url: str | None,
        region: str | None,
        profile: str | None,
        lock_timeout_seconds: float,
        lease_seconds: float = 60,
        log: logging.Logger,
    ) -> None:
        """Name the root; nothing is opened yet.

        Args:
            url: A directory, or ``s3://bucket/prefix``.
            endpoint_url: Of an S3 that is not AWS's.
            region: Of the bucket.
            profile: Of the AWS credentials, instead of the usual chain.
            lock_timeout_seconds: How long to wait for a lock that another writer holds.
            lease_seconds: In S3, after how long without renewal a lock is free.
            log: Gets a line each time a lock has to be waited for.
        """
        self.url = url if url.startswith(_SCHEME) else str(Path(url).absolute())
        self._endpoint_url, self._region, self._profile = endpoint_url, region, profile
        self._lock_timeout_seconds, self._lease_seconds = lock_timeout_seconds, lease_seconds
        self._log = log

    @contextmanager
    def open(self) -> Iterator[Storage]:
        """Open the root; it is closed when the context ends.

        Raises:
            DestinationDeniedError: The profile or the endpoint cannot be used.
        """
        with closing(self._storage()) as storage:
            yield storage

    def _storage(self) -> Storage:
        if not self.url.startswith(_SCHEME):
            return LocalStorage(
                Path(self.url), lock_timeout_seconds=self._lock_timeout_seconds, log=self._log
            )
        bucket, _, prefix = self.url.removeprefix(_SCHEME).partition("/")
        return S3Storage(
            Requests.open(
                bucket,
                endpoint_url=self._endpoint_url,
                region=self._region,
                profile=self._profile,
            ),
            prefix.rstrip("/"),
            lock_timeout_seconds=self._lock_timeout_seconds,
            lease_seconds=self._lease_seconds,
            log=self._log,
        )
