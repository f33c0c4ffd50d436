"""Several sources in one code location, each with a name of its own."""

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from s3pq_dagster import (
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    S3ParquetTableProps,
    S3ParquetTranslator,
    build_s3_parquet_definitions,
    merge_s3_parquet_definitions,
)
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.levels import first_of


def second(bucket: Bucket) -> Bucket:
    """Make another bucket on the same server."""
    other = Bucket(f"{bucket.name}-eu", bucket.client, bucket.proxy)
    other.client.create_bucket(Bucket=other.name)
    return other


def built(bucket: Bucket, folder: Path, **options: Any) -> dg.Definitions:
    """Build the definitions of a bucket, into a DuckDB file of its own."""
    destination = S3ParquetDuckDBIOManager(database=str(folder / f"{bucket.name}.duckdb"))
    return build_s3_parquet_definitions(
        S3ParquetResource(**bucket.spec), destination=destination, **options
    )


def rows(bucket: Bucket, folder: Path) -> int:
    """Count the rows of ``orders`` in a bucket's DuckDB file."""
    with duckdb.connect(str(folder / f"{bucket.name}.duckdb"), read_only=True) as connection:
        return int(connection.execute("SELECT count(*) FROM orders").fetchall()[0][0])


@pytest.mark.parametrize(
    "options",
    first_of([{}, {"shards": {"orders": 2}}, {"granularity": "all"}], others=pytest.mark.nightly),
)
def test_two_sources_with_a_table_of_the_same_name_load(
    bucket: Bucket, tmp_path: Path, instance: dg.DagsterInstance, options: dict[str, Any]
) -> None:
    """Each is loaded by its own resources and asked for by its own sensor; then nothing is new."""
    other = second(bucket)
    for number, each in enumerate((bucket, other), start=1):
        each.put("orders/1.parquet", 2 * number)
        each.put("orders/2.parquet", 1)
    merged = dg.Definitions.merge(
        built(bucket, tmp_path, **options), built(other, tmp_path, name="eu", **options)
    )
    sensors = {sensor.name: sensor for sensor in merged.get_repository_def().sensor_defs}
    assert sensors.keys() == {"s3_parquet_sensor", "s3_parquet_sensor__eu"}
    asked = {}
    for name, sensor in sensors.items():
        with dg.build_sensor_context(instance=instance) as context:
            (request,) = sensor.evaluate_tick(context).run_requests or ()
            asked[name] = request.asset_selection
    assert asked == {
        "s3_parquet_sensor": [dg.AssetKey([bucket.name, "orders"])],
        "s3_parquet_sensor__eu": [dg.AssetKey([other.name, "orders"])],
    }
    job = merged.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance).success
    assert (rows(bucket, tmp_path), rows(other, tmp_path)) == (3, 5)
    for sensor in sensors.values():
        with dg.build_sensor_context(instance=instance) as context:
            assert not sensor.evaluate_tick(context).run_requests


def test_a_source_alone_keeps_its_names(bucket: Bucket, tmp_path: Path) -> None:
    """Without a name, ops, sensor and resources are called as they always were."""
    bucket.put("orders/1.parquet", 1)
    alone = built(bucket, tmp_path, shards={"orders": 2})
    job = alone.resolve_implicit_global_asset_job_def()
    assert {node.name for node in job.graph.nodes} == {"load_orders"}
    assert set(alone.resources or {}) == {"s3_parquet", "s3_parquet_io_manager"}
    assert [sensor.name for sensor in alone.sensors or ()] == ["s3_parquet_sensor"]


@pytest.mark.parametrize("name", ["", "a__b", "_a", "a_", "a-b", "é", "a b"])
def test_a_name_that_cannot_be_part_of_names_is_refused(
    bucket: Bucket, tmp_path: Path, name: str
) -> None:
    """Names with two underscores in a row could give one op's name twice."""
    with pytest.raises(ConfigurationError, match="name must be"):
        built(bucket, tmp_path, name=name)


