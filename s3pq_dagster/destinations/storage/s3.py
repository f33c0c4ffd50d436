"""A prefix of an S3 bucket as a storage."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import pyarrow as pa

from s3pq_dagster.destinations.condition import Condition
from s3pq_dagster.destinations.storage.lease import Lease, holder_in, put_if
from s3pq_dagster.destinations.storage.protocol import (
    FileInfo,
    Lock,
    StoredFile,
    UncertainSwapError,
)
from s3pq_dagster.destinations.storage.ranges import RangedObject
from s3pq_dagster.destinations.storage.requests import (
    CONNECT_SECONDS,
    PreconditionFailedError,
    Requests,
)
from s3pq_dagster.errors import DestinationDeniedError, DestinationError

_WORKERS = 16
_MOST_DELETED = 1000
"""Most keys in a request that deletes, by S3's rule."""
_IN_MEMORY = 1024 * 1024
"""Larger new files wait in a temporary file for their upload: Delta Lake has up to 64 open."""
_AT_ONCE = 8 * 1024 * 1024
"""Larger files are uploaded in parts."""
_AWS = ".amazonaws.com"
_NOWHERE = "http://127.0.0.1:0"
"""Proxy for all other hosts than the endpoint's: object_store follows redirects to any host, and
takes the session token there; it has no option against that."""
_REQUEST_SECONDS, _RETRIES, _RETRY_SECONDS = 60, 4, 30


