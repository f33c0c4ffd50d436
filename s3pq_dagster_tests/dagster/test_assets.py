"""How tables are described as assets, and what a run records of them."""

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster import (
    DiscoveredTable,
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    S3ParquetTableProps,
    S3ParquetTranslator,
    build_s3_parquet_assets,
    build_s3_parquet_definitions,
)
from s3pq_dagster.logs import human_bytes
from s3pq_dagster_tests.buckets import numbers
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.lake import Lake, materialized, values
from s3pq_dagster_tests.proxy import Answer


def spec_of(definitions: dg.Definitions, *path: str) -> dg.AssetSpec:
    """Find the spec of one asset."""
    return next(s for s in definitions.resolve_all_asset_specs() if s.key.path == list(path))


def test_an_asset_says_what_its_table_is_before_any_run(lake: Lake) -> None:
    """An asset has key, group, kinds, description, schema, URI and table name."""
    lake.bucket.put("data/2024/x.parquet", 3)
    lake.bucket.put("data/2024/y.parquet", 3)
    spec = spec_of(lake.definitions(), lake.bucket.name, "data_2024")
    assert spec.group_name == lake.bucket.name.replace("-", "_")
    assert spec.kinds == {"s3", "parquet", "duckdb"}
    listed = lake.bucket.client.list_objects_v2(Bucket=lake.bucket.name)["Contents"]
    size = human_bytes(sum(found["Size"] for found in listed))
    assert spec.description == f"2 objects, {size} in s3://{lake.bucket.name}/data/2024/"
    metadata = spec.metadata
    assert [column.name for column in metadata["dagster/column_schema"].columns] == [
        *("id", "text", "_cq_id", "_cq_parent_id", "_s3_key")
    ]
    assert str(metadata["s3pq/source"]) == f"s3://{lake.bucket.name}/data/2024/"
    assert metadata["dagster/table_name"] == "main.data_2024"


@pytest.mark.parametrize(
    ("prefix", "shown"),
    [
        ("orders/", "s3://lake/orders/"),
        ("raw_in/a-b.c/{hive}/*.parquet", "s3://lake/raw_in/a-b.c/{hive}/*.parquet"),
        ("_private_/", "`s3://lake/_private_/`"),
        ("*/*.parquet", "`s3://lake/*/*.parquet`"),
        ("a <b>/", "`s3://lake/a <b>/`"),
        ("a`b/", "`` s3://lake/a`b/ ``"),
    ],
)
def test_a_place_is_plain_text_where_markdown_leaves_it_alone(prefix: str, shown: str) -> None:
    """The catalog shows a description as it is written, with the marks around code."""
    table = DiscoveredTable("lake", "t", prefix, 1, 2)
    props = S3ParquetTableProps(table, "duckdb", "main.t", add_cq_ids=True)
    spec = S3ParquetTranslator().get_asset_spec(props)
    assert spec.description == f"1 object, 2 bytes in {shown}"


def told(schema: dg.TableSchema) -> dict[str, tuple[bool, str | None]]:
    """Return whether each column may be null, and its description."""
    return {each.name: (each.constraints.nullable, each.description) for each in schema.columns}


@pytest.mark.first_case
@pytest.mark.parametrize(("mode", "nullable"), [("strict", False), ("evolve", True)])
def test_columns_show_what_the_file_says_of_them(lake: Lake, mode: str, *, nullable: bool) -> None:
    """Before a run and after it; where objects may lack a column, it may be null."""
    fields = [
        pa.field("id", pa.int64(), nullable=False, metadata={"comment": "The order's number"}),
        pa.field("text", pa.string(), metadata={"unit": "\x1bEUR", "doc": "What it cost"}),
        pa.field("bare", pa.string()),
    ]
    table = pa.table({"id": [1], "text": ["5"], "bare": ["x"]}, schema=pa.schema(fields))
    lake.bucket.put("a/1.parquet", table)
    definitions = lake.definitions(schema_mode=mode)
    before = spec_of(definitions, lake.bucket.name, "a").metadata["dagster/column_schema"]
    shown = told(before)
    assert shown["id"] == (nullable, "The order's number")
    assert shown["text"] == (True, "What it cost. unit: \\x1bEUR")
    assert shown["bare"] == (True, None)
    after = materialized(lake.run(definitions=definitions))["a"].metadata["dagster/column_schema"]
    assert isinstance(after.value, dg.TableSchema)
    assert told(after.value) == shown


def test_a_materialization_has_the_numbers_the_ui_plots(lake: Lake) -> None:
    """Every run records the same metadata keys."""
    lake.bucket.put("a/1.parquet", 3)
    first = materialized(lake.run())["a"]
    lake.bucket.put("a/2.parquet", 4)
    second = materialized(lake.run())["a"]
    one, two = values(first), values(second)
    assert one.keys() == two.keys()
    assert (one["dagster/row_count"], two["dagster/row_count"]) == (3, 7)
    assert (one["s3pq/rows"], two["s3pq/rows"]) == (3, 4)
    assert (two["s3pq/objects"], two["s3pq/objects_loaded"]) == (1, 2)
    sizes = {entry["key"]: entry["size"] for entry in lake.ledger("a")}
    assert two["s3pq/bytes"] == sizes["a/2.parquet"]
    assert two["s3pq/seconds"] > 0
    assert two["s3pq/rows_per_second"] > 0
    assert two["s3pq/objects_quarantined"] == 0
    assert two["dagster/table_name"] == "main.a"
    assert two["s3pq/source"] == f"s3://{lake.bucket.name}/a/"
    assert [column.name for column in two["dagster/column_schema"].columns][:2] == ["id", "text"]


