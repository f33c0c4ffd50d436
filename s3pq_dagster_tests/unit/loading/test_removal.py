"""In mirror, only rows of objects that are really gone are removed."""

import pytest

from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.unit.loading.loaded_table import Table


@pytest.mark.first_case
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
