"""The connection that reads state and writes: statements, transactions, binary COPY."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg.pq import TransactionStatus

from s3pq_dagster.destinations.postgres.failures import cannot_connect, message
from s3pq_dagster.destinations.postgres.names import quoted
from s3pq_dagster.destinations.postgres.statements import Statements
from s3pq_dagster.destinations.postgres.times import as_microseconds
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.logs import line

WRITING = "ISOLATION LEVEL READ COMMITTED"
_CANCEL_SECONDS = 10
_READ_ROWS = 10_000
"""Rows in a piece that is read back."""


class Connection(Statements):
    """An open connection.

    Outside :meth:`transaction` each statement commits by itself: a writer spends most of its time
    waiting for S3, and servers end connections that are idle in a transaction. A connection whose
    statement was interrupted can only be closed.
    """

    def __init__(self, driver: psycopg.Connection, url: PostgresUrl) -> None:
        self._driver = driver
        self.url = url
        self._in_transaction = False

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """See :meth:`Statements.rows`."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def copy(self, into: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        """Append rows to a table by binary COPY, matching columns by name.

        Args:
            into: The table, as SQL.
            schema: Schema of the batches, of the types that :mod:`values` produces.
            batches: The rows. While the server reads a batch, the next one is encoded.

        Returns:
            The number of rows.
        """
        encoder = ArrowToPostgresBinaryEncoder(schema)
        columns = ", ".join(map(quoted, schema.names))
        sql = f"COPY {into} ({columns}) FROM STDIN (FORMAT binary)"
        with self._driver.cursor() as cursor:
            with cursor.copy(sql.encode()) as copy:
                copy.write(encoder.write_header())
                for batch in batches:
                    copy.write(encoder.write_batch(batch))
                copy.write(encoder.finish())
            return cursor.rowcount

    @contextmanager
    def transaction(self, how: str = WRITING) -> Iterator[None]:
        """Commit everything done in the context, or nothing; nested contexts join the outer one."""
        if self._in_transaction:
            yield
            return
        self._in_transaction = True
        try:
            self.run(f"BEGIN {how}")
            yield
            self._expect_transaction()
            self._commit()
        except BaseException:
            self._rollback()
            raise
        finally:
            self._in_transaction = False

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Let the transaction that is open go on after an error of the server in the context.

        Rows that are inserted in the context, or written anew by ALTER TABLE, have a transaction
        number of their own, as if another transaction had inserted them.
        """
        self.run("SAVEPOINT s3pq")
        try:
            yield
        except psycopg.Error:
            with suppress(psycopg.Error):
                self.run("ROLLBACK TO SAVEPOINT s3pq")
            raise
        self.run("RELEASE SAVEPOINT s3pq")

    @contextmanager
    def column(self, sql: str) -> Iterator[Iterator[list[Any]]]:
        """Stream the only column of a query's rows in pieces; a transaction has to be open.

        Times are integers: microseconds since 1970.
        """
        self.run(f"DECLARE s3pq NO SCROLL CURSOR FOR {sql}")
        with self._driver.cursor(binary=True) as cursor:
            as_microseconds(cursor.adapters)
            yield self._fetched(cursor)
        # Only now: an error has to roll back, which closes it, too.
        self.run("CLOSE s3pq")

    def _fetched(self, cursor: psycopg.Cursor) -> Iterator[list[Any]]:
        while found := cursor.execute(f"FETCH {_READ_ROWS} FROM s3pq".encode()).fetchall():
            yield [value for (value,) in found]

    def _expect_transaction(self) -> None:
        """Check that a transaction is open and has not failed.

        Raises:
            DestinationError: No transaction is open, or it has failed.
        """
        # COMMIT of a failed transaction is no error in PostgreSQL: the server answers ROLLBACK and
        # the driver reports success, so that lost rows would go unnoticed.
        found = self._driver.info.transaction_status
        if found != TransactionStatus.INTRANS:
            msg = (
                f"no transaction is open where one has to be (libpq says {found.name!r}); nothing "
                f"is committed. Run again, and report this as a bug."
            )
            raise DestinationError(msg)

    def _commit(self) -> None:
        """Commit.

        Raises:
            DestinationError: The connection broke before the server's answer came.
        """
        try:
            self._driver.commit()
        except psycopg.OperationalError as error:
            if not self._driver.broken:
                raise  # the server's answer: it has rolled back
            raise DestinationError(
                f"the connection to PostgreSQL broke during a commit: {message(error)}. Whether "
                f"the commit stands is not known here. Run again: the next run finds out from the "
                f"ledger, and does not read again what is committed."
            ) from error

    def _rollback(self) -> None:
        try:
            self._driver.rollback()
        except psycopg.Error as error:
            # The connection is lost, or was interrupted in a statement and is about to be closed.
            # In both cases the server rolls back by itself.
            logging.getLogger(__name__).debug(line("rollback", found=type(error).__name__))


@contextmanager
def connected(url: PostgresUrl) -> Iterator[Connection]:
    """Open a connection.

    Raises:
        DestinationError: The server cannot be reached.
        DestinationDeniedError: The server refuses the connection.
    """
    try:
        driver = psycopg.Connection.connect(
            url.text,
            autocommit=True,
            prepare_threshold=None,  # a connection pooler may not keep prepared statements
            cursor_factory=psycopg.RawCursor,
        )
    except (psycopg.Error, UnicodeError) as error:  # UnicodeError: IDNA refuses the host name
        raise cannot_connect(error, url) from None
    try:
        yield Connection(driver, url)
    finally:
        if driver.info.transaction_status == TransactionStatus.ACTIVE:
            # A statement was interrupted. The server would go on with it and keep the table locked.
            with suppress(psycopg.Error):
                driver.cancel_safe(timeout=_CANCEL_SECONDS)
        driver.close()
