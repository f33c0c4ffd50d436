"""Which objects make which table; collisions are errors."""

from collections import defaultdict
from dataclasses import dataclass

import polars as pl

from s3pq_dagster.errors import TableNameCollisionError
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.table_names import (
    IGNORED,
    PREFIX,
    SUFFIX,
    bare_name,
    is_selected,
    table_name,
)


@dataclass(frozen=True, slots=True)
class TableListing:
    """One table and the objects it is made of."""

    name: str
    prefix: str
    """The raw prefix, ending in ``/``; a root object's is its key."""
    listing: Listing


@dataclass(frozen=True, slots=True)
class Grouping:
    """A listing's objects by prefix, and what was left out."""

    by_prefix: dict[str, Listing]
    """Parquet objects of each prefix; prefixes sorted."""
    ignored: int
    """Parquet objects under scratch or hidden segments."""
    other: int
    """Objects that are not Parquet, directory markers included."""


def group(listing: Listing) -> Grouping:
    """Group a listing's Parquet objects by prefix.

    The vectorised twin of :func:`~s3pq_dagster.source.table_names.is_parquet` and
    :func:`~s3pq_dagster.source.table_names.prefix_of`.
    """
    key = pl.col("key")
    parquet = listing.frame.filter(
        key.str.slice(key.str.len_chars() - len(SUFFIX)).str.to_lowercase() == SUFFIX
    )
    kept = parquet.filter(~key.str.contains(IGNORED))
    prefixed = kept.with_columns(prefix=pl.coalesce(key.str.extract(PREFIX, 1), key))
    parts = prefixed.partition_by("prefix", as_dict=True, include_key=False)
    return Grouping(
        by_prefix={str(prefix): Listing(part) for (prefix,), part in sorted(parts.items())},
        ignored=parquet.height - kept.height,
        other=len(listing) - parquet.height,
    )


def tables_in(
    grouping: Grouping, *, tables: list[str], skip_tables: list[str]
) -> list[TableListing]:
    """Name the tables of a grouping and filter them.

    Args:
        grouping: What :func:`group` gave.
        tables: Globs of names to keep.
        skip_tables: Globs of names to leave out of those.

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
