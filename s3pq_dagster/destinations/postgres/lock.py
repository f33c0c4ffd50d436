"""The lock of a table, which lasts as long as the connection that writes it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from s3pq_dagster.destinations.postgres.connection import Connection
from s3pq_dagster.destinations.postgres.names import lock_key
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.errors import DestinationLockedError
from s3pq_dagster.logs import line

_HOLDER = """
    SELECT format('server process %s of %s, %s, from %s, since %s', pid, usename,
                  coalesce(nullif(application_name, ''), 'unnamed'),
                  coalesce(host(client_addr), 'the server'), backend_start::timestamptz(0))
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = $1
"""


@contextmanager
def locked(
    connection: Connection,
    url: PostgresUrl,
    namespace: str,
    table: str,
    *,
    timeout_seconds: float,
    log: logging.Logger,
) -> Iterator[None]:
    """Hold a table for writing; whoever else wants it waits, and reading goes on.

    The lock is the session's: if the connection is lost so is the lock, and with both whatever
    was not committed.

    Raises:
        DestinationLockedError: Another has it for longer than the timeout.
    """
    key = lock_key(namespace, table)

    def once() -> None:
        if not connection.one("SELECT pg_try_advisory_lock($1)", key):
            holder = next((who for (who,) in connection.rows(_HOLDER, key)), "gone by now")
            msg = f"table {table!r} in {url} is written by another process ({holder})"
            raise DestinationLockedError(msg)

    def say(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            line(
                "destination_locked",
                database=url,
                table=table,
                waited_seconds=round(state.seconds_since_start or 0, 1),
                give_up_after_seconds=timeout_seconds,
                found=error,
            )
        )

    Retrying(
        retry=retry_if_exception_type(DestinationLockedError),
        stop=stop_after_delay(timeout_seconds),
        wait=wait_random_exponential(multiplier=0.05, max=5),
        before_sleep=say,
        reraise=True,
    )(once)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # the connection is lost, and the lock with it
            connection.run("SELECT pg_advisory_unlock($1)", key)
