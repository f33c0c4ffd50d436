"""A code location with what is off by default: lineage, and groups by first segment."""

import os

from s3pq_dagster import S3ParquetResource, build_s3_parquet_definitions

source = S3ParquetResource(
    bucket=os.environ["S3PQ_BUCKET"],
    region=os.environ["S3PQ_REGION"],
    endpoint_url=os.environ["S3PQ_ENDPOINT_URL"],
)
defs = build_s3_parquet_definitions(
    source,
    destination=os.environ["S3PQ_DESTINATION"],
    source_assets=True,
    group_by="first_segment",
)
