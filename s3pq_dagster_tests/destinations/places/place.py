"""What only a destination itself knows: how to spoil, hold, copy and look at it from outside."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from s3pq_dagster.destinations.protocol import Destination


class Place(Protocol):
    """One destination, made in a directory of its own."""

    url: str
    """What ``S3PQ_DESTINATION`` says to have it."""
    takes_turns: bool
    """Whether a second writer of a table waits; where not, its commit fails and it runs again."""
    readers_wait: bool
    """Whether who only looks at a table waits for who writes it."""

    def open(
        self, *, log: logging.Logger | None = None, lock_timeout_seconds: float = 5
    ) -> Destination:
        """Make the destination; as often as wanted, all of one place."""
        ...

    def drop_table(self, table: str) -> None:
        """Drop a table behind the destination's back."""
        ...

    def delete_rows(self, table: str, key: str) -> None:
        """Delete an object's rows behind the destination's back."""
        ...

    def drop_ledger(self, *, whole: bool) -> None:
        """Drop the ledger behind the destination's back, or only its objects."""
        ...

    def set_format_version(self, version: int) -> None:
        """Pretend that another release wrote the ledger."""
        ...

    def holder(self, table: str) -> list[str]:
        """Give a script and its arguments: it holds a table until its input ends.

        It says so by a line ``held``. Where writers do not take turns, nobody can.
        """
        ...

    def tables(self) -> set[str]:
        """Name every table that is there, the ledger's included, as anybody would find them."""
        ...

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """Read columns of a table as its users do, with an engine that knows nothing of us."""
        ...

    def stored_type(self, table: str, column: str) -> str:
        """Name the type a column has in the destination's own words."""
        ...

    def copied_to(self, directory: Path) -> Self:
        """Make a copy; ``directory`` is one already, files included, of this place's directory."""
        ...

    def discard(self) -> None:
        """Drop what is not in the place's directory."""
        ...


@contextmanager
def held(place: Place, table: str) -> Iterator[Callable[[], None]]:
    """Hold a table in another process; the yielded function lets go early."""
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