@pytest.mark.thorough
def test_the_data_version_is_the_fingerprint_of_what_is_loaded(lake: Lake) -> None:
    """The data version is the stored fingerprint, changes with the rows, and is observed too."""
    lake.bucket.put("a/1.parquet", 3)
    first = (materialized(lake.run())["a"].tags or {})["dagster/data_version"]
    stored = "SELECT fingerprint FROM _s3pq_tables"
    assert lake.query(stored) == [(first,)]
    lake.bucket.put("a/2.parquet", 3)
    second = (materialized(lake.run())["a"].tags or {})["dagster/data_version"]
    assert second != first
    assert lake.query(stored) == [(second,)]


def test_one_tables_failure_leaves_the_others_alone(lake: Lake) -> None:
    """With one op for each table, a failure of any of them stops no other."""
    for table in ("a", "b", "c"):
        lake.bucket.put(f"{table}/1.parquet", 1)
    definitions = lake.definitions()
    denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    lake.bucket.proxy.before = lambda request: denied if request.key == "a/1.parquet" else None
    result = lake.run(definitions=definitions)
    assert not result.success
    assert set(materialized(result)) == {"b", "c"}
    message = failure(result, "load_a")
    assert f"access denied to s3://{lake.bucket.name}/a/1.parquet" in message
    assert "s3:GetObject" in message


@pytest.mark.thorough
def test_granularity_all_is_one_op_and_can_be_subset(lake: Lake) -> None:
    """A run takes one step for all selected tables."""
    for table in ("a", "b", "c"):
        lake.bucket.put(f"{table}/1.parquet", 1)
    lake.options = {"granularity": "all"}
    result = lake.run("a", "c")
    assert result.success
    assert set(materialized(result)) == {"a", "c"}
    assert lake.tables() == {"a", "c", "_s3pq_objects", "_s3pq_schemas", "_s3pq_tables"}
    assert len(result.get_step_success_events()) == 1


def test_a_translator_changes_key_group_tags_and_description(lake: Lake) -> None:
    """Loading, the sensor and downstream assets still find a table with another key."""

    class Bronze(S3ParquetTranslator):
        def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
            return dg.AssetSpec(
                ["bronze", props.table.name],
                group_name="landing",
                tags={"tier": "bronze"},
                description="Ours.",
            )

    lake.bucket.put("a/1.parquet", 3)
    lake.options = {"translator": Bronze()}
    definitions = lake.definitions()
    spec = spec_of(definitions, "bronze", "a")
    assert (spec.group_name, spec.tags["tier"], spec.description) == ("landing", "bronze", "Ours.")
    result = lake.run(definitions=definitions)
    assert result.success
    assert lake.rows("a") == 3
    assert not lake.tick(definitions=definitions).run_requests


@pytest.mark.thorough
def test_two_buckets_live_in_one_code_location(lake: Lake, weed_lake: Lake) -> None:
    """The builders take resource keys, and a table name belongs to one bucket."""
    lake.bucket.put("a/1.parquet", 1)
    weed_lake.bucket.put("b/1.parquet", 2)
    manager = S3ParquetDuckDBIOManager(database=str(lake.database))
    sources = {
        f"source_{n}": S3ParquetResource(**each.bucket.spec)
        for n, each in enumerate((lake, weed_lake))
    }
    assets = [
        asset
        for key, source in sources.items()
        for asset in build_s3_parquet_assets(
            source, destination=manager, source_key=key, io_manager_key="warehouse"
        )
    ]
    definitions = dg.Definitions(assets, resources={**sources, "warehouse": manager})
    assert lake.run(definitions=definitions).success
    assert (lake.rows("a"), lake.rows("b")) == (1, 2)


@pytest.mark.thorough
def test_a_table_of_another_bucket_is_refused(lake: Lake, weed_lake: Lake) -> None:
    """A table belongs to one bucket."""
    lake.bucket.put("a/1.parquet", 1)
    weed_lake.bucket.put("a/1.parquet", 1)
    lake.run()
    weed_lake.database = lake.database
    result = weed_lake.run()
    assert f"is loaded from s3://{lake.bucket.name}/a/" in failure(result, "load_a")
    assert lake.rows("a") == 1


def test_an_unknown_destination_url_names_what_is_known(lake: Lake) -> None:
    """The error lists the known URLs, and leaves out a password."""
    with pytest.raises(Exception, match=r"duckdb:///lake\.duckdb") as caught:
        build_s3_parquet_definitions(
            S3ParquetResource(**lake.bucket.spec), destination="mysql://me:canary@host/db"
        )
    assert "canary" not in str(caught.value)


@pytest.mark.thorough
def test_a_transient_failure_is_retried_by_the_step(lake: Lake) -> None:
    """The second attempt loads what the first one did not."""
    lake.bucket.put("a/1.parquet", numbers(2))
    lake.options = {"retry_policy": dg.RetryPolicy(max_retries=1)}
    definitions = lake.definitions()
    # By the short way once, and four times by the long one.
    answers = [Answer(500, b"<Error><Code>InternalError</Code></Error>")] * 5
    lake.bucket.proxy.before = lambda r: answers.pop() if r.is_object and answers else None
    result = lake.run(definitions=definitions)
    assert result.success
    retries = [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
    assert len(retries) == 1
    assert lake.rows("a") == 2
