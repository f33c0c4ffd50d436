"""The lock of a table, which lasts as long as the connection that writes it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.destinations.postgres.connection import Connection
from s3pq_dagster.destinations.postgres.names import lock_key
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.errors import DestinationLockedError

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

    wait_for_lock(once, timeout_seconds=timeout_seconds, log=log, database=url, table=table)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # the connection is lost, and the lock with it
            connection.run("SELECT pg_advisory_unlock($1)", key)
