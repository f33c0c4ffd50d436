"""Which objects make which table."""

from collections import defaultdict
from dataclasses import dataclass

import polars as pl

from s3pq_dagster.errors import TableNameCollisionError
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.table_names import SUFFIX, bare_name, is_selected, table_name

_SCRATCH = (
    r"(?s)(?:^|/)"
    r"(?:_temporary|_delta_log|_spark_metadata|_SUCCESS|\.[^/.][^/]*|\.\.[^/]+)"
    r"(?:/|$)"
)
"""Matches a key with a segment that marks a temporary or hidden object.

A segment that starts with a dot is hidden; ``.`` and ``..`` themselves are names like any other.
"""
_PREFIX = r"(?s)^(.*/)"
"""Captures a key's prefix, up to and including its last slash."""


@dataclass(frozen=True, slots=True)
class TableListing:
    """A table and the objects it is made of."""

    name: str
    prefix: str
    """The raw prefix, ending in ``/``; a root object's is its key."""
    listing: Listing


@dataclass(frozen=True, slots=True)
class Grouping:
    """A listing's objects by prefix, and how many were left out."""

    by_prefix: dict[str, Listing]
    """Parquet objects of each prefix, sorted by prefix."""
    ignored: int
    """Number of Parquet objects in temporary or hidden places."""
    other: int
    """Number of objects that are not Parquet, directory markers included."""


def group_by_prefix(listing: Listing) -> Grouping:
    """Group a listing's Parquet objects by the part of their keys up to the last slash.

    An object at the bucket's root is a group of its own. Objects in a temporary or hidden place
    (``_temporary/``, ``.staging/``) are left out.
    """
    key = pl.col("key")
    parquet = listing.frame.filter(
        key.str.slice(key.str.len_chars() - len(SUFFIX)).str.to_lowercase() == SUFFIX
    )
    kept = parquet.filter(~key.str.contains(_SCRATCH))
    prefixed = kept.with_columns(prefix=pl.coalesce(key.str.extract(_PREFIX, 1), key))
    parts = prefixed.partition_by("prefix", as_dict=True, include_key=False)
    return Grouping(
        by_prefix={str(prefix): Listing(part) for (prefix,), part in sorted(parts.items())},
        ignored=parquet.height - kept.height,
        other=len(listing) - parquet.height,
    )


def tables_in(
    grouping: Grouping, *, tables: list[str], skip_tables: list[str]
) -> list[TableListing]:
    """Name the table of each prefix, and keep those whose names are selected.

    Args:
        grouping: Result of :func:`group_by_prefix`.
        tables: Globs of names to keep.
        skip_tables: Globs of names to leave out again.

    Returns:
        The tables sorted by name. A name that is filtered out cannot collide; an empty one passes
        ``*`` but not ``?*``.

    Raises:
        TableNameError: A prefix that passes gives an empty name.
        TableNameCollisionError: Two prefixes give one name, or names that differ only by case.
    """
    found = [
        TableListing(table_name(prefix), prefix, listing)
        for prefix, listing in grouping.by_prefix.items()
        if is_selected(bare_name(prefix), tables=tables, skip_tables=skip_tables)
    ]
    by_folded: defaultdict[str, list[TableListing]] = defaultdict(list)
    for table in found:
        by_folded[table.name.casefold()].append(table)
    collisions = [
        (" / ".join(sorted({t.name for t in same})), [t.prefix for t in same])
        for same in by_folded.values()
        if len(same) > 1
    ]
    if collisions:
        raise TableNameCollisionError(collisions)
    return sorted(found, key=lambda table: table.name)
