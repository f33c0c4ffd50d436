"""Quotes names as SQL identifiers, shortens long ones, and makes keys of locks."""

import hashlib

from s3pq_dagster.errors import UnsupportedSchemaError

MOST_BYTES = 63
"""Most bytes in a name; PostgreSQL truncates longer ones without an error."""
_DIGITS = 16


def quoted(identifier: str) -> str:
    """Quote a name as an SQL identifier; names reach SQL in no other way.

    Raises:
        UnsupportedSchemaError: The name is empty, has NUL in it, or is too long.
    """
    if not is_usable(identifier) or is_long(identifier):
        msg = (
            f"{identifier!r} cannot be a name in PostgreSQL: it is empty, holds NUL or has more "
            f"than {MOST_BYTES} bytes"
        )
        raise UnsupportedSchemaError(msg)
    return '"' + identifier.replace('"', '""') + '"'


def is_usable(identifier: str) -> bool:
    """Return whether a name, of any length, can be an identifier."""
    return bool(identifier) and "\x00" not in identifier


def is_long(identifier: str) -> bool:
    """Return whether PostgreSQL would truncate a name."""
    return len(identifier.encode()) > MOST_BYTES


def stored_name(table: str) -> str:
    """Return a table's name in the database: a long one is shortened and ends with its hash."""
    if not is_long(table):
        return table
    kept = table.encode()[: MOST_BYTES - 1 - _DIGITS].decode(errors="ignore")
    return f"{kept}_{hashlib.sha256(table.encode()).hexdigest()[:_DIGITS]}"


def refreshed_name(table: str) -> str:
    """Return the name of the new table that a refresh fills; only its transaction sees it."""
    return f"_s3pq_new_{hashlib.sha256(table.encode()).hexdigest()[:_DIGITS]}"


def lock_key(namespace: str, table: str) -> int:
    """Return the advisory lock's key of a table, or of the namespace if ``table`` is empty."""
    digest = hashlib.sha256(f"s3pq\x00{namespace}\x00{table}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
