"""The component, loaded as Dagster loads it from YAML."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster.components.testing import DefsFolderSandbox

from s3pq_dagster import S3ParquetComponent
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.component.project import attributes_of, definitions, sandbox, write
from s3pq_dagster_tests.lake import Lake, messages
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Answer

pytestmark = pytest.mark.filterwarnings(  # of Dagster about itself
    "ignore:.parse_obj_as. is deprecated", "ignore::dagster.BetaWarning"
)

CUSTOM = "s3pq_dagster_tests.component.custom"
PLACES = ("dagster/code_references", "dagster/component_origin")
"""Metadata that says which YAML an asset is from."""
UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"write_mode": "{{ 'upsert' }}"}, "write_mode 'upsert' is not supported"),
    ({"rows_per_record": "{{ 0 }}"}, "rows_per_record must be at least 1, got 0"),
    ({"destination": "mysql://me:s3cret@h/lake"}, "is not one this release knows"),
    ({"destination": "postgresql://me:s3cret@h/lake"}, "has a password in it"),
    ({"destination": {"type": "duckdb", "databse": "x"}}, "duckdb has no databse"),
    ({"destination": {"type": "delta"}}, "destination: delta needs root"),
    ({"destination": "{{ env.UNSET }}"}, "destination: the environment variable UNSET is not"),
    ({"region": "{{ env.UNSET }}"}, "region: the environment variable UNSET is not set"),
    ({"endpoint_url": "http://me:s3cret@h"}, "endpoint_url must not carry a user name"),
    ({"layout": {"ruls": []}}, "ruls"),
    (
        {"layout": {"rules": [{"match": "e/{day}/*", "partitions": "dayly(day)"}]}},
        "'dayly(day)' is none of hourly(…)",
    ),
    ({"sensor": {"intervall": 1}}, "sensor: intervall: Extra inputs are not permitted"),
    ({"retry_policy": {"max_retries": 0}}, "retry_policy: max_retries"),
    ({"sensor": {"webserver_url": "ftp://h"}}, "webserver_url is the address of Dagster's UI"),
    ({"name": "a__b"}, "name must be of ASCII letters"),
]
"""Attributes, and what is said of them."""
DENIED = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[DefsFolderSandbox]:
    """A project that refreshes its state when it is loaded, as under `dg`."""
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    with sandbox() as made:
        yield made


def run(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Materialize everything."""
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, raise_on_error=False)


def told(project: DefsFolderSandbox) -> str:
    """Return what loading the definitions fails with, causes included."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Dagster wraps what is raised
        definitions(project)
    found, error = [], caught.value
    cause: BaseException | None = error
    while cause is not None:
        found.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or cause.__context__
    return "\n".join(found)


def test_every_field_of_the_spec_is_an_attribute_with_its_description() -> None:
    """Attributes have the spec's names, and all of them a description."""
    found = S3ParquetComponent.model().model_json_schema()["properties"]
    assert S3ParquetSpec.model_fields.keys() <= found.keys()
    for name, field in S3ParquetSpec.model_fields.items():
        assert found[name]["description"] == field.description
    assert [name for name, schema in found.items() if not schema.get("description")] == []


def test_yaml_loads_a_bucket(
    project: DefsFolderSandbox, bucket: Bucket, database: Path, instance: dg.DagsterInstance
) -> None:
    """The attributes load each object's rows into the destination that they name."""
    bucket.put("orders/1.parquet", 3)
    write(project, attributes_of(bucket, database))
    assert run(definitions(project), instance).success
    with duckdb.connect(str(database), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(3,)]


def test_a_rule_in_yaml_declares_partitions(
    project: DefsFolderSandbox, bucket: Bucket, database: Path
) -> None:
    """The assets of its tables have them."""
    rule = {"match": "e/{day:date}/*.parquet", "partitions": "daily(day)"}
    bucket.put("e/2024-01-05/a.parquet", 3)
    write(project, attributes_of(bucket, database, layout={"rules": [rule]}))
    (spec,) = definitions(project).resolve_all_asset_specs()
    assert spec.partitions_def == dg.DailyPartitionsDefinition("2024-01-05", end_offset=1)


