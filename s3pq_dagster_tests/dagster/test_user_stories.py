"""The acceptance scenarios of cq-source-s3's six user stories, on real servers."""

from datetime import UTC, datetime
from threading import Barrier, BrokenBarrierError

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from s3pq_dagster import S3ParquetResource
from s3pq_dagster.errors import BucketNotFoundError
from s3pq_dagster_tests.buckets import Bucket, numbers, parquet
from s3pq_dagster_tests.lake import Lake, materialized, messages, observed, values
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Request

DEPTHS = {
    "datafile_0.parquet": "datafile_0",
    "data/2024/datafile_1.parquet": "data_2024",
    "data/2024/01/14/datafile_2.parquet": "data_2024_01_14",
    "data/2024/02/14/14/15/datafile_3.parquet": "data_2024_02_14_14_15",
}
"""The plugin's own four example objects and the tables they make."""


def typed(seed: int) -> pa.Table:
    """Make a table whose values differ by seed."""
    return pa.table(
        {
            "id": pa.array([seed, seed + 1, None], pa.int64()),
            "name": pa.array([f"n{seed}", "ü", None], pa.string()),
            "price": pa.array([seed / 3, None, -0.0], pa.float64()),
            "created_at": pa.array(
                [datetime(2024, 1, seed + 1, 2, 3, 4, 567_891, tzinfo=UTC), None, None],
                pa.timestamp("us", "UTC"),
            ),
        }
    )


def _stored(lake: Lake, table: str) -> pa.Table:
    with duckdb.connect(str(lake.database), read_only=True) as connection:
        relation = connection.sql(f'SELECT id, name, price, created_at FROM "{table}"')
        return relation.to_arrow_table()


