"""The name of the table of a prefix, and which names are loaded."""

import re
from fnmatch import fnmatchcase

from s3pq_dagster.errors import TableNameError
from s3pq_dagster.layout.template import SUFFIX


def bare_name(prefix: str) -> str:
    """Make a table name of a prefix, by cq-source-s3's rule.

    The extension of a root object is cut; whatever is not an ASCII letter, digit or underscore
    becomes ``_``; runs of ``_`` collapse; ``_`` is trimmed at both ends.

    Args:
        prefix: Prefix of the keys, with its last slash; or the key of a root object.

    Returns:
        The name; empty where no character is left.
    """
    stem = prefix if prefix.endswith("/") else prefix[: -len(SUFFIX)]
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")


def table_name(prefix: str) -> str:
    """Make a table name of a prefix as :func:`bare_name` does, but never an empty one.

    Raises:
        TableNameError: The name would be empty.
    """
    if name := bare_name(prefix):
        return name
    raise TableNameError(prefix)


def is_selected(name: str, *, tables: list[str], skip_tables: list[str]) -> bool:
    """Return whether a table name passes the globs; case counts."""
    return any(fnmatchcase(name, glob) for glob in tables) and not any(
        fnmatchcase(name, glob) for glob in skip_tables
    )
