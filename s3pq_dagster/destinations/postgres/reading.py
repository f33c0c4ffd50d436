"""The connection that streams a table's rows, in Arrow batches."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcDatabase
from adbc_driver_postgresql import dbapi

from s3pq_dagster.destinations.postgres.failures import cannot_connect
from s3pq_dagster.destinations.postgres.statements import ONE_SNAPSHOT, Statements
from s3pq_dagster.destinations.postgres.url import PostgresUrl


class ReadingConnection(Statements):
    """An open connection that only reads."""

    def __init__(self, driver: dbapi.Connection) -> None:
        self._driver = driver

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """See :meth:`Statements.rows`."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql, _bound(parameters))
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all queries in the context see the database at one moment."""
        # Autocommit has to be off in the driver too: else it commits after each statement, and a
        # REPEATABLE READ snapshot ends with its transaction.
        self._driver.adbc_connection.set_autocommit(False)
        self.run(f"SET TRANSACTION {ONE_SNAPSHOT}")
        yield

    @contextmanager
    def stream(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """Stream the rows that a query returns."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql)
            yield cursor.fetch_record_batch()


@contextmanager
def connected_for_reading(url: PostgresUrl) -> Iterator[ReadingConnection]:
    """Open a connection.

    Raises:
        DestinationError: The server cannot be reached.
        DestinationDeniedError: The server refuses the connection.
    """
    try:
        driver = dbapi.Connection(_SharedDatabase(), AdbcConnection(_database(url.text)))
    except dbapi.Error as error:
        raise cannot_connect(error, url) from None
    try:
        driver.adbc_connection.set_autocommit(True)
        yield ReadingConnection(driver)
    finally:
        driver.close()


@functools.lru_cache(maxsize=8)
def _database(url: str) -> AdbcDatabase:
    """Open a database once per process: the driver then asks for all types, which takes longest."""
    made: AdbcDatabase = adbc_driver_postgresql.connect(url)
    return made


class _SharedDatabase:
    """Stands in for the database that a driver's connection would close with itself."""

    def close(self) -> None:
        """Leave the database open; it holds no connection."""


def _bound(parameters: Sequence[str]) -> pa.RecordBatch | None:
    if not parameters:
        return None
    columns = [pa.array([each], pa.string()) for each in parameters]
    return pa.record_batch(columns, names=[str(n) for n in range(1, len(columns) + 1)])
