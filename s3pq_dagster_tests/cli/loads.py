"""Loads of the tables that the command line is asked about."""

import logging
from typing import Any

import dagster as dg

from s3pq_dagster import S3ParquetResource, build_io_manager, build_s3_parquet_definitions
from s3pq_dagster.cli.looking import plan_of
from s3pq_dagster.cli.options import Asked
from s3pq_dagster.cli.target import Target
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster_tests.buckets import Bucket


def load(bucket: Bucket, url: str, *, run_id: str = "run", **spec: Any) -> None:
    """Load every table of a bucket into a destination, as a run does, but for what is Dagster's."""
    source = S3ParquetResource(**(bucket.spec | spec))
    with Target(None, source, url).opened() as opened:
        for table in opened.tables(Asked()):
            TableLoad(
                plan=plan_of(opened, table),
                store=opened.source.store,
                log=logging.getLogger(__name__),
                run_id=run_id,
            ).into(opened.destination)


def run(bucket: Bucket, url: str, **spec: Any) -> bool:
    """Materialize every table of a bucket into a destination; return whether that went well."""
    definitions = build_s3_parquet_definitions(
        S3ParquetResource(**(bucket.spec | spec)),
        destination=build_io_manager(url),
        retry_policy=None,
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        bucket.proxy.forget()  # of what the definitions have listed
        return job.execute_in_process(instance=instance, raise_on_error=False).success
