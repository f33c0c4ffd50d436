"""Which keys are Parquet, which prefix a key belongs to, and what table a prefix is."""

import re
from fnmatch import fnmatchcase

from s3pq_dagster.errors import TableNameError

SUFFIX = ".parquet"
"""Compared without regard to case."""

IGNORED_SEGMENTS = r"(?:_temporary|_delta_log|_spark_metadata|_SUCCESS|\.[^/.][^/]*|\.\.[^/]+)"
"""A segment of a key that marks it as somebody's scratch: regular expression, no groups.

A segment that starts with a dot is hidden; ``.`` and ``..`` themselves are names like any other.
"""

IGNORED = rf"(?s)(?:^|/){IGNORED_SEGMENTS}(?:/|$)"
"""Matches a key that has an ignored segment. Valid in ``re`` and in Polars."""

PREFIX = r"(?s)^(.*/)"
"""Captures a key's prefix, up to and including its last slash. Valid in ``re`` and in Polars."""


def is_parquet(key: str) -> bool:
    """Tell whether a key is a Parquet object that discovery keeps."""
    return key.lower().endswith(SUFFIX) and not re.search(IGNORED, key)


def prefix_of(key: str) -> str:
    """Give the prefix a key is grouped under.

    Args:
        key: A Parquet object's key.

    Returns:
        Everything up to and including the last ``/``; an object at the bucket's root is its own
        prefix.
    """
    found = re.match(PREFIX, key)
    return found.group(1) if found else key


def bare_name(prefix: str) -> str:
    """Name the table of a prefix, by cq-source-s3's rule.

    The extension of a root object is cut; whatever is not an ASCII letter, digit or underscore
    becomes ``_``; runs of ``_`` collapse; ``_`` is trimmed at both ends.

    Args:
        prefix: What :func:`prefix_of` gave.

    Returns:
        The name; empty where nothing is left.
    """
    stem = prefix if prefix.endswith("/") else prefix[: -len(SUFFIX)]
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")


def table_name(prefix: str) -> str:
    """Name the table of a prefix, as :func:`bare_name` does.

    Raises:
        TableNameError: Nothing is left.
    """
    if name := bare_name(prefix):
        return name
    raise TableNameError(prefix)


def is_selected(name: str, *, tables: list[str], skip_tables: list[str]) -> bool:
    """Tell whether a table name passes the globs, compared with regard to case."""
    return any(fnmatchcase(name, glob) for glob in tables) and not any(
        fnmatchcase(name, glob) for glob in skip_tables
    )
