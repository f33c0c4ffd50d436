"""Turns errors of PostgreSQL and its drivers into errors of this package."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from adbc_driver_manager import AdbcStatusCode

from s3pq_dagster.destinations.outcomes import ONLY_READ, ROLLED_BACK
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.errors import (
    ConfigurationError,
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
    RefusedRowsError,
    S3ParquetError,
    UnsupportedSchemaError,
)

_SERVER_SAYS = re.compile(r"\bERROR: (?P<message>.*?)[ .]*(?:Query was: .*|SQLSTATE: \w+)?$")
_PREFIX = re.compile(r"^(.*Failed to connect|connection failed|connection is bad): ")
_NOT_FOR_LIBPQ = re.compile(r"(invalid|bad value|forbidden value|could not parse)\b")
_QUESTION = re.compile(r" Is the server running .*?\?")
_DENIED = {
    "28": "Check user and password: in the URL, PGUSER and PGPASSWORD, or ~/.pgpass",
    "3D000": "Create the database, or name another in the URL",
    "42501": "Let the user do so: GRANT CREATE, USAGE on the namespace, and make it the owner of "
    "the tables or GRANT SELECT, INSERT, UPDATE, DELETE on them",
    "25006": "Connect to the primary, or let the user write",
    "XX001": "A page of a table is damaged: have the database restored from a backup",
    "XX002": "An index is damaged: have it built again with REINDEX",
    "2BP01": "Drop what depends on it, and make it again afterwards: the columns are other ones, "
    "so that the table cannot stay",
}
"""What to do, by the first characters of the SQLSTATE; trying again does not help."""
_OF_VALUES = {"22", "54"}
"""Beginnings of the SQLSTATE for values that are not valid, and for rows that are too long."""
_PASSING = {
    "53100": "the server's disk is full",
    "53200": "the server is out of memory",
    "53300": "the server has no connection left: raise max_connections, or run less at a time",
    "57014": "the server cancelled it: see statement_timeout",
    "57P": "the server ended the connection",
    "08": "the connection was lost",
    "25P03": "the server ended the connection: see idle_in_transaction_session_timeout",
}
_SAID = {
    "too many|connection slots": "53300",
    "database system is": "57P03",
    "permission denied for database": "42501",
    'database ".*" does not exist': "3D000",
    r'password|authentication|pg_hba\.conf|role ".*" (does not exist|is not permitted)': "28000",
}
"""SQLSTATE by a pattern in the message, for refused connections, where drivers give no SQLSTATE.

A message in another language matches none, and counts as an error that may pass.
"""


@contextmanager
def translated(url: PostgresUrl, *kinds: type[Exception], writes: bool = True) -> Iterator[None]:
    """Raise an error of this package in place of a driver's.

    Args:
        url: The database, for the error.
        kinds: Classes of errors that the driver raises.
        writes: Whether there is a transaction that the error rolls back.
    """
    try:
        yield
    except kinds as error:
        raise as_ours(error, url, ROLLED_BACK if writes else ONLY_READ) from error


@contextmanager
def refusals_told(url: PostgresUrl) -> Iterator[None]:
    """Raise a :class:`RefusedRowsError` where the server refuses a value that is inserted."""
    try:
        yield
    except psycopg.Error as error:
        if state_of(error)[:2] not in _OF_VALUES:
            raise
        reason = f"PostgreSQL refuses a value: {url.masked(message(error))}"
        raise RefusedRowsError(str(as_ours(error, url)), reason=reason) from error


def as_ours(error: Exception, url: PostgresUrl, outcome: str = ROLLED_BACK) -> S3ParquetError:
    """Build the error for a statement that failed; it says what came of it, and what to do."""
    state, said = state_of(error), url.masked(message(error))
    if state == "55P03":
        return DestinationLockedError(
            f"a table in {url} is locked by another process: {said}. {outcome}"
        )
    if state[:2] in _OF_VALUES:
        return UnsupportedSchemaError(
            f"PostgreSQL cannot hold what is to be written into {url} unchanged: {said}. Convert "
            f"it in the objects, or leave the table out with `skip_tables`."
        )
    if remedy := _by_beginning(_DENIED, state):
        return DestinationDeniedError(
            f"PostgreSQL refuses what is asked in {url}: {said}. {remedy}. {outcome}"
        )
    reason = _by_beginning(_PASSING, state or ("08" if _is_io(error) else ""))
    more = f" ({reason})" if reason else ""
    return DestinationError(f"PostgreSQL could not do as asked in {url}: {said}{more}. {outcome}")


def cannot_connect(error: Exception, url: PostgresUrl) -> S3ParquetError:
    """Build the error for a connection that failed; it says what to do."""
    said = _PREFIX.sub("", url.masked(message(error)))
    if isinstance(error, psycopg.ProgrammingError | UnicodeError) or _NOT_FOR_LIBPQ.match(said):
        return ConfigurationError(f"the URL of the database {url} is not one for libpq: {said}")
    # For several hosts libpq names the last failure first, and again in the list of all failures.
    said = said.partition(" All failures were: ")[2] or said
    said = _QUESTION.sub("", said)
    _, fatal, answer = said.partition("FATAL:")
    answer = answer.partition(" - host: ")[0].strip()
    state = state_of(error) or next((_SAID[w] for w in _SAID if re.search(w, said)), "")
    if "no password supplied" not in said and not fatal:
        return DestinationError(
            f"cannot reach PostgreSQL at {url}: {said}. Check host, port and network, then run "
            f"again: what is committed is not read again."
        )
    if remedy := _by_beginning(_DENIED, state):
        return DestinationDeniedError(
            f"PostgreSQL at {url} refuses the connection: {answer or said}. {remedy}."
        )
    reason = _by_beginning(_PASSING, state)
    more = f" ({reason})" if reason else ""
    return DestinationError(
        f"PostgreSQL at {url} refuses the connection: {answer}{more}. Run again later: "
        f"what is committed is not read again."
    )


def state_of(error: Exception) -> str:
    """Return the SQLSTATE, or an empty string if the driver has none."""
    if found := getattr(error, "sqlstate", None):
        return str(found)
    # psycopg refuses some values itself, without a SQLSTATE: a text with NUL in it, for example.
    return "22000" if isinstance(error, psycopg.DataError) else ""


def message(error: Exception) -> str:
    """Return the part of a message of server or libpq that helps a reader, in one line."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        diag = error.diag
        parts = [diag.message_primary, diag.message_detail, diag.message_hint, diag.context]
        return " ".join("; ".join(filter(None, parts)).split())
    details = {
        name: value.decode(errors="replace") for name, value in getattr(error, "details", [])
    }
    if primary := details.get("PG_DIAG_MESSAGE_PRIMARY"):
        return " ".join(primary.split())
    said = " ".join(str(error).split())
    found = _SERVER_SAYS.search(said)
    return found["message"] if found else said


def _is_io(error: Exception) -> bool:
    is_adbc_io = getattr(error, "status_code", None) == AdbcStatusCode.IO
    return is_adbc_io or isinstance(error, psycopg.OperationalError)


def _by_beginning(known: dict[str, str], state: str) -> str:
    return next((known[start] for start in known if state and state.startswith(start)), "")
