"""Paths below the root, and the names of files."""

import re
import secrets

from s3pq_dagster.destinations.ledger_rows import OBJECTS, SCHEMAS, TABLES
from s3pq_dagster.errors import DestinationDeniedError

STAGED = "_s3pq_staged"
"""Folder of files that are written but not moved to their table yet; no table's glob finds it."""
SUFFIX = ".parquet"
_LONGEST_STEM = 100
_LONGEST_TABLE = 200
"""Most bytes in a table's name: most file systems allow 255 for a file's."""
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_ID = re.compile(r"[0-9a-f]{24}")
_EDGES = "._-"
"""Not at the edges of a name: engines skip files that begin with a dot or an underscore."""


def check_table(table: str) -> None:
    """Refuse a table whose name is a path, reserved for us, or too long for a file.

    Raises:
        DestinationDeniedError: The name is one of these.
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
    """Return the path of a table's manifest, which is its ledger."""
    return f"{OBJECTS}/{table}{SUFFIX}"


def report_path(table: str) -> str:
    """Return the path of a table's row of ``_s3pq_tables``."""
    return f"{TABLES}/{table}{SUFFIX}"


def schemas_path(table: str) -> str:
    """Return the path of a table's rows of ``_s3pq_schemas``."""
    return f"{SCHEMAS}/{table}{SUFFIX}"


def lock_path(table: str) -> str:
    """Return the path of the lock of a table's writer."""
    return f"{STAGED}/{table}.lock"


def staged_folder(table: str) -> str:
    """Return the folder of a table's files that are not moved yet."""
    return f"{STAGED}/{table}"


def staged_path(table: str, file_id: str) -> str:
    """Return the path of a file until it is committed and moved."""
    return f"{STAGED}/{table}/{file_id}{SUFFIX}"


def final_path(table: str, name: str) -> str:
    """Return the path of a file where engines find it."""
    return f"{table}/{name}"


def new_id() -> str:
    """Return a random id that no other file has."""
    return secrets.token_hex(12)


def file_name(key: str, file_id: str) -> str:
    """Name the file of an object that has none yet.

    No part of a key becomes a path; what is readable of it is for people.
    """
    # The id makes the name one that was never used, and that is never used again after the file
    # is deleted. So a deletion or a copy that arrives late, from a writer that lost its lock,
    # cannot hit the file of another object or of a later load.
    last = key.rstrip("/").rpartition("/")[2]
    stem = last[: -len(SUFFIX)] if last.lower().endswith(SUFFIX) else last
    readable = _ODD.sub("_", stem)[:_LONGEST_STEM].strip(_EDGES) or "object"
    return f"{readable}-{file_id}{SUFFIX}"


def is_file_name_of(name: str, key: str) -> bool:
    """Return whether :func:`file_name` gives such a name to this key."""
    file_id = name.removesuffix(SUFFIX).rpartition("-")[2]
    return _ID.fullmatch(file_id) is not None and file_name(key, file_id) == name
