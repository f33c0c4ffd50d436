"""In mirror, only rows of objects that are really gone are removed."""

from typing import Any

import polars as pl
import pytest

from s3pq_dagster.errors import DestinationConflictError, UnlistedObjectsError
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.unit.loading.loaded_table import Table


@pytest.mark.parametrize(
    ("write_mode", "removed", "rows"), [("append", 0, 15), ("replace", 0, 15), ("mirror", 1, 10)]
)
def test_a_deleted_object(table: Table, write_mode: str, removed: int, rows: int) -> None:
    """Its rows are removed in mirror, and in no other mode."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", 5)
    table.load(write_mode=write_mode)
    table.bucket.delete("t/b")
    report = table.load(write_mode=write_mode)
    assert (report.removed, report.table_rows) == (removed, rows)
    assert report.fingerprint == fingerprint(table.listing())
    assert bool(table.lines.of("object_removed")) is bool(removed)


def test_removing_and_loading_come_in_one_load(table: Table) -> None:
    """Mirror removes and adds rows in one load; the fingerprint covers both."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", 5)
    table.load(write_mode="mirror")
    table.bucket.delete("t/a")
    table.bucket.put("t/c", 2)
    report = table.load(write_mode="mirror")
    assert table.rows_by_key() == {"t/b": 5, "t/c": 2}
    assert report.fingerprint == fingerprint(table.listing()) == table.stored_fingerprint()


def test_a_stale_listing_removes_nothing_that_is_there(table: Table) -> None:
    """Each key is looked up before its rows are removed: the listing may be older than a load."""
    table.bucket.put("t/a", 10)
    stale = table.listing()
    table.bucket.put("t/b", 5)
    table.load(write_mode="mirror")
    report = table.load(stale, write_mode="mirror")
    assert report.removed == 0
    assert table.rows_by_key() == {"t/a": 10, "t/b": 5}
    assert table.statuses() == {"t/a": "loaded", "t/b": "loaded"}


def test_a_listing_that_is_a_page_short_removes_nothing_that_is_there(table: Table) -> None:
    """Rows stay unless S3 says that the object is gone, whatever the listing says."""
    for key in "abc":
        table.bucket.put(f"t/{key}", 10)
    table.load(write_mode="mirror")
    whole = table.listing()
    table.bucket.delete("t/c")
    report = table.load(Listing(whole.frame.head(1)), write_mode="mirror")
    assert report.removed == 1
    assert table.rows_by_key() == {"t/a": 10, "t/b": 10}


def narrowed(table: Table, key: str) -> Listing:
    """Leave an object out of the listing, as a narrower `path_prefix` does."""
    return Listing(table.listing().frame.filter(pl.col("key") != key))


@pytest.mark.parametrize("how", [{"options": {"full_refresh": True}}, {"incremental": False}])
def test_a_refresh_under_a_narrower_prefix_is_refused(table: Table, how: dict[str, Any]) -> None:
    """Its rows would go without a word; the error names the prefix and a key."""
    table.bucket.put("t/a1", 10)
    table.bucket.put("t/b1", 5)
    table.load()
    with pytest.raises(UnlistedObjectsError, match="path_prefix 't/a', 't/b1' among them"):
        table.load(narrowed(table, "t/b1"), path_prefix="t/a", **how)
    assert table.rows_by_key() == {"t/a1": 10, "t/b1": 5}


def test_a_refresh_drops_what_is_not_listed_on_request(table: Table) -> None:
    """With `allow_unlisted` the table has only what was listed."""
    table.bucket.put("t/a1", 10)
    table.bucket.put("t/b1", 5)
    table.load()
    options = {"full_refresh": True, "allow_unlisted": True}
    table.load(narrowed(table, "t/b1"), path_prefix="t/a", options=options)
    assert table.rows_by_key() == {"t/a1": 10}


def test_a_refresh_with_a_stale_listing_is_a_conflict(table: Table) -> None:
    """An object that another run loaded after the listing is not dropped; a retry lists it."""
    table.bucket.put("t/a", 10)
    stale = table.listing()
    table.bucket.put("t/b", 5)
    table.load()
    with pytest.raises(DestinationConflictError, match="'t/b' among them"):
        table.load(stale, options={"full_refresh": True})
    table.load(options={"full_refresh": True})
    assert table.rows_by_key() == {"t/a": 10, "t/b": 5}
