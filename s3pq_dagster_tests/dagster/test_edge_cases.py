"""The edge cases in the acceptance scenarios of cq-source-s3, on real servers."""

import pyarrow as pa
import pytest

from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.lake import Lake, materialized, messages, values
from s3pq_dagster_tests.proxy import Answer


def test_an_object_deleted_between_listing_and_reading_is_skipped(lake: Lake) -> None:
    """Edge case: a warning with its key; it is not in the ledger, the others are."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.put("a/2.parquet", 1)
    definitions = lake.definitions()
    missing = Answer(404, b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>")
    lake.bucket.proxy.before = lambda r: missing if r.key == "a/1.parquet" else None
    result = lake.run(definitions=definitions)
    assert result.success
    assert lake.statuses("a") == {"a/2.parquet": "loaded"}
    assert any(
        "object_missing table=a key=a/1.parquet" in m
        for m in messages(lake.instance, result.run_id)
    )


def test_an_empty_bucket_is_no_assets_and_a_warning(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    """Edge case: the warning says where it looked; a run succeeds."""
    definitions = lake.definitions(path_prefix="raw/")
    assert not definitions.resolve_asset_graph().get_all_asset_keys()
    assert f"looked_in=s3://{lake.bucket.name}/raw/" in caplog.text
    assert "no Parquet objects" in caplog.text
    assert lake.run(definitions=definitions).success


def test_a_zero_row_object_makes_the_table_with_its_schema(lake: Lake) -> None:
    """Edge case: the ledger has it with 0 rows; a first run always materializes."""
    lake.bucket.put("a/1.parquet", 0)
    result = lake.run()
    assert values(materialized(result)["a"])["dagster/row_count"] == 0
    assert lake.query("SELECT id, text FROM a") == []
    assert [(entry["rows"], entry["status"]) for entry in lake.ledger("a")] == [(0, "loaded")]


@pytest.mark.nightly
def test_more_than_a_thousand_keys_are_all_loaded(lake: Lake) -> None:
    """Edge case: pages follow one another by continuation token."""
    body = parquet(numbers(1))
    for number in range(1003):
        lake.bucket.put(f"a/{number:04}.parquet", body)
    lake.bucket.proxy.forget()
    assert lake.run().success
    assert lake.rows("a") == 1003
    pages = [listing.query.get("continuation-token") for listing in lake.bucket.proxy.listings]
    # For the definitions: a page, what is below its slash, and all of that; for the run: all.
    assert [token is not None for token in pages] == [False, False, False, True, False, True]


@pytest.mark.first_case
@pytest.mark.parametrize("is_retried", [False, True], ids=["failure", "retried"])
def test_a_failure_says_its_message_once(lake: Lake, *, is_retried: bool) -> None:
    """Neither a driver nor a wrapper of the error says it again among the causes."""
    lake.bucket.put("a/1.parquet", pa.table({"id": [1]}))
    lake.bucket.put("a/2.parquet", pa.table({"id": ["x"]}))
    wanted = "schemas differ in table"
    if is_retried:
        lake.bucket.delete("a/2.parquet")
        lake.run()
        lake.execute("ALTER TABLE _s3pq_tables RENAME COLUMN fingerprint TO other")
        lake.bucket.put("a/2.parquet", pa.table({"id": [2]}))
        wanted = "DuckDB could not do as asked"
    result = lake.run()
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    error, told = failed.step_failure_data.error, []
    while error is not None:
        told.append(str(error.message))
        error = error.cause or error.context
    assert len([text for text in told if wanted in text]) == 1, told


def test_schemas_that_differ_fail_with_both_objects_and_the_columns(lake: Lake) -> None:
    """Edge case: nothing of the table is written, the other table is."""
    lake.bucket.put("a/1.parquet", pa.table({"id": [1]}))
    lake.bucket.put("a/2.parquet", pa.table({"id": ["x"], "more": [1]}))
    lake.bucket.put("b/1.parquet", 1)
    result = lake.run()
    assert not result.success
    message = failure(result, "load_a")
    assert "'a/2.parquet' does not match 'a/1.parquet'" in message
    assert "column 'id': expected int64, found string" in message
    assert "column 'more' (int64) is not in 'a/1.parquet'" in message
    assert lake.tables() == {"b", "_s3pq_objects", "_s3pq_schemas", "_s3pq_tables"}
    assert lake.ledger("a") == []
