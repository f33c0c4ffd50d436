"""`s3pq plan`: what a run would load, and what it would cost."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import SchemaMismatchError
from s3pq_dagster_tests.cli.conftest import CommandLine
from s3pq_dagster_tests.cli.loads import load, run
from s3pq_dagster_tests.destinations.places import Place


def tables(said: Any) -> dict[str, dict[str, Any]]:
    """Return the tables of the only source, by name."""
    (source,) = said.json["sources"]
    return {table["table"]: table for table in source["tables"]}


def test_what_is_pending_is_shown_for_each_destination(s3pq: CommandLine, place: Place) -> None:
    """Before a load everything is pending, after it nothing, and then what has come since."""
    bucket, variables = s3pq.bucket, {"S3PQ_DESTINATION": place.url}
    bucket.put("orders/a.parquet", 3)
    bucket.put("users/u.parquet", 2)
    first = s3pq("plan", **variables)
    assert first.code == 2
    assert first.words("orders")[1] == first.words("users")[1] == "1"
    assert "makes the table" in first.out
    load(bucket, place.url)
    second = s3pq("plan", **variables)
    assert second.code == 0
    assert second.words("orders")[-3:] == ["up", "to", "date"]
    assert "nothing pending; a run: 1 LIST + 0 GET, $0.000005" in second.out
    bucket.put("orders/b.parquet", 4)
    third = s3pq("plan", "--footers", "--json", **variables)
    assert third.code == 2
    found = tables(third)
    assert (found["orders"]["pending_objects"], found["users"]["pending_objects"]) == (1, 0)
    assert found["orders"]["footers"]["rows"] == 4
    assert found["users"]["footers"] is None


def test_nothing_is_written(s3pq: CommandLine, place: Place) -> None:
    """Neither destination nor files nor cache change, before a first load and after it."""
    bucket, variables = s3pq.bucket, {"S3PQ_DESTINATION": place.url}
    bucket.put("orders/a.parquet", 3)
    before = s3pq.files()
    assert s3pq("plan", "--footers", **variables).code == 2
    assert s3pq.files() == before
    assert place.open().look(owner(s3pq)).state.exists is False
    load(bucket, place.url)
    before, looked = s3pq.files(), place.open().look(owner(s3pq))
    assert s3pq("plan", **variables).code == 0
    assert s3pq.files() == before
    assert place.open().look(owner(s3pq)).runs.equals(looked.runs)


def owner(s3pq: CommandLine) -> Owner:
    """Return the owner of the table `orders`."""
    return Owner("orders", s3pq.bucket.name, "orders/")


def test_the_requests_of_a_run_are_those_that_are_foretold(s3pq: CommandLine) -> None:
    """Small objects take one request, large ones a range each, empty ones none; removals two."""
    bucket = s3pq.bucket
    spec: dict[str, Any] = {"max_object_bytes_in_memory": 1000, "write_mode": "mirror"}
    variables = {f"S3PQ_{name.upper()}": str(value) for name, value in spec.items()}
    bucket.put("orders/gone.parquet", 1)
    bucket.put("users/u.parquet", 1)
    url = s3pq.environment["S3PQ_DESTINATION"]
    load(bucket, url, **spec)
    bucket.delete("orders/gone.parquet")
    bucket.put("orders/large.parquet", 2000, compression="none")
    bucket.put("orders/small.parquet", pa.table({"id": [1], "text": ["a"]}))
    bucket.put("users/empty.parquet", b"")
    foretold = s3pq("plan", "--json", **variables).json
    assert run(bucket, url, **spec)
    sent = bucket.proxy.requests
    listings = [request for request in sent if request.is_listing]
    assert foretold["list_requests"] == len(listings)
    assert foretold["get_requests"] == len(sent) - len(listings) > 10
    prices = 0.005 * foretold["list_requests"] + 0.0004 * foretold["get_requests"]
    assert foretold["dollars"] == pytest.approx(prices / 1000)


@pytest.mark.thorough
def test_many_keys_with_few_pending_cost_a_listing_and_a_look_at_each_table(
    s3pq: CommandLine,
) -> None:
    """The requests are those of the listing, whatever is loaded, and the listing's pages only."""
    bucket = s3pq.bucket
    for number in range(25):
        bucket.put(f"t{number % 2}/{number}.parquet", 1)
    load(bucket, s3pq.environment["S3PQ_DESTINATION"])
    bucket.put("t0/new.parquet", 1)
    bucket.proxy.page_size = 10
    bucket.proxy.forget()
    said = s3pq("plan", "--json")
    sent = bucket.proxy.requests
    assert all(request.is_listing for request in sent)
    assert len(sent) == said.json["list_requests"] > 2
    assert said.json["pending_objects"] == 1


