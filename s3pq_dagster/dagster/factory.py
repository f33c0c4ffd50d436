"""The definitions of a whole code location: assets, sensor and resources."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import dagster as dg

from s3pq_dagster.dagster.assets import (
    DEFAULT_RETRY_POLICY,
    build_s3_parquet_assets,
)
from s3pq_dagster.dagster.discovery import discover
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers import DEFAULT_DESTINATION, build_io_manager
from s3pq_dagster.dagster.names import IO_MANAGER_KEY, SENSOR_NAME, SOURCE_KEY, named
from s3pq_dagster.dagster.op_settings import Execute, load_and_check
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.dagster.sensor import build_s3_parquet_sensor
from s3pq_dagster.dagster.table_specs import GroupBy
from s3pq_dagster.dagster.translator import S3ParquetTranslator


# Long by its arguments and what is said of each; it only passes them on.
def build_s3_parquet_definitions(
    source: S3ParquetResource,
    *,
    destination: S3ParquetIOManager | str = DEFAULT_DESTINATION,
    name: str | None = None,
    tables: Sequence[DiscoveredTable] | None = None,
    granularity: Literal["table", "all"] = "table",
    shards: Mapping[str, int] | None = None,
    checks: bool = True,
    translator: S3ParquetTranslator | None = None,
    retry_policy: dg.RetryPolicy | None = DEFAULT_RETRY_POLICY,
    pool: str | None = None,
    op_tags: Mapping[str, str] | None = None,
    execute: Execute = load_and_check,
    executor: dg.ExecutorDefinition | None = dg.in_process_executor,
    has_sensor: bool = True,
    sensor_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
    sensor_interval_seconds: int = 60,
    run_per_table: bool = False,
    stale_run_seconds: int = 900,
    group_by: GroupBy = "bucket",
    source_assets: bool = False,
    reload_for_new_tables: bool = False,
    webserver_url: str | None = None,
    refresh_tables: Callable[[], object] | None = None,
) -> dg.Definitions:
    """Build everything that a code location needs: the tables' assets, the sensor, the resources.

    The bucket is listed if a code location is starting; see :func:`discover`.

    Args:
        source: The bucket.
        destination: An IO manager, or a URL such as ``duckdb:///lake.duckdb``.
        name: Tells the source from others in the same code location, in the names of ops, sensor
            and resource keys; see :func:`build_s3_parquet_assets`. The sensor is then called
            ``s3_parquet_sensor__<name>``.
        tables: See :func:`build_s3_parquet_assets`.
        granularity: See :func:`build_s3_parquet_assets`.
        shards: See :func:`build_s3_parquet_assets`.
        checks: See :func:`build_s3_parquet_assets`.
        translator: See :func:`build_s3_parquet_assets`.
        retry_policy: See :func:`build_s3_parquet_assets`.
        pool: See :func:`build_s3_parquet_assets`.
        op_tags: See :func:`build_s3_parquet_assets`.
        execute: See :func:`build_s3_parquet_assets`.
        executor: Where the tables of a run are loaded. In one process they share a listing, and
            the next table's objects are prefetched; a DuckDB file has one writer in any case.
            ``None`` leaves it to the code location.
        has_sensor: Whether there is a sensor at all.
        sensor_status: Whether the sensor runs from the start.
        sensor_interval_seconds: See :func:`build_s3_parquet_sensor`.
        run_per_table: See :func:`build_s3_parquet_sensor`.
        stale_run_seconds: See :func:`build_s3_parquet_sensor`.
        group_by: See :func:`build_s3_parquet_assets`.
        source_assets: See :func:`build_s3_parquet_assets`.
        reload_for_new_tables: See :func:`build_s3_parquet_sensor`.
        webserver_url: See :func:`build_s3_parquet_sensor`.
        refresh_tables: Needed with ``tables`` only; see :func:`build_s3_parquet_sensor`.

    Returns:
        Definitions with one op for each table, unless ``granularity`` is ``"all"``.

    Raises:
        StoreError: The bucket cannot be listed, and no earlier result is saved.
        ConfigurationError: The destination's URL is of no known kind, or a number of shards is
            below 1, or the name cannot be a part of names, or ``webserver_url`` is none.
    """
    io_manager = build_io_manager(destination) if isinstance(destination, str) else destination
    assets: Sequence[dg.AssetsDefinition] = build_s3_parquet_assets(
        source,
        destination=io_manager,
        tables=discover(source) if tables is None else tables,
        name=name,
        granularity=granularity,
        shards=shards,
        checks=checks,
        translator=translator,
        retry_policy=retry_policy,
        pool=pool,
        op_tags=op_tags,
        execute=execute,
        group_by=group_by,
        source_assets=source_assets,
    )
    sensor = build_s3_parquet_sensor(
        source,
        assets=assets,
        destination=io_manager,
        name=named(SENSOR_NAME, name),
        default_status=sensor_status,
        minimum_interval_seconds=sensor_interval_seconds,
        run_per_table=run_per_table,
        stale_run_seconds=stale_run_seconds,
        reload_for_new_tables=reload_for_new_tables,
        webserver_url=webserver_url,
        refresh_tables=refresh_tables,
    )
    return dg.Definitions(
        assets=assets,
        sensors=[sensor] if has_sensor else [],
        resources={named(SOURCE_KEY, name): source, named(IO_MANAGER_KEY, name): io_manager},
        executor=executor,
    )
