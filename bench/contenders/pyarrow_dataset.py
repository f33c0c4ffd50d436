"""``pyarrow.dataset`` over its own S3 file system, streamed into DuckDB."""

import os
from importlib.metadata import version
from urllib.parse import urlsplit

import duckdb
import pyarrow.dataset as ds
from pyarrow.fs import S3FileSystem

from bench.contenders.task import Task, contend


def load(task: Task) -> None:
    """Create each table from a prefix, with the columns that ours has."""
    address = urlsplit(task.endpoint)
    files = S3FileSystem(
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region=task.region,
        endpoint_override=address.netloc,
        scheme=address.scheme,
    )
    with duckdb.connect(task.database) as connection:
        connection.execute("SET enable_progress_bar = false")
        for table in task.tables:
            found = ds.dataset(f"{task.bucket}/{table}", format="parquet", filesystem=files)
            names = [*found.schema.names, "__filename"]
            connection.register("rows", found.scanner(columns=names).to_reader())
            connection.execute(
                f"""CREATE TABLE {table} AS
                SELECT * RENAME (__filename AS _s3_key),
                    (hash(__filename)::UHUGEINT * 18446744073709551616
                        + (row_number() OVER ())::UHUGEINT)::UUID AS _cq_id
                FROM rows"""
            )
            connection.unregister("rows")


if __name__ == "__main__":
    contend(f"pyarrow {version('pyarrow')}, duckdb {version('duckdb')}", load)