def test_prices_are_the_users(s3pq: CommandLine) -> None:
    """`--price` replaces what it names; something else is an error."""
    s3pq.bucket.put("orders/a.parquet", 1)
    assert s3pq("plan", "--price", "list=1000").out.endswith("1 LIST + 1 GET, $1.00\n")
    assert s3pq("plan", "--price", "list=0,get=2000.0").out.endswith("1 LIST + 1 GET, $2.00\n")
    said = s3pq("plan", "--price", "put=1")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "--price takes list=DOLLARS,get=DOLLARS" in said.err


def drifting(s3pq: CommandLine, mode: str) -> Any:
    """Load a table, put an object with other columns, and return its plan."""
    bucket = s3pq.bucket
    bucket.put("orders/a.parquet", pa.table({"id": pa.array([1], pa.int32()), "old": ["x"]}))
    load(bucket, s3pq.environment["S3PQ_DESTINATION"], schema_mode=mode)
    bucket.put("orders/b.parquet", pa.table({"id": pa.array([2], pa.int64()), "new": [1.5]}))
    return s3pq("plan", "--footers", S3PQ_SCHEMA_MODE=mode)


def test_strict_says_which_column_fails(s3pq: CommandLine) -> None:
    """The plan is that the run fails, with the message that it will have; the exit code is 1."""
    said = drifting(s3pq, "strict")
    assert said.code == 1
    assert "fails: SchemaMismatchError" in said.out
    assert "column 'id': expected int32, found int64" in said.out
    with pytest.raises(SchemaMismatchError) as failed:
        load(s3pq.bucket, s3pq.environment["S3PQ_DESTINATION"])
    (told,) = (line for line in said.out.splitlines() if "SchemaMismatchError: " in line)
    message = " ".join(part.strip() for part in str(failed.value).splitlines())
    assert told == f"orders: SchemaMismatchError: {message}"


@pytest.mark.thorough
def test_evolve_says_what_the_table_gains(s3pq: CommandLine) -> None:
    """Columns that are new and types that are wider are named; what is missing is null."""
    said = drifting(s3pq, "evolve")
    assert said.code == 2
    assert "orders: gains new double" in said.out
    assert "orders: widens id: int32 → int64" in said.out
    assert "orders: fits by nulls and casts 1 object, such as orders/b.parquet" in said.out


def test_rescue_says_what_becomes_json(s3pq: CommandLine) -> None:
    """The columns that have no place in the table are named, and the table stays as it is."""
    said = drifting(s3pq, "rescue")
    assert said.code == 2
    assert "orders: rescues into _s3pq_rescued 1 object, such as orders/b.parquet" in said.out
    assert "column 'new' (double)" in said.out
    assert "gains" not in said.out


def test_a_table_whose_rows_are_all_replaced_takes_another_schema(s3pq: CommandLine) -> None:
    """As a run does, the plan says so, and does not call it a mismatch."""
    s3pq.bucket.put("orders/a.parquet", pa.table({"id": [1]}))
    url = s3pq.environment["S3PQ_DESTINATION"]
    load(s3pq.bucket, url)
    s3pq.bucket.put("orders/a.parquet", pa.table({"name": ["other"]}))
    said = s3pq("plan", "--footers")
    assert said.code == 2
    assert "orders: takes another schema, since all its rows are replaced" in said.out
    load(s3pq.bucket, url)


def test_what_would_be_set_aside_is_named(s3pq: CommandLine) -> None:
    """An object without a footer is not counted in rows, and has a line with the reason."""
    s3pq.bucket.put("orders/a.parquet", 3)
    s3pq.bucket.put("orders/b.parquet", b"no parquet, but long enough for a footer")
    said = s3pq("plan", "--footers")
    assert "orders: sets aside orders/b.parquet: " in said.out
    assert said.words("orders")[5] == "3"
    load(s3pq.bucket, s3pq.environment["S3PQ_DESTINATION"])
    after = s3pq("plan")
    assert after.code == 0
    assert "leaves 1 object in quarantine" in after.out


