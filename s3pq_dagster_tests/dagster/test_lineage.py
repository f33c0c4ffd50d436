"""What a table is loaded from, as an asset upstream of it, and the groups that tables are in."""

from typing import Any

import dagster as dg
import pytest

from s3pq_dagster import S3ParquetTableProps, S3ParquetTranslator
from s3pq_dagster.dagster.table_specs import first_segment
from s3pq_dagster_tests.lake import Lake, materialized
from s3pq_dagster_tests.levels import first_of

WITH_SOURCES = {"source_assets": True}


@pytest.fixture
def sources(lake: Lake) -> Lake:
    """A lake of two tables that depend on what they are loaded from."""
    lake.bucket.put("orders/day=1/1.parquet", 3)
    lake.bucket.put("users/1.parquet", 2)
    lake.options |= WITH_SOURCES
    return lake


def specs_of(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    """Return all specs by their key as users write it."""
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_without_being_asked_for_there_are_no_source_assets(lake: Lake) -> None:
    """Tables have no parents then, so that every automation condition may fire."""
    lake.bucket.put("orders/1.parquet", 3)
    (spec,) = specs_of(lake.definitions()).values()
    assert list(spec.deps) == []


def test_each_prefix_is_an_external_asset_upstream_of_its_table(sources: Lake) -> None:
    """It has the kinds, place, columns and group that belong to it, and cannot be run."""
    bucket = sources.bucket.name
    defs = sources.definitions()
    specs = specs_of(defs)
    assert len(specs) == 4
    table, source = specs[f"{bucket}/orders"], specs[f"s3/{bucket}/orders"]
    assert [dep.asset_key for dep in table.deps] == [source.key]
    assert source.kinds == {"s3", "parquet"}
    assert source.group_name == table.group_name
    assert source.metadata["dagster/uri"] == f"s3://{bucket}/orders/{{hive}}/*.parquet"
    columns = source.metadata["dagster/column_schema"].columns
    assert [(c.name, c.tags.get("s3pq/from")) for c in columns] == [
        *(("id", None), ("text", None), ("day", "key"))
    ]
    assert not defs.get_repository_def().asset_graph.get(source.key).is_executable


@pytest.mark.first_case
@pytest.mark.parametrize("shards", first_of([{}, {"orders": 2}], keep=2))
def test_a_load_says_which_column_comes_from_which(sources: Lake, shards: dict[str, int]) -> None:
    """Columns of files and keys are the source's; what a load adds comes from none."""
    sources.options |= {"shards": shards}
    result = sources.run()
    assert result.success
    lineage = materialized(result)["orders"].metadata["dagster/column_lineage"].value
    source = dg.AssetKey(["s3", sources.bucket.name, "orders"])
    assert isinstance(lineage, dg.TableColumnLineage)
    assert lineage.deps_by_column == {
        name: [dg.TableColumnDep(source, name)] for name in ("id", "text", "day")
    }


def test_everything_and_the_sensor_leave_source_assets_out(sources: Lake) -> None:
    """Whoever selects all assets loads the tables, and so does the sensor."""
    defs = sources.definitions()
    graph = defs.get_repository_def().asset_graph
    tables = {dg.AssetKey([sources.bucket.name, name]) for name in ("orders", "users")}
    assert dg.AssetSelection.all().resolve(graph) == tables
    sensor: Any = defs.get_repository_def().get_sensor_def("s3_parquet_sensor")
    assert sensor.job.selection.resolve(graph) == tables
    (request,) = sources.tick(definitions=defs).run_requests
    assert set(request.asset_selection) == tables


class _Theirs(S3ParquetTranslator):
    """Gives source assets a key and an owner, and tables a group."""

    def get_source_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe what a table is loaded from."""
        spec = super().get_source_asset_spec(props)
        return spec.replace_attributes(key=["landing", props.table.name], owners=["team:feeds"])

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table."""
        spec = super().get_asset_spec(props)
        return spec.replace_attributes(group_name="raw", deps=["upload"])


@pytest.mark.thorough
def test_a_translator_describes_source_assets_too(sources: Lake) -> None:
    """Its key is what the table depends on, beside its own dependencies, in shards too."""
    sources.options |= {"translator": _Theirs(), "shards": {"orders": 2}}
    defs = sources.definitions()
    specs = specs_of(defs)
    for name in ("orders", "users"):
        source, table = specs[f"landing/{name}"], specs[f"{sources.bucket.name}/{name}"]
        assert (source.group_name, source.owners) == ("raw", ["team:feeds"])
        assert {dep.asset_key.to_user_string() for dep in table.deps} == {
            *("upload", f"landing/{name}")
        }
    assert sources.run(definitions=defs).success


@pytest.mark.parametrize(
    ("pattern", "below", "expected"),
    [
        ("sales/orders/", "", "sales"),
        ("raw-in/eu/orders/", "", "raw_in"),
        ("orders/", "", ""),
        ("orders.parquet", "", ""),
        ("orders/{hive}/*.parquet", "", ""),
        ("sales/orders/{hive}/*.parquet", "", "sales"),
        ("raw/sales/orders/", "raw/", "sales"),
        ("raw/orders/", "raw/", ""),
        ("日本/orders/", "", ""),
        ("{hive}/*.parquet", "", ""),
        ("//orders/", "", ""),
        ("a{{b/orders/", "", "a_b"),
    ],
)
def test_a_group_is_the_first_segment_of_several_tables(
    pattern: str, below: str, expected: str
) -> None:
    """A table's own folder is none, and neither is what leaves no name."""
    assert first_segment(pattern, below=below) == expected


def test_tables_are_grouped_on_request(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default all are in the bucket's group; a prefix from a variable is read for it."""
    for key in ("raw/sales/orders/1.parquet", "raw/sales/items/1.parquet", "raw/users/1.parquet"):
        lake.bucket.put(key, 1)
    monkeypatch.setenv("WHERE", "raw/")
    bucket = lake.bucket.name.replace("-", "_")

    def groups() -> dict[str, str | None]:
        specs = lake.definitions(path_prefix=dg.EnvVar("WHERE")).resolve_all_asset_specs()
        return {spec.key.path[-1]: spec.group_name for spec in specs}

    assert set(groups().values()) == {bucket}
    lake.options |= {"group_by": "first_segment"}
    assert groups() == {
        "raw_sales_orders": "sales",
        "raw_sales_items": "sales",
        "raw_users": bucket,
    }


class _Waiting(S3ParquetTranslator):
    """Gives tables a condition that waits, as ``eager()`` does, until no parent is missing."""

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table."""
        condition = dg.AutomationCondition
        waits = condition.missing() & ~condition.any_deps_missing()
        return super().get_asset_spec(props).replace_attributes(automation_condition=waits)


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of Dagster about itself
def test_a_table_with_a_source_asset_waits_for_it_for_ever(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    """As the page says; without one its condition fires."""
    lake.bucket.put("orders/1.parquet", 1)
    lake.options |= {"translator": _Waiting()}
    for is_asked_for in (False, True):
        lake.options |= {"source_assets": is_asked_for}
        found = dg.evaluate_automation_conditions(lake.definitions(), instance)
        assert found.total_requested == (0 if is_asked_for else 1)


@pytest.mark.thorough
def test_names_that_collide_are_no_obstacle(sources: Lake) -> None:
    """Tables that cannot be loaded have what they were to be loaded from, too; others load."""
    for key in ("a-b/1.parquet", "a_b/1.parquet", "c/1.parquet", "C/1.parquet"):
        sources.bucket.put(key, 1)
    defs = sources.definitions()
    defs.get_repository_def()
    bucket = sources.bucket.name
    found = {key for key in specs_of(defs) if key.startswith("s3/")}
    assert {f"s3/{bucket}/{name}" for name in ("c", "C", "orders")} <= found
    result = sources.run(definitions=defs)
    assert not result.success
    assert {"orders", "users"} == set(materialized(result))
