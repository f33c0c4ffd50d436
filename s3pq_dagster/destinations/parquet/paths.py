"""Where everything is below the root, and what files are called."""

import re
import secrets

from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES
from s3pq_dagster.errors import DestinationDeniedError

STAGED = "_s3pq_staged"
"""Holds what is written and not yet at its place; outside of every table's glob."""
SUFFIX = ".parquet"
_LONGEST_STEM = 100
_LONGEST_TABLE = 200
"""Most file systems end at 255 bytes a name."""
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_ID = re.compile(r"[0-9a-f]{24}")
_EDGES = "._-"
"""Engines leave out files whose names begin with a dot or an underscore."""


def check_table(table: str) -> None:
    """Refuse a table's name that would be a path, ours, or too long for a file.

    Raises:
        DestinationDeniedError: It says why.
    """
    is_path = table in {"", ".", ".."} or any(c in table for c in "/\\\x00")
    if is_path or table.startswith("_s3pq_") or len(table.encode()) > _LONGEST_TABLE:
        msg = (
            f"table {table!r} cannot be a directory of Parquet files: a name is at most "
            f"{_LONGEST_TABLE} bytes, no path, and does not begin with '_s3pq_'. Rename its "
            f"prefix, or leave it out with `skip_tables`."
        )
        raise DestinationDeniedError(msg)


def manifest_path(table: str) -> str:
    """Place a table's ledger."""
    return f"{OBJECTS}/{table}{SUFFIX}"


def report_path(table: str) -> str:
    """Place what is said of a table as a whole."""
    return f"{TABLES}/{table}{SUFFIX}"


def lock_path(table: str) -> str:
    """Place the lock, or lease, of a table's one writer."""
    return f"{STAGED}/{table}.lock"


def staged_folder(table: str) -> str:
    """Place what a writer has under way."""
    return f"{STAGED}/{table}"


def staged_path(table: str, file_id: str) -> str:
    """Place a file until it is committed and moved."""
    return f"{STAGED}/{table}/{file_id}{SUFFIX}"


def final_path(table: str, name: str) -> str:
    """Place a file where engines find it."""
    return f"{table}/{name}"


def new_id() -> str:
    """Draw what no other file ever has."""
    return secrets.token_hex(12)


def file_name(key: str, file_id: str) -> str:
    """Name the file of an object that has none yet.

    The id makes it one that never was there, so whatever comes late, a deletion or a copy, cannot
    hit another's file. The rest is for people. No part of a key becomes a path.
    """
    last = key.rstrip("/").rpartition("/")[2]
    stem = last[: -len(SUFFIX)] if last.lower().endswith(SUFFIX) else last
    readable = _ODD.sub("_", stem)[:_LONGEST_STEM].strip(_EDGES) or "object"
    return f"{readable}-{file_id}{SUFFIX}"


def is_file_name_of(name: str, key: str) -> bool:
    """Tell whether a name is one that :func:`file_name` gives to a key."""
    file_id = name.removesuffix(SUFFIX).rpartition("-")[2]
    return _ID.fullmatch(file_id) is not None and file_name(key, file_id) == name
