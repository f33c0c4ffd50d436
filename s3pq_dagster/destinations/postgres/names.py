"""Names as SQL, cut and hashed as PostgreSQL needs them."""

import hashlib

from s3pq_dagster.errors import UnsupportedSchemaError

MOST_BYTES = 63
"""Of a name; PostgreSQL cuts longer ones without an error."""
_DIGITS = 16


def quoted(identifier: str) -> str:
    """Quote an SQL identifier: the one place where a name becomes SQL.

    Raises:
        UnsupportedSchemaError: The name is empty, holds NUL, or is so long that it would be cut.
    """
    if not is_usable(identifier) or is_long(identifier):
        msg = (
            f"{identifier!r} cannot be a name in PostgreSQL: it is empty, holds NUL or has more "
            f"than {MOST_BYTES} bytes"
        )
        raise UnsupportedSchemaError(msg)
    return '"' + identifier.replace('"', '""') + '"'


def is_usable(identifier: str) -> bool:
    """Tell whether a name of any length is one at all."""
    return bool(identifier) and "\x00" not in identifier


def is_long(identifier: str) -> bool:
    """Tell whether PostgreSQL would cut a name."""
    return len(identifier.encode()) > MOST_BYTES


def stored_name(table: str) -> str:
    """Give the name a table has in the database: its own, or cut and with a hash of the whole."""
    if not is_long(table):
        return table
    kept = table.encode()[: MOST_BYTES - 1 - _DIGITS].decode(errors="ignore")
    return f"{kept}_{hashlib.sha256(table.encode()).hexdigest()[:_DIGITS]}"


def refreshed_name(table: str) -> str:
    """Give the name a table has while it is refreshed into a new one; nobody else sees it."""
    return f"_s3pq_new_{hashlib.sha256(table.encode()).hexdigest()[:_DIGITS]}"


def lock_key(namespace: str, table: str) -> int:
    """Give the advisory lock's key of a table; an empty one is the namespace's own."""
    digest = hashlib.sha256(f"s3pq\x00{namespace}\x00{table}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