def test_yaml_and_python_give_equal_graphs(
    project: DefsFolderSandbox, bucket: Bucket, database: Path, instance: dg.DagsterInstance
) -> None:
    """Assets, checks, ops, sensor and resources are those of the same call in Python."""
    for table in ("a", "b"):
        bucket.put(f"{table}/1.parquet", 3)
    options = {"granularity": "table", "shards": {"b": 2}, "source_assets": True}
    options["group_by"] = "first_segment"
    write(project, attributes_of(bucket, database, schema_mode="evolve", **options))
    lake = Lake(bucket, instance, database, {"schema_mode": "evolve"}, options)
    in_yaml, in_python = definitions(project), lake.definitions()
    assert shape(in_yaml) == shape(in_python)


def shape(defs: dg.Definitions) -> dict[str, Any]:
    """Describe definitions by what is in them, but for where they are defined."""
    repository = defs.get_repository_def()
    job = defs.resolve_implicit_global_asset_job_def()
    return {
        "specs": {
            spec.key: (
                spec.group_name,
                spec.kinds,
                spec.tags,
                spec.description,
                {k: v for k, v in spec.metadata.items() if k not in PLACES},
            )
            for spec in defs.resolve_all_asset_specs()
        },
        "checks": set(repository.asset_graph.asset_check_keys),
        "nodes": {
            (node.name, tuple(sorted(node.definition.output_dict))) for node in job.graph.nodes
        },
        "sensors": {
            (sensor.name, sensor.minimum_interval_seconds, sensor.default_status)
            for sensor in repository.sensor_defs
        },
        "resources": set(defs.resources or {}),
        "executor": job.executor_def.name,
    }


def test_a_destination_takes_all_fields_of_its_io_manager(
    project: DefsFolderSandbox, bucket: Bucket, tmp_path: Path
) -> None:
    """Fields beyond what a URL says reach the IO manager."""
    bucket.put("orders/1.parquet", 3)
    given = {"type": "parquet", "root": str(tmp_path / "lake"), "compression": "snappy"}
    write(project, bucket.spec | {"destination": given})
    with project.load_component_and_build_defs(project.defs_folder_path / "lake") as (component, _):
        assert isinstance(component, S3ParquetComponent)
        assert getattr(component.destination, "compression", None) == "snappy"


