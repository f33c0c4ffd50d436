"""How tests create, damage, lock, copy and inspect a destination from outside the package."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from s3pq_dagster.destinations.protocol import Destination


class Place(Protocol):
    """An empty destination in a directory or database of its own."""

    url: str
    """The value of ``S3PQ_DESTINATION`` that selects it."""
    takes_turns: bool
    """Whether a second writer of a table waits; otherwise its commit fails and is retried."""
    readers_wait: bool
    """Whether readers of a table wait for its writer."""

    def open(
        self, *, log: logging.Logger | None = None, lock_timeout_seconds: float = 5
    ) -> Destination:
        """Open the destination; every call opens the same place."""
        ...

    def drop_table(self, table: str) -> None:
        """Drop a table without the destination's knowledge."""
        ...

    def delete_rows(self, table: str, key: str) -> None:
        """Delete an object's rows without the destination's knowledge."""
        ...

    def drop_ledger(self, *, whole: bool) -> None:
        """Drop the ledger; unless ``whole``, only its table of objects."""
        ...

    def set_format_version(self, version: int) -> None:
        """Set the ledger's format version, as if another release had written it."""
        ...

    def holder(self, table: str) -> list[str]:
        """Return a script and its arguments that lock a table until the script's input ends.

        The script prints ``held`` once it has the lock. Unused where writers do not wait.
        """
        ...

    def tables(self) -> set[str]:
        """Return the names of all tables, the ledger's included, as a user would find them."""
        ...

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """Read columns of a table with a general engine, as its users do."""
        ...

    def stored_type(self, table: str, column: str) -> str:
        """Return a column's type as the destination names it."""
        ...

    def copied_to(self, directory: Path) -> Self:
        """Make a copy; ``directory`` already holds a copy of this place's files."""
        ...

    def discard(self) -> None:
        """Drop whatever is outside the place's directory."""
        ...


@contextmanager
def held(place: Place, table: str) -> Iterator[Callable[[], None]]:
    """Lock a table in another process; the yielded function releases it early."""
    process = subprocess.Popen(
        [sys.executable, "-c", *place.holder(table)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def let_go() -> None:
        if process.returncode is None:
            process.communicate(timeout=20)

    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield let_go
    finally:
        let_go()
