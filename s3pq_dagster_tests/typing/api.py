"""Uses of every public name, for type checkers; this file is never run."""

import logging
from collections.abc import Iterator
from typing import Any, assert_type

import dagster as dg
import pyarrow as pa

from s3pq_dagster import (
    DiscoveredTable,
    LoadConfig,
    S3ParquetComponent,
    S3ParquetDuckDBIOManager,
    S3ParquetIOManager,
    S3ParquetParquetIOManager,
    S3ParquetPostgresIOManager,
    S3ParquetResource,
    S3ParquetSpec,
    S3ParquetTableProps,
    S3ParquetTranslator,
    TableRun,
    build_io_manager,
    build_s3_parquet_assets,
    build_s3_parquet_definitions,
    build_s3_parquet_sensor,
    discover,
)

source = S3ParquetResource(bucket="lake", region="eu-central-1", path_prefix="raw/")
every_field = S3ParquetSpec(
    bucket="lake",
    region="eu-central-1",
    local_profile="dev",
    path_prefix="raw/",
    filetype="parquet",
    rows_per_record=500,
    concurrency=-1,
    endpoint_url="http://127.0.0.1:8333",
    tables=["*"],
    skip_tables=["tmp_*"],
    write_mode="mirror",
    incremental=False,
    add_cq_ids=False,
    max_bytes_in_flight=1,
    max_object_bytes_in_memory=1,
    checkpoint_bytes=1,
)
assert_type(every_field.concurrency, int)
assert_type(every_field.endpoint_url, str | None)
assert_type(source.bucket, str)

destination = S3ParquetDuckDBIOManager(
    database="lake.duckdb", namespace="raw", memory_limit="1GB", lock_timeout_seconds=60
)
in_postgres = S3ParquetPostgresIOManager(
    url=dg.EnvVar("LAKE_URL"), namespace="raw", lock_timeout_seconds=60
)
files = S3ParquetParquetIOManager(
    root="s3://lake/tables",
    compression="zstd",
    lock_timeout_seconds=60,
    endpoint_url="http://127.0.0.1:8333",
    region="eu-central-1",
    local_profile="dev",
)
from_url: S3ParquetIOManager = build_io_manager("duckdb:///lake.duckdb")

assert_type(build_s3_parquet_definitions(source), dg.Definitions)
assert_type(build_s3_parquet_definitions(source, destination=destination), dg.Definitions)
assert_type(
    build_s3_parquet_definitions(
        source,
        destination="duckdb:///lake.duckdb",
        granularity="all",
        translator=S3ParquetTranslator(),
        retry_policy=None,
        sensor_status=dg.DefaultSensorStatus.RUNNING,
        sensor_interval_seconds=30,
        run_per_table=True,
        stale_run_seconds=600,
    ),
    dg.Definitions,
)


class Raw(S3ParquetTranslator):
    """A user's translator."""

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Put every table under one key."""
        assert_type(props.table, DiscoveredTable)
        assert_type(props.table.objects, int)
        spec = super().get_asset_spec(props)
        return spec.replace_attributes(key=["raw", props.table.name], tags={"tier": "bronze"})


component = S3ParquetComponent(
    bucket="lake",
    region="eu-central-1",
    name="eu",
    destination=destination,
    granularity="all",
    checks=False,
    retry_policy=None,
)
assert_type(component.bucket, str)
assert_type(component.source, S3ParquetResource)


class Bronze(S3ParquetComponent):
    """A user's component."""

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Add a tag."""
        return super().get_asset_spec(props).merge_attributes(tags={"tier": "bronze"})

    def execute(
        self, context: dg.AssetExecutionContext | dg.OpExecutionContext, table: TableRun
    ) -> Iterator[Any]:
        """Load a table."""
        assert_type(table.spec, dg.AssetSpec)
        yield from super().execute(context, table)


tables = discover(source, logging.getLogger(__name__))
assert_type(tables, list[DiscoveredTable])
assets = build_s3_parquet_assets(
    source,
    destination=destination,
    tables=tables,
    granularity="table",
    translator=Raw(),
    source_key="lake",
    io_manager_key="warehouse",
    retry_policy=dg.RetryPolicy(max_retries=1),
)
assert_type(assets, list[dg.AssetsDefinition])
sensor = build_s3_parquet_sensor(
    source,
    assets=assets,
    name="lake_sensor",
    run_per_table=True,
    reload_for_new_tables=True,
    webserver_url="http://127.0.0.1:3000",
    refresh_tables=lambda: None,
)
assert_type(sensor, dg.SensorDefinition)
composed = dg.Definitions(
    assets=assets, sensors=[sensor], resources={"lake": source, "warehouse": destination}
)
config = LoadConfig(
    full_refresh=True, max_objects=10, retry_quarantined=True, allow_empty_listing=False
)
assert_type(config.max_objects, int | None)


@dg.asset(ins={"orders": dg.AssetIn(key=["lake", "orders"])})
def counted(orders: pa.Table) -> int:
    """Read a table in a downstream asset."""
    return int(orders.num_rows)
