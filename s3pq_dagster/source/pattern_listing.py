"""The listing of one table's keys, without the rest of the bucket."""

import polars as pl

from s3pq_dagster.layout.presets import canonical
from s3pq_dagster.layout.template import escaped, read_template
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.listing import BucketListing
from s3pq_dagster.source.listing_page import list_page
from s3pq_dagster.source.store import Store

_MOST_PARTITIONS = 64
"""Most ``key=value`` prefixes to list one by one; more are listed together with all beside them."""


def list_pattern(store: Store, pattern: str, *, within: str = "") -> Listing:
    """List the keys that may be of one table; the caller leaves out what is not.

    Keys of a folder are listed with a delimiter, so that other folders below it cost nothing, and
    further below its ``key=value`` segments only. Where a folder is named ``data/``, a page of the
    keys in ``metadata/`` beside it is added: they show an Iceberg table.

    Args:
        store: The bucket.
        pattern: The pattern of the table's keys.
        within: Only keys that start with this are wanted.

    Raises:
        StoreError: As :func:`~s3pq_dagster.source.listing_page.list_page`.
    """
    prefix = read_template(pattern).prefix
    # What is wanted may end within the last segment of the prefix, or beyond it.
    asked = within if within.startswith(prefix) else prefix
    is_folder = canonical(pattern) == escaped(prefix) and prefix.endswith("/")
    found = _list_folder(store, prefix, asked) if is_folder else _list_all(store, asked)
    beside = _beside(store, prefix, within)
    return Listing.of_pages([found.frame, *beside]) if beside else found


def _beside(store: Store, prefix: str, within: str) -> list[pl.DataFrame]:
    """List a page of the folder in which an Iceberg table would have its metadata."""
    before, data, _ = f"/{prefix}".rpartition("/data/")
    asked = f"{before}/metadata/"[1:]
    if not data or not asked.startswith(within):
        return []
    page = list_page(store.requests, asked, delimiter="/", token=None, seen=set())
    return [page.objects.filter(pl.col("key").str.ends_with(".metadata.json"))]


def _list_folder(store: Store, folder: str, asked: str) -> Listing:
    """List a folder's keys, and those below its ``key=value`` segments."""
    pages: list[pl.DataFrame] = []
    partitions: list[str] = []
    seen: set[str] = set()
    token = None
    while True:
        page = list_page(store.requests, asked, delimiter="/", token=token, seen=seen)
        pages.append(page.objects)
        below = [prefix for prefix in page.prefixes if _is_listed_too(prefix[len(folder) :])]
        partitions += below
        if len(partitions) > _MOST_PARTITIONS:
            return _list_all(store, asked)
        if (token := page.next_token) is None:
            break
    pages += [_list_all(store, partition).frame for partition in partitions]
    return Listing.of_pages(pages)


def _is_listed_too(segment: str) -> bool:
    """Return whether a segment is a partition, or shows that the folder is no plain folder."""
    return "=" in segment or segment in ("_delta_log/", ".hoodie/")


def _list_all(store: Store, prefix: str) -> Listing:
    listing = BucketListing(prefix).go_on(store)
    assert listing is not None  # noqa: S101 - its time is not limited
    return listing