def test_sensors_of_one_bucket_target_their_own_tables(bucket: Bucket, tmp_path: Path) -> None:
    """The tag that a sensor selects by has the source's name, too."""
    for key in ("a/1.parquet", "b/1.parquet"):
        bucket.put(key, 1)
    destination = S3ParquetDuckDBIOManager(database=str(tmp_path / "lake.duckdb"))
    merged = dg.Definitions.merge(
        *(
            build_s3_parquet_definitions(
                S3ParquetResource(**bucket.spec, path_prefix=f"{table}/"),
                destination=destination,
                name=name,
            )
            for table, name in (("a", None), ("b", "eu"))
        )
    )
    repository = merged.get_repository_def()
    jobs: dict[str, Any] = {sensor.name: sensor.job for sensor in repository.sensor_defs}
    selected = {name: job.selection.resolve(repository.asset_graph) for name, job in jobs.items()}
    assert selected == {
        "s3_parquet_sensor": {dg.AssetKey([bucket.name, "a"])},
        "s3_parquet_sensor__eu": {dg.AssetKey([bucket.name, "b"])},
    }


def test_two_sources_that_make_the_same_are_both_named(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python, too: equal names, or equal asset keys, and what to do about it."""
    bucket.put("orders/1.parquet", 1)
    monkeypatch.setenv("WHERE", bucket.name)
    alone, again = built(bucket, tmp_path), built(bucket, tmp_path)
    place = f"s3://{bucket.name}/"
    both = rf"definitions 1 \({place}\) and definitions 2 \({place}"
    with pytest.raises(ConfigurationError, match=both + r"\) have no `name`: give each another"):
        merge_s3_parquet_definitions(alone, again)
    source = S3ParquetResource(**bucket.spec | {"bucket": dg.EnvVar("WHERE")})
    other = build_s3_parquet_definitions(source, name="eu")
    same = rf"{both} as 'eu'\) make the same asset {bucket.name}/orders: .* translator"
    with pytest.raises(ConfigurationError, match=same):
        merge_s3_parquet_definitions(alone, other)


class Elsewhere(S3ParquetTranslator):
    """Gives tables another key than by default."""

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table."""
        return super().get_asset_spec(props).replace_attributes(key=["eu", props.table.name])


def test_sources_and_what_is_beside_them_are_merged(bucket: Bucket, tmp_path: Path) -> None:
    """Names of ops, jobs, sensors and resources differ; what both load is one asset upstream."""
    bucket.put("orders/1.parquet", 1)
    downstream = dg.asset(name="report", deps=[dg.AssetKey(["eu", "orders"])])(lambda: None)
    merged = merge_s3_parquet_definitions(
        built(bucket, tmp_path, source_assets=True),
        built(bucket, tmp_path, name="eu", translator=Elsewhere(), source_assets=True),
        dg.Definitions(assets=[downstream], resources={"more": 1}),
    )
    repository = merged.get_repository_def()
    keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    orders = f"{bucket.name}/orders"
    assert keys == {orders, "eu/orders", f"s3/{orders}", "report"}
    job = merged.resolve_implicit_global_asset_job_def()
    assert {node.name for node in job.graph.nodes} == {"load_orders", "load_eu__orders", "report"}
    sensors = ("s3_parquet_sensor", "s3_parquet_sensor__eu")
    assert {sensor.name for sensor in repository.sensor_defs} == set(sensors)
    for sensor in sensors:
        (job_name,) = [each for each in repository.job_names if each.endswith(f"job_{sensor}")]
        assert len(set(repository.get_job(job_name).asset_layer.executable_asset_keys)) == 1
    assert set(merged.resources or {}) == {
        *("s3_parquet", "s3_parquet_io_manager", "s3_parquet__eu", "s3_parquet_io_manager__eu"),
        "more",
    }
