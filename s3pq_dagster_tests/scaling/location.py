"""A code location whose runs spread tables, and shards of one, over Celery's workers."""

import os

import dagster as dg
from dagster_aws.s3 import S3PickleIOManager, S3Resource
from dagster_celery import celery_executor

from s3pq_dagster import (
    S3ParquetResource,
    build_s3_parquet_definitions,
    merge_s3_parquet_definitions,
)
from s3pq_dagster_tests.scaling.dagster_celery_config import broker_url, result_backend

source = S3ParquetResource(
    bucket=os.environ["S3PQ_BUCKET"],
    region=os.environ["S3PQ_REGION"],
    endpoint_url=os.environ["S3PQ_ENDPOINT_URL"],
    checkpoint_bytes=1,
)
between_steps = S3PickleIOManager(
    s3_resource=S3Resource(region_name=source.region, endpoint_url=source.endpoint_url),
    s3_bucket=source.bucket,
)
defs = merge_s3_parquet_definitions(
    build_s3_parquet_definitions(
        source,
        destination=os.environ["S3PQ_DESTINATION"],
        shards={"events": 4},
        executor=celery_executor.configured({"broker": broker_url, "backend": result_backend}),
        pool="lake",
    ),
    dg.Definitions(resources={"io_manager": between_steps}),
)
