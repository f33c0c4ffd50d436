"""One tick of the sensor of s3pq_dagster, with nothing new."""

from importlib.metadata import version

import dagster as dg

from bench.contenders.task import Task, contend
from s3pq_dagster import (
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    build_s3_parquet_definitions,
)


def load(task: Task) -> dict[str, float]:
    """Tick as the daemon has it done; what a code location does at its start is apart."""
    source = S3ParquetResource(bucket=task.bucket, region=task.region, endpoint_url=task.endpoint)
    destination = S3ParquetDuckDBIOManager(database=task.database)
    defs = build_s3_parquet_definitions(source, destination=destination)
    sensor = defs.get_repository_def().get_sensor_def("s3_parquet_sensor")
    with (
        dg.DagsterInstance.get() as instance,
        dg.build_sensor_context(instance=instance) as context,
    ):
        task.begin()
        said = sensor.evaluate_tick(context)
    return {"requests": len(said.run_requests or [])}


if __name__ == "__main__":
    contend(f"s3pq_dagster {version('s3pq-dagster')}", load)
