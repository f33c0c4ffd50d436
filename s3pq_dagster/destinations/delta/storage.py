"""What a place for Delta tables has to offer, whether it is a directory or a prefix on S3."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Storage(Protocol):
    """Files by their path below the root, ``/`` between its parts."""

    shown: str
    """The root, as people are told it."""
    takes_turns: bool
    """Whether :meth:`lock` keeps others out; if not, the first commit wins."""

    may_tear: bool
    """Whether a loss of power can leave a file of others with nothing in it."""

    def uri(self, table: str) -> str:
        """Name a table's directory to delta-rs."""
        ...

    def options(self) -> dict[str, str] | None:
        """Give delta-rs what it needs to get there, credentials as they are now."""
        ...

    def make_root(self) -> None:
        """See that the root can be written to.

        Raises:
            DestinationError: It cannot.
        """
        ...

    def check_directory(self, path: str) -> None:
        """See that no file is where a directory is, or is to be.

        Raises:
            DestinationError: One is.
        """
        ...

    def new_file(self, path: str) -> AbstractContextManager[Path]:
        """Open a local path to write a file under; it is in its place once the context ends.

        Nothing is left of it if the context ends with an error. Its name is durable only after
        :meth:`settle`.
        """
        ...

    def put(self, path: str, data: bytes) -> None:
        """Write a small file: whole or not at all, and durable."""
        ...

    def get(self, path: str) -> bytes | None:
        """Read a small file; ``None`` if it is not there."""
        ...

    def open_file(self, path: str) -> Any:
        """Open a file for random access, for :class:`pyarrow.parquet.ParquetFile`.

        Raises:
            FileNotFoundError: It is not there.
        """
        ...

    def size(self, path: str) -> int | None:
        """Give a file's size in bytes; ``None`` if it is not there."""
        ...

    def names(self, directory: str) -> list[str]:
        """List the files in a directory and below it, relative to it; none if it is not there."""
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, as far as they are there."""
        ...

    def settle(self, paths: Iterable[str]) -> None:
        """Make files that others wrote durable, and their names; those that are not there count."""
        ...

    def lock(self, table: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Keep other writers of a table out; yields whether that was possible.

        Raises:
            DestinationLockedError: With ``wait``: another has had it for too long.
        """
        ...