class S3Storage:
    """Objects below a prefix; see :class:`Storage`. There are no folders."""

    is_local = False

    def __init__(
        self,
        requests: Requests,
        prefix: str,
        *,
        lock_timeout_seconds: float,
        lease_seconds: float,
        log: logging.Logger,
    ) -> None:
        self._requests = requests
        self._prefix = f"{prefix}/" if prefix else ""
        self.root = f"s3://{requests.bucket}/{self._prefix}".rstrip("/")
        self._lock_timeout_seconds, self._lease_seconds = lock_timeout_seconds, lease_seconds
        self._log = log

    def object_store_options(self) -> dict[str, str]:
        """See :meth:`Storage.object_store_options`."""
        credentials = self._requests.credentials()
        if credentials is None:
            msg = (
                f"no AWS credentials for the destination {self.root}. Set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or `local_profile`, or run where a role gives credentials."
            )
            raise DestinationDeniedError(msg)
        endpoint, region = self._requests.endpoint, self._requests.region
        found = {
            "aws_access_key_id": credentials.access_key,
            "aws_secret_access_key": credentials.secret_key,
            "aws_session_token": credentials.token,
            "aws_region": region,
            "aws_conditional_put": "etag",
            "connect_timeout": f"{CONNECT_SECONDS}s",
            "timeout": f"{_REQUEST_SECONDS}s",
            "max_retries": str(_RETRIES),
            "retry_timeout": f"{_RETRY_SECONDS}s",
        }
        if _AWS not in endpoint:
            found["endpoint_url"] = endpoint
            found["allow_http"] = str(endpoint.startswith("http://")).lower()
        if not _is_proxied(endpoint):  # a user's own proxy is in charge of where requests go
            found["proxy_url"] = _NOWHERE
            found["proxy_excludes"] = _AWS if _AWS in endpoint else str(urlsplit(endpoint).hostname)
        return {name: value for name, value in found.items() if value is not None}

    def condition(self, locks: Mapping[str, str]) -> Condition:
        """See :meth:`Storage.condition`: whether objects may be put is told by putting one."""
        found = {table: self.get(path) for table, path in locks.items()}
        held = {table: holder_in(each.content) for table, each in found.items() if each}
        untold = f"s3:PutObject and s3:DeleteObject below {self.root}"
        return Condition(untold=untold, holders={n: who for n, who in held.items() if who})

    def check_folder(self, path: str) -> None:
        """See :meth:`Storage.check_folder`."""

    def names(self, folder: str, *, recursive: bool = False) -> set[str]:
        """See :meth:`Storage.names`."""
        prefix = self._key(folder) + "/"
        asked = {} if recursive else {"Delimiter": "/"}
        found: set[str] = set()
        while True:
            page = self._requests.ask("list_objects_v2", "s3:ListBucket", Prefix=prefix, **asked)
            keys = (each["Key"] for each in page.get("Contents", ()))
            # A key that ends in a slash stands for a folder that somebody made.
            found |= {key.removeprefix(prefix) for key in keys if not key.endswith("/")}
            if not page["IsTruncated"]:
                return found
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, path: str) -> FileInfo | None:
        """See :meth:`Storage.stat`."""
        try:
            answer = self._requests.ask("head_object", "s3:GetObject", Key=self._key(path))
        except FileNotFoundError:
            return None
        return FileInfo(answer["ContentLength"], answer["ETag"])

    def get(self, path: str) -> StoredFile | None:
        """See :meth:`Storage.get`."""
        key = self._key(path)
        try:
            answer = self._requests.ask("get_object", "s3:GetObject", Key=key)
        except FileNotFoundError:
            return None
        body = self._requests.translated(answer["Body"].read, "s3:GetObject", key)
        return StoredFile(body, answer["ETag"])

    def swap(self, path: str, content: bytes, version: str | None) -> str:
        """See :meth:`Storage.swap`."""
        try:
            return put_if(self._requests, self._key(path), content, version)
        except (PreconditionFailedError, DestinationDeniedError) as error:
            # botocore repeats a request whose answer got lost: the second attempt then finds the
            # content of the first, and its condition does not hold.
            found = self.get(path)
            if found is not None and found.content == content:
                return found.version
            if isinstance(error, DestinationDeniedError):
                raise
            msg = (
                f"s3://{self._requests.bucket}/{self._key(path)} was changed by another run "
                f"meanwhile; nothing of this checkpoint is written. Run again: what the other run "
                f"committed will not be read."
            )
            raise DestinationError(msg) from error
        except DestinationError as error:
            raise UncertainSwapError(str(error)) from error

    def put(self, path: str, content: bytes) -> None:
        """See :meth:`Storage.put`."""
        self._requests.ask("put_object", "s3:PutObject", Key=self._key(path), Body=content)

    def open(self, path: str) -> pa.NativeFile:
        """See :meth:`Storage.open`: each range is fetched with the e_tag of the first."""
        return pa.PythonFile(RangedObject(self._requests, self._key(path)), "r")

    @contextmanager
    def create(self, path: str) -> Iterator[pa.NativeFile]:
        """See :meth:`Storage.create`: the file is uploaded when the context ends."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spooled:
            sink = pa.PythonFile(spooled, "w")  # closing it would close the temporary file
            yield sink
            sink.flush()
            self._upload(path, spooled)

    def flush(self, folder: str) -> None:
        """See :meth:`Storage.flush`: S3 answers once an object is durable."""

    def flush_files(self, paths: Iterable[str]) -> None:
        """See :meth:`Storage.flush_files`: S3 answers once an object is durable."""

    def move(self, moves: Mapping[str, str]) -> None:
        """See :meth:`Storage.move`: all objects are copied, then the originals are deleted."""
        with ThreadPoolExecutor(_WORKERS, "s3pq-move") as pool:
            waiting = iter(moves.items())
            while some := list(islice(waiting, _MOST_DELETED)):
                list(pool.map(lambda move: self._copy(*move), some))  # raises what a copy raised
        self.delete(moves)

    def delete(self, paths: Iterable[str]) -> None:
        """See :meth:`Storage.delete`."""
        keys = [{"Key": self._key(path)} for path in paths]
        for start in range(0, len(keys), _MOST_DELETED):
            answer = self._requests.ask(
                "delete_objects",
                "s3:DeleteObject",
                Delete={"Objects": keys[start : start + _MOST_DELETED], "Quiet": True},
            )
            for error in answer.get("Errors", ()):
                msg = (
                    f"cannot delete s3://{self._requests.bucket}/{error.get('Key')}: "
                    f"{error.get('Code')}. Allow s3:DeleteObject on the bucket, then run again."
                )
                raise DestinationError(msg)

    def lock(self, path: str, *, wait: bool = True) -> AbstractContextManager[Lock]:
        """See :meth:`Storage.lock`: the lock is a lease."""
        lease = Lease(self._requests, self._key(path), self._lease_seconds)
        return lease.held(self._lock_timeout_seconds if wait else 0, self._log)

    def close(self) -> None:
        """See :meth:`Storage.close`."""
        self._requests.client.close()

    def _key(self, path: str) -> str:
        return f"{self._prefix}{path}"

    def _upload(self, path: str, spooled: IO[bytes]) -> None:
        size = spooled.seek(0, 2)
        spooled.seek(0)
        key = self._key(path)
        if size <= _AT_ONCE:
            self._requests.ask("put_object", "s3:PutObject", Key=key, Body=spooled.read())
            return
        self._requests.translated(
            lambda: self._requests.client.upload_fileobj(spooled, self._requests.bucket, key),
            "s3:PutObject",
            key,
        )

    def _copy(self, source: str, target: str) -> None:
        """Copy an object; in parts if it has more than 5 GB, which S3 does not copy at once."""
        bucket, key = self._requests.bucket, self._key(target)
        there = {"Bucket": bucket, "Key": self._key(source)}
        with suppress(FileNotFoundError):  # an earlier writer moved it already
            try:
                self._requests.ask("copy_object", "s3:PutObject", Key=key, CopySource=there)
            except DestinationError as error:
                if _code_of(error) != "InvalidRequest":
                    raise
                self._requests.translated(
                    lambda: self._requests.client.copy(there, bucket, key), "s3:PutObject", key
                )


def _is_proxied(endpoint: str) -> bool:
    """Return whether requests to an endpoint go through a proxy that the environment names."""
    address, proxies = urlsplit(endpoint), getproxies()
    is_named = address.scheme in proxies or "all" in proxies
    return is_named and not proxy_bypass(str(address.hostname))


def _code_of(error: DestinationError) -> Any:
    """Return S3's error code; ``None`` if S3 did not answer with one."""
    return getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
