"""s3pq_dagster as its README shows it: all assets of the bucket, in one run of one process."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import dagster as dg

from bench.contenders.task import Task, contend
from s3pq_dagster import (
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    build_s3_parquet_definitions,
)

VERSION = f"s3pq_dagster {version('s3pq-dagster')}, duckdb {version('duckdb')}"


def definitions(task: Task, **spec: Any) -> dg.Definitions:
    """Build the README's definitions, with further spec fields if given."""
    source = S3ParquetResource(
        bucket=task.bucket, region=task.region, endpoint_url=task.endpoint, **spec
    )
    destination = S3ParquetDuckDBIOManager(database=task.database)
    return build_s3_parquet_definitions(source, destination=destination)


def load(task: Task, **spec: Any) -> Mapping[str, Any]:
    """Discover, load and check; report how much of the time was loading."""
    defs = definitions(task, **spec)
    with dg.DagsterInstance.get() as instance:
        result = defs.get_implicit_global_asset_job_def().execute_in_process(instance=instance)
        events = result.get_asset_materialization_events()
    loads = [event.step_materialization_data.materialization.metadata for event in events]
    return {
        "loading": sum(float(str(load["s3pq/seconds"].value)) for load in loads),
        "rows": sum(int(str(load["s3pq/rows"].value)) for load in loads),
    }


if __name__ == "__main__":
    contend(VERSION, load)
