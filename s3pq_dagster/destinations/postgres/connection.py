"""One connection: statements, transactions, streams in and out."""

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcDatabase
from adbc_driver_postgresql import ConnectionOptions, dbapi

from s3pq_dagster.destinations.postgres.failures import cannot_connect
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.logs import line

WRITING = "ISOLATION LEVEL READ COMMITTED"
ONE_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TYPES: dict[type, pa.DataType] = {
    type(None): pa.string(),
    str: pa.string(),
    int: pa.int64(),
    bytes: pa.binary(),
    list: pa.list_(pa.string()),
}
"""How parameters go; SQL says of those that may be ``None`` what they are. Times go as text."""


class Connection:
    """An open connection.

    The driver has to know of each transaction: where it believes that there is none, it commits
    some statements itself. But it would keep one open while nothing is done, and servers end
    connections that are idle in a transaction. So it is told when one begins and when it ends.
    """

    def __init__(self, driver: dbapi.Connection) -> None:
        self._driver = driver
        self._in_transaction = False
        self._driver.adbc_connection.set_autocommit(True)

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement and fetch all it returns."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql, _bound(parameters))
            return cursor.fetchall() if cursor.description else []

    def one(self, sql: str, *parameters: Any) -> Any:
        """Run a statement that returns one value, and give that."""
        ((found,),) = self.rows(sql, *parameters)
        return found

    def run(self, sql: str, *parameters: Any) -> None:
        """Run a statement."""
        self.rows(sql, *parameters)

    def table(self, sql: str, *parameters: Any) -> pa.Table:
        """Run a statement and fetch all it returns, in columns."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql, _bound(parameters))
            return cursor.fetch_arrow_table()

    def ingest(self, namespace: str, table: str, rows: pa.RecordBatchReader | pa.Table) -> int:
        """Append rows by binary COPY, columns by name; give their number."""
        with self._driver.cursor() as cursor:
            return int(cursor.adbc_ingest(table, rows, mode="append", db_schema_name=namespace))

    @contextmanager
    def stream(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """Stream what a statement returns."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql)
            yield cursor.fetch_record_batch()

    @contextmanager
    def transaction(self, how: str = WRITING) -> Iterator[None]:
        """All or nothing; inside another, a part of that."""
        if self._in_transaction:
            yield
            return
        self._driver.adbc_connection.set_autocommit(False)
        self._in_transaction = True
        try:
            self.run(f"SET TRANSACTION {how}")
            self._expect("intrans")  # before anything is written: drivers have forgotten to begin
            yield
            # A failed transaction would be rolled back now, and that without an error.
            self._expect("intrans", "active")
            self._driver.commit()
        except BaseException:
            self._rollback()
            raise
        else:
            self._driver.adbc_connection.set_autocommit(True)
        finally:
            self._in_transaction = False

    def _expect(self, *states: str) -> None:
        """See that a transaction is open, as libpq has it from the server.

        Raises:
            DestinationError: It is not, or has failed.
        """
        option = ConnectionOptions.TRANSACTION_STATUS.value
        found = self._driver.adbc_connection.get_option(option)
        if found not in states:
            msg = (
                f"no transaction is open where one has to be (libpq says {found!r}); nothing is "
                f"committed. Run again, and report this as a bug."
            )
            raise DestinationError(msg)

    def _rollback(self) -> None:
        try:
            self._driver.rollback()
        except dbapi.Error as error:
            # The connection is lost, with which the server rolls back by itself.
            logging.getLogger(__name__).debug(line("rollback", found=type(error).__name__))
        else:
            self._driver.adbc_connection.set_autocommit(True)


@contextmanager
def connected(url: PostgresUrl) -> Iterator[Connection]:
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
        yield Connection(driver)
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


def _bound(parameters: Sequence[Any]) -> pa.RecordBatch | None:
    if not parameters:
        return None
    columns = [pa.array([each], _TYPES[type(each)]) for each in parameters]
    return pa.record_batch(columns, names=[str(n) for n in range(1, len(columns) + 1)])
