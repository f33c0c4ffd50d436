"""A job that Dagster can rebuild from its name, as it has to for a retry."""

import dagster as dg

from s3pq_dagster import (
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    build_s3_parquet_definitions,
)


def job_of(bucket: str, endpoint: str, database: str) -> dg.JobDefinition:
    """Build the job that materializes every table of a bucket, with a checkpoint an object."""
    source = S3ParquetResource(
        bucket=bucket,
        region="us-east-1",
        endpoint_url=endpoint,
        checkpoint_bytes=1,
        concurrency=1,
    )
    definitions = build_s3_parquet_definitions(
        source, destination=S3ParquetDuckDBIOManager(database=database), retry_policy=None
    )
    jobs = dg.Definitions(jobs=[dg.define_asset_job("load", selection="*")])
    return dg.Definitions.merge(definitions, jobs).get_repository_def().get_job("load")
