"""Polars' ``scan_parquet`` over S3, handed to DuckDB as Arrow."""

import os
from importlib.metadata import version

import duckdb
import polars as pl

from bench.contenders.task import Task, contend


def load(task: Task) -> None:
    """Create each table from a glob, with the columns that ours has."""
    options = {
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "aws_region": task.region,
        "aws_endpoint_url": task.endpoint,
        "aws_allow_http": "true",
        "aws_virtual_hosted_style_request": "false",
    }
    with duckdb.connect(task.database) as connection:
        connection.execute("SET enable_progress_bar = false")
        for table in task.tables:
            frame = pl.scan_parquet(
                f"s3://{task.bucket}/{table}/{task.glob}",
                storage_options=options,
                hive_partitioning=task.is_hive,
                include_file_paths="_s3_key",
                row_index_name="_row",
            )
            rows = frame.collect(engine="streaming").to_arrow()
            connection.register("rows", rows)
            connection.execute(
                f"""CREATE TABLE {table} AS
                SELECT * EXCLUDE (_row), (hash(_s3_key)::UHUGEINT * 18446744073709551616
                    + _row::UHUGEINT)::UUID AS _cq_id FROM rows"""
            )
            connection.unregister("rows")


if __name__ == "__main__":
    contend(f"polars {version('polars')}, duckdb {version('duckdb')}", load)
