"""Run config and run tags change what one run loads."""

from datetime import UTC, datetime, timedelta

import pytest

from s3pq_dagster_tests.buckets import numbers
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.lake import Lake, materialized, observed
from s3pq_dagster_tests.proxy import Answer

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


@pytest.mark.thorough
def test_a_quarantined_object_is_read_again_only_when_it_changes_or_on_request(lake: Lake) -> None:
    """The ledger keeps the object until it is readable."""
    lake.bucket.put("a/1.parquet", b"malformed")
    lake.bucket.put("a/2.parquet", 1)
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    lake.bucket.proxy.forget()
    assert observed(lake.run(definitions=definitions))
    assert lake.bucket.proxy.object_reads == []
    lake.run("a", definitions=definitions, config={"retry_quarantined": True})
    assert [read.key for read in lake.bucket.proxy.object_reads] == ["a/1.parquet"]
    assert lake.statuses("a")["a/1.parquet"] == "quarantined"
    lake.bucket.put("a/1.parquet", 4)
    lake.run(definitions=definitions)
    assert lake.rows("a") == 5


@pytest.mark.thorough
def test_a_full_refresh_loads_the_table_anew_with_another_schema(lake: Lake) -> None:
    """Run config asks for one table, a run tag for all tables of the run."""
    lake.bucket.put("a/1.parquet", 5)
    lake.bucket.put("a/2.parquet", 5)  # its rows stay, and their columns with them
    lake.bucket.put("b/1.parquet", 1)
    lake.run()
    lake.bucket.delete("a/2.parquet")
    lake.bucket.put("a/1.parquet", numbers(2).rename_columns(["number", "text"]))
    assert not lake.run().success
    assert lake.rows("a") == 10
    result = lake.run("a", config={"full_refresh": True})
    assert result.success
    assert lake.query("SELECT number FROM a ORDER BY 1") == [(0,), (1,)]
    tagged = lake.run(tags={"s3pq/full_refresh": "true"})
    assert set(materialized(tagged)) == {"a", "b"}
    assert (lake.rows("a"), lake.rows("b")) == (2, 1)


def test_a_failed_full_refresh_leaves_the_old_table(lake: Lake) -> None:
    """Rows and ledger stay as they were."""
    lake.bucket.put("a/1.parquet", 5)
    lake.bucket.put("a/2.parquet", 5)
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    before = lake.ledger("a")
    denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    lake.bucket.proxy.before = lambda request: denied if "2.parquet" in request.key else None
    result = lake.run("a", definitions=definitions, config={"full_refresh": True})
    assert "s3:GetObject" in failure(result, "load_a")
    assert lake.rows("a") == 10
    assert lake.ledger("a") == before


def test_max_objects_loads_the_oldest_first_and_the_rest_later(lake: Lake) -> None:
    """Objects are loaded in the order of (last_modified, key)."""
    for number in range(4):
        lake.bucket.put(f"a/{number}.parquet", 1)
        lake.bucket.set_last_modified(f"a/{number}.parquet", NOON - timedelta(hours=number))
    lake.run("a", config={"max_objects": 2})
    assert set(lake.statuses("a")) == {"a/3.parquet", "a/2.parquet"}
    lake.run()
    assert lake.rows("a") == 4
