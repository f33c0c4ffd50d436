"""A DuckDB file."""

import logging
from pathlib import Path
from typing import Any, Self

import duckdb

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.places.sql import SqlPlace, quoted

_HOLD_DUCKDB = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
connection.close()
"""


class DuckDBPlace(SqlPlace):
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

    def holder(self, table: str) -> list[str]:
        assert table  # the file as a whole
        return [_HOLD_DUCKDB, str(self.path)]

    def tables(self) -> set[str]:
        if not self.path.exists():
            return set()
        return {name for (name,) in self.run("SELECT table_name FROM duckdb_tables()")}

    def stored_type(self, table: str, column: str) -> str:
        sql = f'SELECT DISTINCT typeof({quoted(column)}) FROM "{table}"'
        ((found,),) = self.run(sql)
        return str(found)

    def copied_to(self, directory: Path) -> Self:
        return type(self)(directory)

    def discard(self) -> None:
        """Do nothing: everything is in the directory."""

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path)) as connection:
            return connection.execute(sql).fetchall()
