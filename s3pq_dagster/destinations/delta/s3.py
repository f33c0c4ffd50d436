"""A prefix on S3: whole objects, conditional commits, no locks."""

import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import obstore
from botocore.exceptions import BotoCoreError
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from s3pq_dagster.destinations.delta.failures import failed
from s3pq_dagster.errors import DestinationDeniedError, DestinationError
from s3pq_dagster.s3_errors import Meaning, code_in, of_answer

_NOT_THERE = (NotFoundError, FileNotFoundError)
"""What obstore raises for an object that is not there is, in fact, Python's own error."""
_BUFFER_BYTES = 1024 * 1024
_CONNECT_SECONDS, _REQUEST_SECONDS, _RETRIES, _RETRY_SECONDS = 5, 60, 4, 30
_DEFAULT_REGION = "us-east-1"


class S3Prefix:
    """A prefix of a bucket; see :class:`Storage`.

    A commit is a conditional PUT (``If-None-Match: *``), which S3 has had since 2024.
    """

    takes_turns = False
    may_tear = False

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._endpoint_url = endpoint_url
        self._region = region
        self._profile = profile
        self.shown = f"s3://{bucket}/{self._prefix}".rstrip("/")

    def uri(self, table: str) -> str:
        """See :meth:`Storage.uri`."""
        return f"{self.shown}/{table}"

    def options(self) -> dict[str, str]:
        """See :meth:`Storage.options`."""
        session, endpoint, region = self._session
        credentials = session.get_credentials()
        if credentials is None:
            msg = (
                f"no AWS credentials for the destination {self.shown}. Set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or `profile`, or run where a role gives credentials."
            )
            raise DestinationDeniedError(msg)
        frozen = credentials.get_frozen_credentials()
        found = {
            "aws_access_key_id": frozen.access_key,
            "aws_secret_access_key": frozen.secret_key,
            "aws_session_token": frozen.token,
            "aws_region": region,
            "aws_conditional_put": "etag",
            "connect_timeout": f"{_CONNECT_SECONDS}s",
            "timeout": f"{_REQUEST_SECONDS}s",
            "max_retries": str(_RETRIES),
            "retry_timeout": f"{_RETRY_SECONDS}s",
        }
        if endpoint is not None:
            found["endpoint_url"] = endpoint
            found["allow_http"] = str(endpoint.startswith("http://")).lower()
        return {name: value for name, value in found.items() if value is not None}

    def make_root(self) -> None:
        """Nothing is to be made: a prefix is there once something is under it."""

    def check_directory(self, path: str) -> None:
        """See :meth:`Storage.check_directory`: there are no directories."""

    @contextmanager
    def new_file(self, path: str) -> Iterator[Path]:
        """See :meth:`Storage.new_file`."""
        with tempfile.TemporaryDirectory(prefix="s3pq-") as directory:
            made = Path(directory) / "new"
            yield made
            with self._translated():
                obstore.put(self._store, path, made)

    def put(self, path: str, data: bytes) -> None:
        """See :meth:`Storage.put`."""
        with self._translated():
            obstore.put(self._store, path, data)

    def get(self, path: str) -> bytes | None:
        """See :meth:`Storage.get`."""
        with suppress(*_NOT_THERE), self._translated():
            return bytes(obstore.get(self._store, path).bytes())
        return None

    def open_file(self, path: str) -> Any:
        """See :meth:`Storage.open_file`."""
        with self._translated():
            return io.BufferedReader(_Ranges(self._store, path), _BUFFER_BYTES)

    def size(self, path: str) -> int | None:
        """See :meth:`Storage.size`."""
        with suppress(*_NOT_THERE), self._translated():
            return int(obstore.head(self._store, path)["size"])
        return None

    def names(self, directory: str) -> list[str]:
        """See :meth:`Storage.names`."""
        start = f"{directory}/"
        with self._translated():
            listed = [found["path"] for page in obstore.list(self._store, start) for found in page]
        return [path.removeprefix(start) for path in listed]

    def delete(self, paths: Iterable[str]) -> None:
        """See :meth:`Storage.delete`."""
        for path in paths:
            with suppress(*_NOT_THERE), self._translated():
                obstore.delete(self._store, path)

    def settle(self, paths: Iterable[str]) -> None:
        """What S3 has answered for is durable."""

    @contextmanager
    def lock(self, table: str, *, wait: bool) -> Iterator[bool]:  # noqa: ARG002 - see Storage
        """See :meth:`Storage.lock`."""
        yield True

    @cached_property
    def _session(self) -> tuple[boto3.Session, str | None, str]:
        """Ask boto3, which knows the environment and the user's files, where and who we are."""
        try:
            session = boto3.Session(profile_name=self._profile, region_name=self._region)
            meta = session.client("s3", endpoint_url=self._endpoint_url).meta
        except (BotoCoreError, ValueError) as error:
            msg = f"cannot use the destination {self.shown}: {error}"
            raise DestinationDeniedError(msg) from error
        is_aws = ".amazonaws.com" in meta.endpoint_url
        region = meta.region_name
        if region in (None, "aws-global"):
            region = _DEFAULT_REGION
        return session, None if is_aws else meta.endpoint_url, region

    @property
    def _store(self) -> S3Store:
        """Make a client with credentials as they are now; it costs nothing yet."""
        options = self.options()
        config: Any = {
            name: value
            for name, value in options.items()
            if name.startswith("aws_") or name == "endpoint_url"
        }
        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            config=config,
            client_options={
                "connect_timeout": f"{_CONNECT_SECONDS}s",
                "timeout": f"{_REQUEST_SECONDS}s",
                "allow_http": options.get("allow_http") == "true",
            },
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            },
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _NOT_THERE as error:
            if of_answer(code_in(str(error)), 0) is Meaning.NO_BUCKET:
                raise failed(self.shown, error) from error
            raise
        except BaseError as error:
            raise failed(self.shown, error) from error
        except OSError as error:
            msg = f"cannot reach {self.shown}: {error}"
            raise DestinationError(msg) from error


class _Ranges(io.RawIOBase):
    """An object, read by ranges."""

    def __init__(self, store: S3Store, path: str) -> None:
        self._store, self._path, self._at = store, path, 0
        try:
            self._size = int(obstore.head(store, path)["size"])
        except _NOT_THERE as error:
            raise FileNotFoundError(path) from error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        found = obstore.get_range(self._store, self._path, start=self._at, length=length)
        buffer[:length] = memoryview(found)
        self._at += length
        return length
