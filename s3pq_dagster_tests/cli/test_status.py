"""`s3pq status`: what is loaded, from the ledger."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from s3pq_dagster_tests.cli.conftest import CommandLine
from s3pq_dagster_tests.cli.loads import load
from s3pq_dagster_tests.destinations.places import PLACES, Place


def test_the_ledger_is_shown_for_each_destination(s3pq: CommandLine, place: Place) -> None:
    """Loaded, rows, set aside with the reason, lag, the last load with its run, the schemas."""
    bucket, variables = s3pq.bucket, {"S3PQ_DESTINATION": place.url}
    bucket.put("orders/a.parquet", pa.table({"id": [1, 2]}))
    bucket.put("orders/bad.parquet", b"no parquet, though it is long enough")
    load(bucket, place.url, run_id="first", schema_mode="evolve")
    bucket.put("orders/b.parquet", pa.table({"id": [3], "more": ["x"]}))
    load(bucket, place.url, run_id="second", schema_mode="evolve")
    bucket.put("orders/c.parquet", pa.table({"id": [4]}))
    bucket.set_last_modified("orders/c.parquet", datetime.now(UTC) - timedelta(hours=2))
    before = s3pq.files()
    (table,) = s3pq("status", "--json", **variables).json["sources"][0]["tables"]
    assert s3pq.files() == before
    assert (table["loaded_objects"], table["rows"], table["loaded_rows"]) == (2, 3, 3)
    (bad,) = table["quarantined"]
    assert bad["key"] == "orders/bad.parquet"
    assert "PAR1" in bad["reason"]
    assert table["pending_objects"] == 1
    assert 7200 <= table["pending_seconds"] < 7300
    last = table["last_load"]
    assert (last["run_id"], last["objects"], last["rows"]) == ("second", 1, 1)
    first, second = table["schema_versions"]
    assert (first["version"], second["version"]) == (1, 2)
    assert second["since_key"] == "orders/b.parquet"
    assert table["cursor"] is not None
    said = s3pq("status", "-t", "orders", **variables)
    assert said.code == 0
    assert said.words("orders")[1:6] == ["2", "3", "1", "1", "2h00m"]
    assert said.words("orders")[-1] == "second"
    assert "orders: set aside orders/bad.parquet: " in said.out
    assert ", with orders/b.parquet: new more" in said.out


def test_a_table_that_was_never_loaded_is_shown_with_its_lag(s3pq: CommandLine) -> None:
    """Nothing is loaded and everything pending; no destination is created."""
    s3pq.bucket.put("orders/a.parquet", 1)
    before = s3pq.files()
    said = s3pq("status")
    assert said.code == 0
    assert said.words("orders")[1:5] == ["0", "0", "0", "1"]
    assert said.words("orders")[-3:] == ["-", "-", "-"]
    assert s3pq.files() == before


def test_three_reasons_are_shown_unless_a_table_is_asked_for(s3pq: CommandLine) -> None:
    """The line below says how to see all of them."""
    s3pq.bucket.put("orders/a.parquet", 1)
    for number in range(5):
        s3pq.bucket.put(f"orders/bad{number}.parquet", b"no parquet, though it is long enough")
    load(s3pq.bucket, s3pq.environment["S3PQ_DESTINATION"])
    some = s3pq("status").out
    assert some.count("set aside orders/bad") == 3
    assert "orders: set aside 2 objects more: --table orders lists all" in some
    assert s3pq("status", "--table", "orders").out.count("set aside orders/bad") == 5


def test_a_ledger_that_cannot_be_read_is_an_error_of_its_table(s3pq: CommandLine) -> None:
    """The others are shown, and the exit code is 1."""
    for name in ("orders", "users"):
        s3pq.bucket.put(f"{name}/a.parquet", 1)
    url = s3pq.environment["S3PQ_DESTINATION"]
    load(s3pq.bucket, url)
    place = PLACES["duckdb"](s3pq.directory)
    place.drop_table("orders")
    said = s3pq("status")
    assert said.code == 1
    assert "orders: TableNotManagedError: " in said.out
    assert said.words("users")[1] == "1"
