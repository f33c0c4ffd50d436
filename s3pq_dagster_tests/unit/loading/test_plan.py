"""What a run has to load, and when it refuses to."""

from typing import Any

import pytest

from s3pq_dagster.errors import (
    EmptyListingError,
)
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster_tests.unit.loading.loaded_table import Table
from s3pq_dagster_tests.unit.made import listed, logger, opened, spec


def test_an_empty_listing_is_not_all_deleted(table: Table) -> None:
    """Mirror refuses to remove every row unless `allow_empty_listing` is set."""
    table.bucket.put("t/a", 10)
    table.load(write_mode="mirror")
    table.bucket.delete("t/a")
    with pytest.raises(EmptyListingError, match="allow_empty_listing"):
        table.load(write_mode="mirror")
    assert table.rows_by_key() == {"t/a": 10}
    report = table.load(write_mode="mirror", options={"allow_empty_listing": True})
    assert (report.removed, report.table_rows) == (1, 0)


def test_a_refresh_of_an_empty_listing_is_refused_in_mirror(table: Table) -> None:
    """A full refresh is refused as well."""
    table.bucket.put("t/a", 10)
    table.load(write_mode="mirror")
    table.bucket.delete("t/a")
    with pytest.raises(EmptyListingError):
        table.load(write_mode="mirror", options={"full_refresh": True})
    assert table.rows_by_key() == {"t/a": 10}


def test_max_objects_takes_the_oldest_first(table: Table) -> None:
    """A load takes at most so many objects, the oldest first; the rest stays pending."""
    for key in "cab":
        table.bucket.put(f"t/{key}", 10)
    seen = []
    for _ in range(3):
        table.load(options={"max_objects": 1})
        seen.append(sorted(table.statuses()))
    in_order = [f"t/{k}" for k in (o.key[2:] for o in table.listing())]
    assert seen == [sorted(in_order[:n]) for n in (1, 2, 3)]


def test_a_table_is_due_when_something_is_pending(table: Table) -> None:
    """The plan knows from the destination's state whether there is anything to load."""
    table.bucket.put("t/a", 1)

    def is_due(**options: Any) -> bool:
        with opened(table.bucket) as store:
            load = TableLoad(
                plan=LoadPlan(
                    spec=spec(**table.bucket.spec),
                    owner=table.owner,
                    listing=listed(store, "t/"),
                    options=LoadOptions(**options),
                ),
                store=store,
                log=logger(),
            )
            return load.plan.is_due(table.destination.state(table.owner))

    assert is_due()
    table.load()
    assert not is_due()
    assert is_due(full_refresh=True)
