"""What a storage promises to the destinations that keep files in it."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import pyarrow as pa

from s3pq_dagster.destinations.condition import Condition
from s3pq_dagster.errors import DestinationError


class UncertainSwapError(DestinationError):
    """Nobody can say whether a swap happened, so no file that its content names may be deleted."""


class StoredFile(NamedTuple):
    """A file's content."""

    content: bytes
    version: str
    """Differs from that of every other file that was or will be at this path."""


class FileInfo(NamedTuple):
    """Facts of a file that do not take reading it."""

    size: int
    """In bytes."""
    version: str
    """As in :class:`StoredFile`."""


class Lock(Protocol):
    """A lock that one writer holds."""

    is_taken_over: bool
    """Whether the previous holder fell silent without releasing it. He may still be alive, and has
    to be kept from committing."""

    def check(self) -> None:
        """Raise if another writer has taken the lock over.

        Raises:
            DestinationLockedError: One has.
        """
        ...

    def abandon(self) -> None:
        """Leave the lock unreleased when its context ends.

        The next writer then waits until the lock expires, in S3; the kernel frees a local one.
        """
        ...


class Storage(Protocol):
    """Files below a root. A path is relative to it, with ``/`` between its parts.

    A storage belongs to one table's reader or writer, and is closed by who opened it. Errors of a
    local file system are raised as the :class:`OSError` they are; those of S3 as
    :class:`DestinationError`.
    """

    root: str
    """Where it is: an absolute path or ``s3://bucket/prefix``, without a slash at its end."""
    is_local: bool
    """Whether the root is a directory. If so, the kernel frees the lock of a process that died, and
    what other libraries write is durable only after :meth:`flush_files`."""

    def object_store_options(self) -> dict[str, str] | None:
        """Return what delta-rs needs to open the root, with credentials valid now.

        Raises:
            DestinationDeniedError: There are no credentials.
        """
        ...

    def check_folder(self, path: str) -> None:
        """Raise if the root or a folder in it, ``""`` being the root, is a file.

        Raises:
            DestinationError: It is.
        """
        ...

    def names(self, folder: str, *, recursive: bool = False) -> set[str]:
        """List the names of the files in a folder; none if it does not exist.

        Args:
            folder: Which.
            recursive: Also list files in folders below it, as paths relative to ``folder``.
        """
        ...

    def stat(self, path: str) -> FileInfo | None:
        """Return the facts of a file; ``None`` if it does not exist."""
        ...

    def get(self, path: str) -> StoredFile | None:
        """Read a whole file; ``None`` if it does not exist."""
        ...

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for random access. All that is read is of one version of it.

        Raises:
            FileNotFoundError: It does not exist.
        """
        ...

    def put(self, path: str, content: bytes) -> None:
        """Write a file atomically, replacing any other; durable after :meth:`flush`."""
        ...

    def swap(self, path: str, content: bytes, version: str | None) -> str:
        """Replace a file atomically and durably, only if it has an expected version.

        Args:
            path: The file.
            content: Its new content.
            version: The version it must have; ``None`` if it must not exist.

        Returns:
            The new version.

        Raises:
            DestinationError: It has another version; nothing is changed.
            UncertainSwapError: It may be changed or not.
        """
        ...

    def create(self, path: str) -> AbstractContextManager[pa.NativeFile]:
        """Write a new file whose name nobody else uses.

        It is complete once the context ends, and durable after :meth:`flush`. If the context ends
        with an error, nothing is left of it.
        """
        ...

    def flush(self, folder: str) -> None:
        """Make the names of files that this storage wrote in a folder durable."""
        ...

    def flush_files(self, paths: Iterable[str]) -> None:
        """Make files that any library wrote durable: content, names, and the folders above.

        Files that do not exist are passed over.
        """
        ...

    def move(self, moves: Mapping[str, str]) -> None:
        """Rename files, each atomically, replacing what is there; durable on return.

        Args:
            moves: The new path by the old. An old path that does not exist was moved before.
        """
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those that do not exist are passed over."""
        ...

    def condition(self, locks: Mapping[str, str]) -> Condition:
        """Say what speaks against writing, and who holds which lock; nothing is written.

        Args:
            locks: The lock file of each table.
        """
        ...

    def lock(self, path: str, *, wait: bool = True) -> AbstractContextManager[Lock]:
        """Hold a lock file, so that no other writer does.

        Args:
            path: The lock file.
            wait: Wait for another holder, at most the time the storage was opened with.

        Raises:
            DestinationLockedError: Another writer holds it.
        """
        ...

    def close(self) -> None:
        """Close the connections that are open."""
        ...
