"""Entries are merged into a ledger that a destination rewrites as a whole."""

import polars as pl
import pytest

from s3pq_dagster.destinations.ledger_rows import (
    OBJECT_COLUMNS,
    entries_after,
    entries_removed,
    entry_rows,
    loaded_already,
)
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.unit.made import meta

OWNER = Owner("orders", "lake", "orders/")
LOADED, QUARANTINED, REMOVED = Status.LOADED, Status.QUARANTINED, Status.REMOVED
V1, V2, OTHER = meta("a", "v1"), meta("a", "v2", second=5), meta("b", "v1")
NO_TAG, NO_TAG_LATER = meta("a", None), meta("a", None, second=5)
Said = tuple[ObjectMeta, Status]


def rows(*entries: Said) -> pl.DataFrame:
    """Build ledger rows; each loaded entry has three rows in the table."""
    made = [Entry(found, status, 3 if status is LOADED else 0) for found, status in entries]
    return entry_rows(made, OWNER, "run")


def said(frame: pl.DataFrame) -> list[tuple[str, str | None, str]]:
    """Return key, e_tag and status of each entry."""
    return frame.select("key", "e_tag", "status").rows()


@pytest.mark.parametrize(
    ("before", "new", "replaced", "appended"),
    [
        ([(V1, LOADED)], (V2, LOADED), ["v2 loaded"], ["v1 loaded", "v2 loaded"]),
        ([(V1, QUARANTINED)], (V1, LOADED), ["v1 loaded"], ["v1 loaded"]),
        ([(V1, QUARANTINED)], (V2, LOADED), ["v2 loaded"], ["v1 quarantined", "v2 loaded"]),
        (
            [(V1, LOADED)],
            (V2, QUARANTINED),
            ["v1 loaded", "v2 quarantined"],
            ["v1 loaded", "v2 quarantined"],
        ),
        ([(V1, QUARANTINED)], (V1, QUARANTINED), ["v1 quarantined"], ["v1 quarantined"]),
        ([(V1, REMOVED)], (V1, LOADED), ["v1 loaded"], ["v1 loaded"]),
        ([(V1, REMOVED)], (V2, LOADED), ["v2 loaded"], ["v1 removed", "v2 loaded"]),
        (
            [(NO_TAG, LOADED)],
            (NO_TAG_LATER, LOADED),
            ["None loaded"],
            ["None loaded", "None loaded"],
        ),
        ([(NO_TAG, QUARANTINED)], (NO_TAG, LOADED), ["None loaded"], ["None loaded"]),
    ],
)
def test_an_entry_replaces_earlier_entries_of_its_key(
    before: list[Said], new: Said, replaced: list[str], appended: list[str]
) -> None:
    """Only entries of the same key are replaced."""
    for append, wanted in ((False, replaced), (True, appended)):
        after = entries_after(rows(*before, (OTHER, LOADED)), rows(new), append=append)
        mine = [f"{e_tag} {status}" for key, e_tag, status in said(after) if key == "a"]
        assert sorted(mine) == sorted(wanted)
        assert ("b", "v1", "loaded") in said(after)


def test_columns_of_a_destinations_own_are_kept() -> None:
    """Further columns of a destination are kept, in their order."""
    before = rows((OTHER, LOADED)).with_columns(file=pl.lit("b.parquet"))
    new = rows((V1, LOADED)).select(pl.lit("a.parquet").alias("file"), *OBJECT_COLUMNS)
    after = entries_after(before, new, append=False)
    assert after.columns == [*OBJECT_COLUMNS, "file"]
    assert after["file"].to_list() == ["b.parquet", "a.parquet"]


def test_a_removed_key_is_marked_with_the_run_that_did_it() -> None:
    """Every loaded entry of the key is marked and its rows are counted; others do not change."""
    before = rows((V1, LOADED), (V2, LOADED), (OTHER, LOADED), (meta("c"), QUARANTINED))
    after, count = entries_removed(before, ["a", "c"], "run 2")
    assert count == 6
    assert said(after) == [
        ("a", "v1", "removed"),
        ("a", "v2", "removed"),
        ("b", "v1", "loaded"),
        ("c", "v1", "quarantined"),
    ]
    assert after["run_id"].to_list() == ["run 2", "run 2", "run", "run"]


@pytest.mark.parametrize(
    ("before", "again"),
    [
        ((V1, LOADED), ["a"]),
        ((V1, QUARANTINED), []),
        ((V1, REMOVED), []),
        ((V2, LOADED), []),
        ((OTHER, LOADED), []),
    ],
)
def test_only_what_is_loaded_in_this_very_version_is_loaded_again(
    before: Said, again: list[str]
) -> None:
    """Another version, or a quarantined or removed entry, does not count."""
    assert loaded_already(rows(before), rows((V1, LOADED))) == again
    assert loaded_already(rows(before), rows((V1, QUARANTINED))) == []


def test_without_an_e_tag_size_and_time_tell_versions_apart() -> None:
    """Versions without an e_tag are compared by size and time, as in a listing."""
    assert loaded_already(rows((NO_TAG, LOADED)), rows((NO_TAG, LOADED))) == ["a"]
    assert loaded_already(rows((NO_TAG, LOADED)), rows((NO_TAG_LATER, LOADED))) == []