def test_tables_that_fail_have_their_error_and_others_their_plan(s3pq: CommandLine) -> None:
    """A name that two prefixes make, another format, another layout: each says what a run says."""
    bucket = s3pq.bucket
    for key in ("a b/1.parquet", "a-b/1.parquet", "fine/1.parquet", "moved/1.parquet"):
        bucket.put(key, 1)
    url = s3pq.environment["S3PQ_DESTINATION"]
    load(bucket, url, tables=["fine", "moved"])
    bucket.put("d/_delta_log/0.json", b"{}")
    bucket.put("d/1.parquet", 1)
    bucket.put("fine/2.parquet", 1)
    layout = Path("layout.yaml")
    layout.write_text(
        "rules:\n  - match: 'moved/{n:int}.parquet'\n    table: moved\nunmatched: hive\n"
    )
    said = s3pq("plan", "--json", S3PQ_LAYOUT=str(layout))
    assert said.code == 1
    errors = {name: (table["error"] or {}).get("type") for name, table in tables(said).items()}
    assert errors == {
        "a_b": "TableNameCollisionError",
        "d": "TableFormatError",
        "fine": None,
        "moved": "LayoutChangedError",
    }
    assert tables(said)["fine"]["pending_objects"] == 1
    plain = s3pq("plan", S3PQ_LAYOUT=str(layout))
    assert "d: TableFormatError: " in plain.out


def test_a_table_of_another_bucket_is_told(s3pq: CommandLine) -> None:
    """The destination has the table from elsewhere; nothing of it is planned."""
    other = s3pq.bucket.name + "-other"
    s3pq.bucket.client.create_bucket(Bucket=other)
    s3pq.bucket.client.put_object(Bucket=other, Key="orders/a.parquet", Body=b"x")
    s3pq.bucket.put("orders/a.parquet", 1)
    load(s3pq.bucket, s3pq.environment["S3PQ_DESTINATION"])
    said = s3pq("plan", S3PQ_BUCKET=other)
    assert said.code == 1
    assert "orders: TableOwnedElsewhereError: " in said.out


def test_a_run_that_loads_everything_again_is_always_due(s3pq: CommandLine) -> None:
    """With `incremental: false` there is something to do however often it ran."""
    s3pq.bucket.put("orders/a.parquet", 1)
    url = s3pq.environment["S3PQ_DESTINATION"]
    load(s3pq.bucket, url, incremental=False)
    said = s3pq("plan", S3PQ_INCREMENTAL="false")
    assert said.code == 2
    assert "loads the whole table again" in said.out


def test_only_the_tables_that_are_asked_for_count(s3pq: CommandLine) -> None:
    """`--table` leaves the others out of the plan, and out of the exit code."""
    s3pq.bucket.put("orders/a.parquet", 1)
    load(s3pq.bucket, s3pq.environment["S3PQ_DESTINATION"])
    s3pq.bucket.put("users/a.parquet", 1)
    assert s3pq("plan", "--table", "ord*").code == 0
    assert s3pq("plan", "--table", "us*").code == 2


def test_a_destination_that_cannot_be_read_is_one_error(s3pq: CommandLine) -> None:
    """It is not told for each table."""
    for name in ("orders", "users"):
        s3pq.bucket.put(f"{name}/a.parquet", 1)
    (s3pq.directory / "lake.duckdb").write_bytes(b"not a database" * 1000)
    said = s3pq("plan")
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert said.err.startswith("error: DestinationError: cannot open ")


def test_json_has_the_names_that_are_documented(s3pq: CommandLine) -> None:
    """Scripts may rely on them: they are those of the page."""
    s3pq.bucket.put("orders/a.parquet", 1)
    said = s3pq("plan", "--json", "--footers").json
    (source,) = said["sources"]
    (table,) = source["tables"]
    assert set(said) == {
        *("sources", "pending_objects", "pending_bytes"),
        *("list_requests", "get_requests", "dollars"),
    }
    assert table["error"] is None
    assert json.dumps(said)
