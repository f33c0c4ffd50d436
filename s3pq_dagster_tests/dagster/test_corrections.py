"""Loading some objects again, and taking a load back, as Dagster and its sensor see it."""

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.loading.undo import find_undo, undo
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import Lake, checked, materialized, values


@pytest.fixture
def loaded(lake: Lake, bucket: Bucket) -> Lake:
    """A lake whose table ``a`` has two objects of one row each."""
    for name in ("one", "two"):
        bucket.put(f"a/{name}.parquet", pa.table({"id": [name]}))
    assert lake.run().success
    return lake


def test_a_reload_replaces_the_rows_of_the_objects_it_names(loaded: Lake) -> None:
    """What a person repaired by hand in the table comes back from the bucket."""
    loaded.execute("UPDATE a SET id = 'by hand'")
    result = loaded.run(config={"reload": ["a/t*"]})
    assert result.success
    assert loaded.query("SELECT id FROM a ORDER BY id") == [("by hand",), ("two",)]
    found = values(materialized(result)["a"])
    assert (found["s3pq/rows"], found["dagster/row_count"]) == (1, 2)
    assert all(check.passed for check in checked(result).values())
    assert not loaded.tick().run_requests


@pytest.mark.thorough
def test_what_is_pending_is_left_to_the_next_run(loaded: Lake, bucket: Bucket) -> None:
    """A reload loads what it names, and the sensor asks for the rest."""
    bucket.put("a/new.parquet", pa.table({"id": ["new"]}))
    assert loaded.run(config={"reload": ["a/one.parquet"]}).success
    assert set(loaded.rows_by_key("a")) == {"a/one.parquet", "a/two.parquet"}
    assert len(loaded.tick().run_requests or ()) == 1
    assert loaded.run().success
    assert not loaded.tick().run_requests


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("config", "tags", "said"),
    [
        ({"reload": ["a/x"]}, {}, "'a/x' takes none of the 2 listed objects"),
        ({"reload": ["a/*"], "full_refresh": True}, {}, "leave out one of them"),
        ({"reload": ["a/*"]}, {"s3pq/full_refresh": "true"}, "leave out one of them"),
    ],
)
def test_a_reload_that_cannot_be_meant_fails(
    loaded: Lake, config: dict[str, object], tags: dict[str, str], said: str
) -> None:
    """It names no object, or everything as well; nothing is touched."""
    before = loaded.ledger("a")
    result = loaded.run(config=config, tags=tags)
    assert not result.success
    assert said in str(result.all_events)
    assert loaded.ledger("a") == before


@pytest.mark.thorough
def test_a_load_that_is_taken_back_stays_away(loaded: Lake, bucket: Bucket) -> None:
    """No tick and no run brings it back; the checks name it, until its object is replaced."""
    bucket.put("a/bad.parquet", pa.table({"id": ["bad"]}))
    bad = loaded.run()
    destination = DuckDBDestination(str(loaded.database))
    owner = Owner("a", bucket.name, "a/")
    shown = find_undo(destination.entries(owner), "a", bad.run_id[:8])
    assert undo(destination, owner, shown) == 1
    assert not loaded.tick().run_requests
    result = loaded.run()
    assert result.success
    assert loaded.statuses("a")["a/bad.parquet"] == "quarantined"
    checks = checked(result)
    passed = {name: check.passed for name, check in checks.items()}
    assert passed == {"complete": True, "rows_reconciled": True, "no_quarantine": False}
    assert f"undone: run {bad.run_id}" in str(checks["no_quarantine"].metadata)
    bucket.put("a/bad.parquet", pa.table({"id": ["good"]}))
    assert len(loaded.tick().run_requests or ()) == 1
    assert loaded.run().success
    assert loaded.query("SELECT id FROM a ORDER BY id") == [("good",), ("one",), ("two",)]
