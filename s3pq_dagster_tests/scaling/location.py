"""A code location whose runs spread tables, and shards of one, over Celery's workers."""

import os

from dagster_celery import celery_executor

from s3pq_dagster import S3ParquetResource, build_s3_parquet_definitions
from s3pq_dagster_tests.scaling.dagster_celery_config import broker_url, result_backend

source = S3ParquetResource(
    bucket=os.environ["S3PQ_BUCKET"],
    region=os.environ["S3PQ_REGION"],
    endpoint_url=os.environ["S3PQ_ENDPOINT_URL"],
    checkpoint_bytes=1,
)
defs = build_s3_parquet_definitions(
    source,
    destination=os.environ["S3PQ_DESTINATION"],
    shards={"events": 4},
    executor=celery_executor.configured({"broker": broker_url, "backend": result_backend}),
    pool="lake",
)