@pytest.mark.parametrize("kind", first_of(["lake", "weed_lake"]))
def test_a_full_sync_loads_every_row_and_value_at_four_prefix_depths(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Story 1: tables of every depth hold exactly what their objects hold."""
    lake: Lake = request.getfixturevalue(kind)
    for seed, key in enumerate(DEPTHS):
        lake.bucket.put(key, typed(seed))
    assert lake.run().success
    assert lake.tables() == {*DEPTHS.values(), "_s3pq_objects", "_s3pq_schemas", "_s3pq_tables"}
    for seed, table in enumerate(DEPTHS.values()):
        assert _stored(lake, table).to_pylist() == typed(seed).to_pylist()


def test_objects_under_one_prefix_make_one_table(lake: Lake) -> None:
    """Story 1: both files contribute rows."""
    lake.bucket.put("reports/2024/a.parquet", 3)
    lake.bucket.put("reports/2024/b.parquet", 4)
    assert lake.run().success
    assert lake.rows_by_key("reports_2024") == {
        "reports/2024/a.parquet": 3,
        "reports/2024/b.parquet": 4,
    }


def test_only_parquet_objects_are_read(lake: Lake) -> None:
    """Story 1: other objects are neither tables nor requested."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.put("a/2.csv", b"id\n1\n")
    lake.bucket.put("b/3.csv", b"id\n1\n")
    assert lake.run().success
    assert lake.tables() == {"a", "_s3pq_objects", "_s3pq_schemas", "_s3pq_tables"}
    assert {read.key for read in lake.bucket.proxy.object_reads} == {"a/1.parquet"}


@pytest.mark.thorough
def test_a_destination_column_has_the_type_of_the_file(lake: Lake) -> None:
    """Story 1: names and types are kept."""
    lake.bucket.put("a/1.parquet", typed(0))
    assert lake.run().success
    columns = lake.query(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'a'"
    )
    assert columns == [
        ("id", "BIGINT"),
        ("name", "VARCHAR"),
        ("price", "DOUBLE"),
        ("created_at", "TIMESTAMP WITH TIME ZONE"),
        ("_cq_id", "UUID"),
        ("_cq_parent_id", "UUID"),
        ("_s3_key", "VARCHAR"),
    ]


def test_a_named_profile_gives_the_credentials(
    weed_lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """Story 2: `local_profile` is looked up in the AWS files."""
    weed_lake.bucket.put("a/1.parquet", 1)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/credentials")
    access, secret = "s3pq-demo", "s3pq-demo-secret"
    with open(f"{tmp_path}/credentials", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"[team]\naws_access_key_id={access}\naws_secret_access_key={secret}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert weed_lake.run(local_profile="team").success
    assert weed_lake.rows("a") == 1


@pytest.mark.thorough
def test_environment_values_are_used_when_the_resource_starts(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story 2: an EnvVar works in every text and number field."""
    lake.bucket.put("a/1.parquet", 1)
    monkeypatch.setenv("TEST_BUCKET", lake.bucket.name)
    monkeypatch.setenv("TEST_ROWS", "7")
    rows = dg.EnvVar.int("TEST_ROWS")
    assert lake.run(bucket=dg.EnvVar("TEST_BUCKET"), rows_per_record=rows).success
    assert lake.rows("a") == 1


def test_an_environment_value_that_breaks_a_rule_is_refused_when_the_resource_starts(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story 2: the message names field, value and rule."""
    monkeypatch.setenv("TEST_ROWS", "0")
    source = S3ParquetResource(**bucket.spec | {"rows_per_record": dg.EnvVar.int("TEST_ROWS")})
    with (
        pytest.raises(ValueError, match="rows_per_record must be at least 1, got 0"),
        source.process_config_and_initialize_cm(),
    ):
        pass


def test_a_prefix_limits_what_is_listed(lake: Lake) -> None:
    """Story 2: names still use the whole key."""
    lake.bucket.put("data/2024/x.parquet", 1)
    lake.bucket.put("data/2025/x.parquet", 1)
    assert lake.run(path_prefix="data/2024/").success
    assert lake.tables() == {"data_2024", "_s3pq_objects", "_s3pq_schemas", "_s3pq_tables"}
    assert {listing.query["prefix"][0] for listing in lake.bucket.proxy.listings} == {"data/2024/"}


def test_a_second_sync_with_nothing_new_loads_nothing(lake: Lake) -> None:
    """Story 4: it succeeds, observes, materializes nothing and reads no object."""
    lake.bucket.put("a/1.parquet", 5)
    assert lake.run().success
    definitions = lake.definitions()
    lake.bucket.proxy.forget()
    again = lake.run(definitions=definitions)
    assert again.success
    assert not materialized(again)
    assert "Nothing new" in str(observed(again)["a"].description)
    assert lake.bucket.proxy.object_reads == []
    assert lake.rows("a") == 5


def test_a_new_object_loads_only_its_rows(lake: Lake) -> None:
    """Story 4: the old objects are not read again."""
    lake.bucket.put("a/1.parquet", 5)
    lake.run()
    lake.bucket.put("a/2.parquet", 7)
    definitions = lake.definitions()
    lake.bucket.proxy.forget()
    result = lake.run(definitions=definitions)
    assert values(materialized(result)["a"])["s3pq/rows"] == 7
    assert [read.key for read in lake.bucket.proxy.object_reads] == ["a/2.parquet"]
    assert lake.rows_by_key("a") == {"a/1.parquet": 5, "a/2.parquet": 7}


@pytest.mark.thorough
def test_without_incremental_every_sync_loads_everything_anew(lake: Lake) -> None:
    """Story 4: every sync replaces the table in one transaction, as without a backend."""
    lake.bucket.put("a/1.parquet", 5)
    lake.bucket.put("a/2.parquet", 7)
    for _ in range(2):
        result = lake.run(incremental=False)
        assert values(materialized(result)["a"])["s3pq/rows"] == 12
        assert lake.rows("a") == 12


@pytest.mark.thorough
def test_a_replaced_objects_rows_are_replaced(lake: Lake) -> None:
    """Story 4: the rows of its old version are removed."""
    lake.bucket.put("a/1.parquet", numbers(5))
    lake.bucket.put("a/2.parquet", numbers(1))
    lake.run()
    lake.bucket.put("a/1.parquet", numbers(3, start=100))
    assert lake.run().success
    assert lake.query("SELECT id FROM a WHERE _s3_key = 'a/1.parquet' ORDER BY 1") == [
        (100,),
        (101,),
        (102,),
    ]
    assert [entry["rows"] for entry in lake.ledger("a")] == [3, 1]


@pytest.mark.thorough
def test_two_objects_with_one_last_modified_both_load_once(lake: Lake) -> None:
    """Story 4: ties are neither lost nor read twice, also when one comes later."""
    moment = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    for key in ("a/1.parquet", "a/2.parquet"):
        lake.bucket.put(key, 2)
        lake.bucket.set_last_modified(key, moment)
    lake.run()
    lake.bucket.put("a/3.parquet", 2)
    lake.bucket.set_last_modified("a/3.parquet", moment)
    assert lake.run().success
    assert lake.rows_by_key("a") == {f"a/{n}.parquet": 2 for n in (1, 2, 3)}


@pytest.mark.parametrize(
    ("rows_per_record", "batches"), [(100, 10), pytest.param(500, 2, marks=pytest.mark.thorough)]
)
def test_rows_per_record_bounds_the_batches(lake: Lake, rows_per_record: int, batches: int) -> None:
    """Story 5: 1000 rows are handed over in so many batches."""
    lake.bucket.put("a/1.parquet", 1000)
    source = S3ParquetResource(**lake.bucket.spec | {"rows_per_record": rows_per_record})
    seen: list[int] = []

    @dg.op(out=dg.Out(dg.Nothing), required_resource_keys={"source"})
    def count(context: dg.OpExecutionContext) -> None:
        from s3pq_dagster.destinations.table_state import Owner  # noqa: PLC0415
        from s3pq_dagster.loading.plan import LoadOptions, LoadPlan  # noqa: PLC0415
        from s3pq_dagster.loading.table_load import TableLoad  # noqa: PLC0415

        opened = context.resources.source
        load = TableLoad(
            plan=LoadPlan(
                spec=opened,
                owner=Owner("a", opened.bucket, "a/"),
                listing=opened.list_table("a/", context.log, "a"),
                options=LoadOptions(),
            ),
            store=opened.store,
            log=context.log,
        )
        seen.extend(batch.num_rows for batch in pa.RecordBatchReader.from_stream(load))

    dg.GraphDefinition("counting", node_defs=[count]).to_job(
        resource_defs={"source": source}
    ).execute_in_process()
    assert len(seen) == batches
    assert set(seen) == {rows_per_record}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("concurrency", "expected"),
    first_of([(-1, 60), (1, 1), (50, 50)]),
)
def test_concurrency_is_the_number_of_reads_in_flight(
    lake: Lake, concurrency: int, expected: int
) -> None:
    """Story 5: the server answers once so many requests wait together."""
    for number in range(60):
        lake.bucket.put(f"a/{number:02}.parquet", 1)
    definitions = lake.definitions(concurrency=concurrency)
    together = Barrier(expected)

    def wait(request: Request) -> None:
        if request.is_object:
            try:
                together.wait(5)
            except BrokenBarrierError:
                return  # the last few of 60 do not fill a group of 50

    lake.bucket.proxy.forget()
    lake.bucket.proxy.before = wait
    assert lake.run(definitions=definitions).success
    assert lake.bucket.proxy.most_in_flight == expected
    assert lake.rows("a") == 60


def test_discovery_and_reading_are_logged(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    """Story 6: tables with their object counts; each object's key, size and rows."""
    lake.bucket.put("a/1.parquet", parquet(numbers(5)))
    result = lake.run()
    assert "table_found table=a prefix=a/ objects=1" in caplog.text
    size = len(parquet(numbers(5)))
    found = "\n".join(messages(lake.instance, result.run_id)).splitlines()
    assert f"object_loaded table=a key=a/1.parquet size={size} rows=5" in found


def test_a_missing_bucket_is_named_when_listing(bucket: Bucket, lake: Lake) -> None:
    """Story 6: the message says "not found", and what to check."""
    with pytest.raises(BucketNotFoundError, match=r"bucket 'no-such-lake' not found at http"):
        lake.definitions(bucket="no-such-lake")


def test_a_bucket_that_goes_missing_fails_the_run_with_its_name(lake: Lake) -> None:
    """Story 6: the same message from a run, without retries."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    lake.bucket.delete("a/1.parquet")
    lake.bucket.client.delete_bucket(Bucket=lake.bucket.name)
    result = lake.run(definitions=definitions)
    assert not result.success
    assert f"bucket '{lake.bucket.name}' not found" in failure(result, "load_a")


def test_a_malformed_object_is_set_aside_and_the_others_load(lake: Lake) -> None:
    """Story 6: a warning with its key, an entry in the ledger, success."""
    lake.bucket.put("a/bad.parquet", b"not parquet at all")
    lake.bucket.put("a/good.parquet", 5)
    result = lake.run()
    assert result.success
    assert lake.statuses("a") == {"a/bad.parquet": "quarantined", "a/good.parquet": "loaded"}
    assert lake.rows("a") == 5
    warnings = [
        entry.user_message for entry in lake.instance.all_logs(result.run_id) if entry.level == 30
    ]
    assert any("object_quarantined table=a key=a/bad.parquet" in found for found in warnings)
    numbers_shown = values(materialized(result)["a"])
    assert numbers_shown["s3pq/objects_quarantined"] == 1
    assert numbers_shown["s3pq/quarantined_keys"] == ["a/bad.parquet"]


def failure(result: dg.ExecuteInProcessResult, op: str) -> str:
    """Return the description of an op's failure."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        if event.step_key == op:
            data = event.step_failure_data
            described = data.user_failure_data.description if data.user_failure_data else None
            return described or str(data.error)
    return ""
