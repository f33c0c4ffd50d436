"""What a root has to be able to do, wherever it is."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from s3pq_dagster.errors import DestinationError


class UncertainSwapError(DestinationError):
    """Nobody can say whether a swap happened: what it names must be left alone."""


class Turn(Protocol):
    """A writer's turn at a table."""

    is_taken_over: bool
    """Whether the writer before may still be alive somewhere, and has to be shut out."""

    def check(self) -> None:
        """See that it is still ours.

        Raises:
            DestinationLockedError: It is another's by now.
        """
        ...

    def abandon(self) -> None:
        """Do not hand it on: whoever comes next has to wait until it is taken for dead."""
        ...


class Storage(Protocol):
    """Files below a root; a path is a folder and a name with a slash between them."""

    def names(self, folder: str) -> set[str]:
        """Name the files right in a folder; none if it is not there."""
        ...

    def get(self, path: str) -> tuple[bytes, str] | None:
        """Read a file whole, with the version it has; ``None`` if it is not there."""
        ...

    def version(self, path: str) -> str | None:
        """Tell a file from whatever else was or will be there; ``None`` if it is not there."""
        ...

    def swap(self, path: str, content: bytes, version: str | None) -> str:
        """Replace a file of this version, atomically and durably.

        Args:
            path: The file.
            content: The new one.
            version: Of the one that is there; ``None`` if none is.

        Returns:
            The new version.

        Raises:
            DestinationError: Another version is there; nothing is changed.
            UncertainSwapError: It may be changed or not.
        """
        ...

    def put(self, path: str, content: bytes) -> None:
        """Replace a file, atomically, whatever was there."""
        ...

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for reading in any order.

        Raises:
            FileNotFoundError: It is not there.
        """
        ...

    def create(self, path: str) -> AbstractContextManager[pa.NativeFile]:
        """Write a new file: durable once the context ends, and gone if it ends with an error."""
        ...

    def flush(self, folder: str) -> None:
        """Make the names of what was created in a folder durable."""
        ...

    def move(self, moves: Mapping[str, str]) -> None:
        """Give files their new paths, each atomically, replacing what is there.

        What is not there any more was moved before. It is durable afterwards.
        """
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; what is not there is no matter."""
        ...

    def turn(self, path: str) -> AbstractContextManager[Turn]:
        """Wait for one's turn to write.

        Raises:
            DestinationLockedError: It did not come in time.
        """
        ...

    def close(self) -> None:
        """Close what is open to the root."""
        ...
