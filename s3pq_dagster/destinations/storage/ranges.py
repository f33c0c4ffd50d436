"""An object in S3 as a file for random access, all of it of one version."""

import io
import os
from typing import Any

from s3pq_dagster.destinations.storage.requests import PreconditionFailedError, Requests
from s3pq_dagster.errors import DestinationError

_TAIL_BYTES = 64 * 1024
"""The first request gets this much of the end: nearly every footer, so it is the only one."""


class RangedObject(io.RawIOBase):
    """An object of which only the byte ranges that are read are fetched."""

    def __init__(self, requests: Requests, key: str) -> None:
        """Fetch the end of the object, and its size.

        Raises:
            FileNotFoundError: It does not exist.
        """
        super().__init__()
        self._requests, self._key, self._at = requests, key, 0
        answer = self._get(f"bytes=-{_TAIL_BYTES}")
        self._e_tag: str = answer["ETag"]
        self._tail: bytes = answer["Body"].read()
        said = answer.get("ContentRange")
        self._size = len(self._tail) if said is None else int(said.rpartition("/")[2])

    def readable(self) -> bool:
        """See :class:`io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See :class:`io.IOBase`."""
        return True

    def tell(self) -> int:
        """See :class:`io.IOBase`."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See :class:`io.IOBase`."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read from the current position; to the end if ``size`` is negative.

        Raises:
            FileNotFoundError: The object was replaced or deleted since it was opened.
            DestinationError: Other bytes came than were asked for.
        """
        end = self._size if size < 0 else min(self._at + size, self._size)
        start, self._at = self._at, max(self._at, end)
        return self._fetched(start, end) if start < end else b""

    def readinto(self, buffer: Any) -> int:
        """See :class:`io.RawIOBase`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _fetched(self, start: int, end: int) -> bytes:
        tail = self._size - len(self._tail)
        if start >= tail:
            return self._tail[start - tail : end - tail]
        try:
            answer = self._get(f"bytes={start}-{end - 1}", IfMatch=self._e_tag)
        except PreconditionFailedError as error:
            raise FileNotFoundError(self._key) from error
        said = answer.get("ContentRange")
        if said != f"bytes {start}-{end - 1}/{self._size}":
            answer["Body"].close()  # it may be the whole object
            raise self._not_asked_for(start, end, f"Content-Range {said!r}")
        data: bytes = self._requests.translated(answer["Body"].read, "s3:GetObject", self._key)
        if len(data) != end - start:
            raise self._not_asked_for(start, end, f"{len(data)} bytes")
        return data

    def _not_asked_for(self, start: int, end: int, found: str) -> DestinationError:
        return DestinationError(
            f"asked {self._requests.endpoint} for bytes {start} to {end} of "
            f"s3://{self._requests.bucket}/{self._key} ({self._size} bytes), got {found}. Run "
            f"again; if it stays, this server does not heed the Range header, and cannot hold a "
            f"destination."
        )

    def _get(self, wanted: str, **condition: str) -> dict[str, Any]:
        return self._requests.ask(
            "get_object", "s3:GetObject", Key=self._key, Range=wanted, **condition
        )
