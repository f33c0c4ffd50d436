"""One connection that looks and writes: statements, transactions, rows going in."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg.pq import TransactionStatus

from s3pq_dagster.destinations.postgres.failures import cannot_connect
from s3pq_dagster.destinations.postgres.names import quoted
from s3pq_dagster.destinations.postgres.statements import Statements
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.logs import line

WRITING = "ISOLATION LEVEL READ COMMITTED"
_CANCEL_SECONDS = 10


class Connection(Statements):
    """An open connection.

    Outside :meth:`transaction` each statement commits itself: servers end connections that are
    idle in a transaction. One that was interrupted in a statement can only be closed.
    """

    def __init__(self, driver: psycopg.Connection) -> None:
        self._driver = driver
        self._in_transaction = False

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """See :meth:`Statements.rows`."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def copy(self, into: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        """Append rows by binary COPY, columns by name; give their number.

        Args:
            into: A table, as SQL.
            schema: Of the batches, of types that :mod:`values` makes.
            batches: The rows; each is sent while the next is made.
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
        """All or nothing; inside another, a part of that."""
        if self._in_transaction:
            yield
            return
        self._in_transaction = True
        try:
            self.run(f"BEGIN {how}")
            yield
            self._expect_transaction()
            self._driver.commit()
        except BaseException:
            self._rollback()
            raise
        finally:
            self._in_transaction = False

    def _expect_transaction(self) -> None:
        """See that one is open: the server rolls back a failed one, and calls that a success.

        Raises:
            DestinationError: None is, or it has failed.
        """
        found = self._driver.info.transaction_status
        if found != TransactionStatus.INTRANS:
            msg = (
                f"no transaction is open where one has to be (libpq says {found.name!r}); nothing "
                f"is committed. Run again, and report this as a bug."
            )
            raise DestinationError(msg)

    def _rollback(self) -> None:
        try:
            self._driver.rollback()
        except psycopg.Error as error:
            # The connection is lost, or in a statement that was interrupted, so that it is closed
            # next. With it the server rolls back by itself.
            logging.getLogger(__name__).debug(line("rollback", found=type(error).__name__))


@contextmanager
def connected(url: PostgresUrl) -> Iterator[Connection]:
    """Open a connection.

    Raises:
        DestinationError: The server cannot be reached.
        DestinationDeniedError: It refuses.
    """
    try:
        driver = psycopg.Connection.connect(
            url.text,
            autocommit=True,
            prepare_threshold=None,  # what pools of connections do not hold
            cursor_factory=psycopg.RawCursor,
        )
    except (psycopg.Error, UnicodeError) as error:  # the latter of names that IDNA refuses
        raise cannot_connect(error, url) from None
    try:
        yield Connection(driver)
    finally:
        if driver.info.transaction_status == TransactionStatus.ACTIVE:
            # Interrupted in a statement, which the server would go on with, and hold the lock.
            with suppress(psycopg.Error):
                driver.cancel_safe(timeout=_CANCEL_SECONDS)
        driver.close()
