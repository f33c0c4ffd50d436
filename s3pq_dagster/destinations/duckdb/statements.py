"""Runs SQL over one DuckDB connection: statements, transactions, Arrow data by name."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.logs import line

_READ_ROWS = 32_768
"""Rows in a batch that is read back."""


class Statements:
    """Runs the statements of one connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._in_transaction = False
        self.is_commit_in_doubt = False
        """Whether a COMMIT failed. The transaction may be committed all the same: DuckDB may fail
        afterwards, when it writes what is committed from its log into the file."""
        self._names: set[str] = set()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        return self._connection.execute(sql, list(parameters)).fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement."""
        self.rows(sql, parameters)

    def arrow(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Run a query and return its rows in Arrow's columns."""
        return self._connection.sql(sql, params=list(parameters)).to_arrow_table()

    def existing(self, namespace: str, names: Sequence[str]) -> set[str]:
        """Return those of the names that are tables of a namespace, in whatever case."""
        found = self.rows(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = "
            "current_database() AND lower(table_name) IN (SELECT lower(unnest(?::VARCHAR[])))",
            [list(names)],
        )
        # lower() in SQL folds every letter, while DuckDB folds only ASCII letters in names: the
        # query finds too much, and the comparison here decides.
        space = schemas.folded(namespace)
        there = {schemas.folded(name) for each, name in found if schemas.folded(each) == space}
        return {name for name in names if schemas.folded(name) in there}

    def reader(self, sql: str) -> pa.RecordBatchReader:
        """Run a query and stream its rows; whoever asks closes the reader."""
        return self._connection.sql(sql).to_arrow_reader(_READ_ROWS)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything done in the context, or nothing; nested contexts join the outer one."""
        if self._in_transaction:
            yield
            return
        self.run("BEGIN TRANSACTION")
        self._in_transaction = True
        is_commit = False
        try:
            yield
            is_commit = True
            self.run("COMMIT")
        except BaseException:
            self.is_commit_in_doubt = is_commit
            self._rollback()
            raise
        finally:
            self._in_transaction = False

    def _rollback(self) -> None:
        try:
            self.run("ROLLBACK")
        except duckdb.Error as error:
            # A failed COMMIT has rolled back by itself; closing the connection does the rest.
            logging.getLogger(__name__).debug(line("rollback", found=error))
        self._unregister()

    @contextmanager
    def registered(self, name: str, data: Any) -> Iterator[None]:
        """Make Arrow data visible to SQL under a name, until the context ends."""
        # DuckDB refuses even to unregister a name in a failed transaction. Names that could not be
        # unregistered are kept in the set, and unregistered after the rollback.
        self._connection.register(name, data)
        self._names.add(name)
        try:
            yield
        finally:
            self._unregister()

    def _unregister(self) -> None:
        for name in list(self._names):
            with suppress(duckdb.Error):
                self._connection.unregister(name)
                self._names.discard(name)
