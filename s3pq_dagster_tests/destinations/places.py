"""Every destination, with what only it knows: how to spoil, hold and look at it from outside.

A new destination is a class here and a line in ``PLACES``; ``test_contract.py`` does the rest.
"""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import duckdb

from s3pq_dagster.destinations import Destination
from s3pq_dagster.destinations.duckdb import DuckDBDestination

_HOLD_DUCKDB = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
connection.close()
"""


class Place(Protocol):
    """One destination in a directory of its own."""

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

    def held(self) -> Iterator[Callable[[], None]]:
        """Hold the destination in another process until the yielded function is called."""
        ...


class DuckDBPlace:
    """A DuckDB file."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "lake.duckdb"

    def open(
        self, *, log: logging.Logger | None = None, lock_timeout_seconds: float = 5
    ) -> Destination:
        return DuckDBDestination(str(self.path), log=log, lock_timeout_seconds=lock_timeout_seconds)

    def drop_table(self, table: str) -> None:
        self._run(f'DROP TABLE "{table}"')

    def delete_rows(self, table: str, key: str) -> None:
        self._run(f"DELETE FROM \"{table}\" WHERE _s3_key = '{key}'")

    def drop_ledger(self, *, whole: bool) -> None:
        self._run("DROP TABLE _s3pq_objects")
        if whole:
            self._run("DROP TABLE _s3pq_tables")

    def set_format_version(self, version: int) -> None:
        self._run(f"UPDATE _s3pq_tables SET format_version = {version}")

    def held(self) -> Iterator[Callable[[], None]]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD_DUCKDB, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield lambda: self._let_go(process)
        finally:
            self._let_go(process)

    @staticmethod
    def _let_go(process: subprocess.Popen[bytes]) -> None:
        process.communicate(timeout=20) if process.returncode is None else None

    def _run(self, sql: str) -> None:
        with duckdb.connect(str(self.path)) as connection:
            connection.execute(sql)


@contextmanager
def held(place: Place) -> Iterator[Callable[[], None]]:
    """Hold a place in another process; the yielded function lets go early."""
    yield from place.held()


PLACES: dict[str, Callable[[Path], Place]] = {
    "duckdb": DuckDBPlace,
}
