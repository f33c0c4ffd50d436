"""One connection that reads a table out, in Arrow batches."""

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


class Reading(Statements):
    """An open connection that sees one moment and changes nothing."""

    def __init__(self, driver: dbapi.Connection) -> None:
        self._driver = driver

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """See :meth:`Statements.rows`."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql, _bound(parameters))
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """See one moment from the next statement on."""
        # The driver has to know: where it believes that there is none, it commits.
        self._driver.adbc_connection.set_autocommit(False)
        self.run(f"SET TRANSACTION {ONE_SNAPSHOT}")
        yield

    @contextmanager
    def stream(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """Stream what a statement returns."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql)
            yield cursor.fetch_record_batch()


@contextmanager
def reading(url: PostgresUrl) -> Iterator[Reading]:
    """Open a connection.

    Raises:
        DestinationError: The server cannot be reached.
        DestinationDeniedError: It refuses.
    """
    try:
        driver = dbapi.Connection(_Kept(), AdbcConnection(_database(url.text)))
    except dbapi.Error as error:
        raise cannot_connect(error, url) from None
    try:
        driver.adbc_connection.set_autocommit(True)
        yield Reading(driver)
    finally:
        driver.close()


@functools.lru_cache(maxsize=8)
def _database(url: str) -> AdbcDatabase:
    """Ask a server which types it knows, once a process: that takes longer than all else here."""
    made: AdbcDatabase = adbc_driver_postgresql.connect(url)
    return made


class _Kept:
    """Stands for a database that outlasts its connections."""

    def close(self) -> None:
        """Do nothing: it holds no connection."""


def _bound(parameters: Sequence[str]) -> pa.RecordBatch | None:
    if not parameters:
        return None
    columns = [pa.array([each], pa.string()) for each in parameters]
    return pa.record_batch(columns, names=[str(n) for n in range(1, len(columns) + 1)])
