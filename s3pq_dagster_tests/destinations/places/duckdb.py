"""A DuckDB file."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

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


class DuckDBPlace:
    """A DuckDB file."""

    takes_turns = True
    readers_wait = True

    def __init__(self, directory: Path) -> None:
        self.path = directory / "lake.duckdb"
        self.url = f"duckdb:///{self.path}"

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

    def held(self, table: str) -> Iterator[Callable[[], None]]:
        assert table  # the file as a whole
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

    def tables(self) -> set[str]:
        if not self.path.exists():
            return set()
        return {name for (name,) in self._run("SELECT table_name FROM duckdb_tables()")}

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        return self._run(f'SELECT {", ".join(map(_quoted, columns))} FROM "{table}"')

    def stored_type(self, table: str, column: str) -> str:
        sql = f'SELECT DISTINCT typeof({_quoted(column)}) FROM "{table}"'
        ((found,),) = self._run(sql)
        return str(found)

    def copied_to(self, directory: Path) -> Self:
        return type(self)(directory)

    def discard(self) -> None:
        """Everything is in the directory."""

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path)) as connection:
            return connection.execute(sql).fetchall()


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