@pytest.mark.thorough
def test_a_variable_in_a_destination_stays_a_reference(
    project: DefsFolderSandbox,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A password in an environment variable is in no resource's configuration."""
    bucket.put("orders/1.parquet", 3)
    monkeypatch.setenv("WAREHOUSE", "postgresql://me:s3cret@127.0.0.1/lake")
    for destination in (
        "{{ env.WAREHOUSE }}",
        {"type": "postgres", "url": "{{ env('WAREHOUSE') }}"},
    ):
        write(project, bucket.spec | {"destination": destination})
        defs = definitions(project)
        assert defs.resources is not None
        manager = defs.resources["s3_parquet_io_manager"]
        assert isinstance(manager.url, dg.EnvVar)
        assert manager.url == "WAREHOUSE"
        assert "s3cret" not in repr(manager)


@pytest.mark.parametrize(("more", "expected"), first_of(UNUSABLE))
def test_what_cannot_be_used_is_named(
    project: DefsFolderSandbox, bucket: Bucket, more: dict[str, Any], expected: str
) -> None:
    """An error names the attribute and what is wrong with it, and shows no secret."""
    bucket.put("orders/1.parquet", 3)
    write(project, bucket.spec | more)
    error = told(project)
    assert expected in error
    assert "s3cret" not in error


@pytest.mark.thorough
def test_text_that_looks_like_a_number_stays_text(
    project: DefsFolderSandbox, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of tables and prefixes may be of digits, in YAML and in variables."""
    bucket.put("2024/1.parquet", 3)
    monkeypatch.setenv("YEAR", "2024")
    for given in ("2024", "{{ env.YEAR }}"):
        write(project, bucket.spec | {"path_prefix": given, "tables": ["2024"]})
        specs = list(definitions(project).resolve_all_asset_specs())
        assert [spec.key.path[-1] for spec in specs] == ["2024"]


def test_no_refresh_needs_what_it_read_before(
    project: DefsFolderSandbox, bucket: Bucket, database: Path
) -> None:
    """A refresh lists once, and reads the footer of a new table alone."""
    bucket.put("orders/1.parquet", 3)
    write(project, attributes_of(bucket, database))
    definitions(project)
    bucket.proxy.forget()
    bucket.put("users/1.parquet", 3)
    definitions(project)
    assert len(bucket.proxy.listings) == 1
    assert {request.key for request in bucket.proxy.object_reads} == {"users/1.parquet"}


def test_definitions_are_made_of_the_state_alone(
    project: DefsFolderSandbox,
    bucket: Bucket,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nobody develops, loading the definitions sends no request."""
    bucket.put("orders/1.parquet", 3)
    write(project, attributes_of(bucket, database))
    definitions(project)
    bucket.proxy.forget()
    monkeypatch.delenv("DAGSTER_IS_DEV_CLI")
    specs = list(definitions(project).resolve_all_asset_specs())
    assert [spec.key.path for spec in specs] == [[bucket.name, "orders"]]
    assert bucket.proxy.requests == []


def test_without_a_state_it_says_what_to_run(
    project: DefsFolderSandbox, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a state, and with one of other settings, the error names the command."""
    bucket.put("orders/1.parquet", 3)
    monkeypatch.delenv("DAGSTER_IS_DEV_CLI")
    write(project, bucket.spec)
    assert "run `dg utils refresh-defs-state`" in told(project)
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    definitions(project)
    monkeypatch.delenv("DAGSTER_IS_DEV_CLI")
    write(project, bucket.spec | {"layout": "dated"})
    error = told(project)
    assert "other settings" in error
    assert "run `dg utils refresh-defs-state`" in error


@pytest.mark.thorough
def test_a_start_without_s3_uses_the_last_state(
    project: DefsFolderSandbox, bucket: Bucket, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If S3 is down when `dg dev` starts, the tables found last are used, with a warning."""
    bucket.put("orders/1.parquet", 3)
    write(project, attributes_of(bucket, database))
    answered = bucket.proxy.before
    bucket.proxy.before = lambda _request: DENIED
    assert "AccessDeniedError" in told(project)
    bucket.proxy.before = answered
    definitions(project)
    (state,) = project.defs_folder_path.glob(".local_defs_state/*/state")
    before = state.read_bytes()
    bucket.proxy.before = lambda _request: DENIED
    assert len(list(definitions(project).resolve_all_asset_specs())) == 1
    assert state.read_bytes() == before
    assert "discovery_failed" in caplog.text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a b/", "a/b/"),
        ("a__b/", "a/b/"),
        ("日本/", "中国/"),
        ("x" * 300, "x" * 301),
        ("a_/b", "a/_b"),
    ],
)
def test_two_prefixes_never_share_a_state(one: str, other: str) -> None:
    """The folder's name that Dagster makes of a state's key is another one, and short."""
    folders = set()
    for prefix in (one, other):
        component = S3ParquetComponent(bucket="lake", region="r", path_prefix=prefix)
        key = component.defs_state_config.key
        assert key.startswith("S3ParquetComponent[lake/")
        folders.add(re.sub(r"[^A-Za-z0-9._-]", "__", key))
    assert len(folders) == 2
    assert max(map(len, folders)) < 255


def test_overrides_translation_and_post_processing_take_effect_in_this_order(
    project: DefsFolderSandbox, bucket: Bucket, database: Path
) -> None:
    """What comes later wins where they say the same."""
    bucket.put("orders/1.parquet", 3)
    translation = {
        "key": "raw/{{ table.name }}",
        "tags": {"second": "translation", "third": "translation", "was": "{{ spec.tags.first }}"},
    }
    after = {"assets": [{"target": "*", "attributes": {"tags": {"third": "post_processing"}}}]}
    attributes = attributes_of(bucket, database, translation=translation)
    write(project, attributes, kind=f"{CUSTOM}.Described", post_processing=after)
    (spec,) = definitions(project).resolve_all_asset_specs()
    assert spec.key.path == ["raw", "orders"]
    assert spec.owners == ["team:own"]
    found = {name: spec.tags[name] for name in ("first", "second", "third", "was")}
    assert found == {
        "first": "get_asset_spec",
        "second": "translation",
        "third": "post_processing",
        "was": "get_asset_spec",
    }


@pytest.mark.parametrize("shards", first_of([1, 2]))
def test_an_overridden_execute_runs_around_each_table(
    project: DefsFolderSandbox,
    bucket: Bucket,
    database: Path,
    instance: dg.DagsterInstance,
    shards: int,
) -> None:
    """What it does before and after a table is done, and the table is loaded."""
    bucket.put("orders/1.parquet", 3)
    attributes = attributes_of(bucket, database, shards={"orders": shards})
    write(project, attributes, kind=f"{CUSTOM}.Watched")
    result = run(definitions(project), instance)
    assert result.success
    said = messages(instance, result.run_id)
    assert said.count("before orders") == said.count("after orders") == 1
    assert len(result.get_asset_materialization_events()) == 1


@pytest.mark.thorough
def test_two_components_may_have_a_table_of_the_same_name(
    project: DefsFolderSandbox,
    bucket: Bucket,
    tmp_path: Path,
    instance: dg.DagsterInstance,
) -> None:
    """Names of ops, of a shard's steps, sensors and resources carry the instance's name."""
    second = Bucket(f"{bucket.name}-eu", bucket.client, bucket.proxy)
    second.client.create_bucket(Bucket=second.name)
    for index, each in enumerate((bucket, second), start=1):
        each.put("orders/1.parquet", 3 * index)
        each.put("users/1.parquet", 1)
    own = attributes_of(bucket, tmp_path / "one.duckdb")
    other = attributes_of(second, tmp_path / "two.duckdb", shards={"orders": 2})
    write(project, own, folder="one")
    write(
        project,
        other | {"name": "eu", "translation": {"key": "eu/{{ table.name }}"}},
        folder="two",
    )
    defs = definitions(project)
    nodes = {node.name for node in defs.resolve_implicit_global_asset_job_def().graph.nodes}
    assert nodes == {"load_orders", "load_users", "load_eu__orders", "load_eu__users"}
    result = run(defs, instance)
    assert result.success
    steps = {event.step_key for event in result.all_events if event.step_key}
    assert {"load_orders", "load_eu__orders.split_eu__orders"} <= steps
    sensors = {sensor.name for sensor in defs.get_repository_def().sensor_defs}
    assert sensors == {"s3_parquet_sensor", "s3_parquet_sensor__eu"}
    assert set(defs.resources or {}) >= {
        "s3_parquet",
        "s3_parquet_io_manager",
        "s3_parquet__eu",
        "s3_parquet_io_manager__eu",
    }
    for name, rows in (("one", 3), ("two", 6)):
        with duckdb.connect(str(tmp_path / f"{name}.duckdb"), read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(rows,)]


def test_two_components_that_make_the_same_are_both_named(
    project: DefsFolderSandbox, bucket: Bucket
) -> None:
    """Without names of their own, or with equal asset keys, both components are named."""
    bucket.put("orders/1.parquet", 3)
    bucket.put("more/1.parquet", 3)
    write(project, bucket.spec, folder="one")
    write(project, bucket.spec | {"path_prefix": "more/"}, folder="two")
    assert "have no `name`" in told(project)
    write(project, bucket.spec | {"name": "eu"}, folder="two")
    error = told(project)
    for part in ("one", "two", f"make the same asset {bucket.name}/more", "translation"):
        assert part in error


@pytest.mark.thorough
def test_what_two_components_load_is_one_asset_upstream_of_both(
    project: DefsFolderSandbox, bucket: Bucket, tmp_path: Path
) -> None:
    """Two copies of one prefix have one external parent, whose columns both have."""
    bucket.put("orders/1.parquet", 3)
    for name in ("one", "two"):
        translation = {"key_prefix": name, "group_name": name}
        more = {"name": name, "translation": translation, "source_assets": True}
        attributes = attributes_of(bucket, tmp_path / f"{name}.duckdb", **more)
        write(project, attributes, folder=name)
    specs = {s.key.to_user_string(): s for s in definitions(project).resolve_all_asset_specs()}
    source = f"s3/{bucket.name}/orders"
    tables = [f"{name}/{bucket.name}/orders" for name in ("one", "two")]
    assert specs.keys() == {source, *tables}
    for table in tables:
        assert [dep.asset_key.to_user_string() for dep in specs[table].deps] == [source]


def test_tables_are_grouped_as_the_component_says(
    project: DefsFolderSandbox, bucket: Bucket, database: Path
) -> None:
    """The attribute does what the argument does, and so does a translation of it."""
    bucket.put("sales/orders/1.parquet", 1)
    write(project, attributes_of(bucket, database, group_by="first_segment"))
    (spec,) = definitions(project).resolve_all_asset_specs()
    assert spec.group_name == "sales"
