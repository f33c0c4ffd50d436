"""The lock of a table while it is written."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.destinations.postgres.connection import Connection
from s3pq_dagster.destinations.postgres.names import lock_key
from s3pq_dagster.destinations.postgres.statements import Statements
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.errors import DestinationLockedError

_WHO = """
    SELECT pid, format('server process %s of %s, %s, from %s, since %s', pid, usename,
                  coalesce(nullif(application_name, ''), 'unnamed'),
                  coalesce(host(client_addr), 'the server'), backend_start::timestamptz(0))
    FROM pg_locks JOIN pg_stat_activity USING (pid)
"""
OPEN_IN = f"""
    {_WHO} WHERE locktype = 'relation' AND granted AND pid <> pg_backend_pid()
    AND relation = to_regclass($1::text)
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY backend_start
"""
"""Number and description of each server process that has a table open, if only for reading."""
_HOLDER = f"""
    {_WHO} WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = $1
"""


def holder_of(connection: Statements, key: int) -> str | None:
    """Describe the server process that has the lock of a table; ``None`` if none has."""
    return next((str(who) for _, who in connection.rows(_HOLDER, key)), None)


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
    """Lock a table against other writers until the context ends; readers are not kept waiting.

    Raises:
        DestinationLockedError: Another writer holds the lock for longer than the timeout.
    """
    # A session-level advisory lock lasts as long as the connection, and the same connection writes:
    # a writer that lost the lock has lost its connection too, and cannot commit any more. So
    # nothing has to expire, or be cleaned up after a crash.
    key = lock_key(namespace, table)

    def acquire() -> None:
        if not connection.one("SELECT pg_try_advisory_lock($1)", key):
            holder = holder_of(connection, key) or "gone by now"
            msg = f"table {table!r} in {url} is written by another process ({holder})"
            raise DestinationLockedError(msg)

    wait_for_lock(acquire, timeout_seconds=timeout_seconds, log=log, database=url, table=table)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # the connection is lost, and the lock with it
            connection.run("SELECT pg_advisory_unlock($1)", key)
