"""DuckDB's S3 reader: its httpfs extension, as the Python registry packages it."""

import os
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import duckdb_extension_httpfs

from bench.contenders.task import Task, contend


def load(task: Task) -> None:
    """Create each table from a glob, with the columns that ours has.

    This version has no cast to make ``_cq_id`` from a hash and the row number; ``uuidv7`` is the
    cheapest that it has.
    """
    with duckdb.connect(task.database) as connection:
        connection.execute("SET enable_progress_bar = false")
        _open_s3(connection, task)
        for table in task.tables:
            connection.execute(
                f"""CREATE TABLE {table} AS
                SELECT * EXCLUDE (filename), filename AS _s3_key, uuidv7() AS _cq_id
                FROM read_parquet('s3://{task.bucket}/{table}/{task.glob}', filename = true,
                    hive_partitioning = {task.is_hive})"""
            )


def _open_s3(connection: duckdb.DuckDBPyConnection, task: Task) -> None:
    package = Path(duckdb_extension_httpfs.__file__).parent
    (extension,) = package.glob("extensions/*/httpfs.duckdb_extension")
    connection.execute(f"LOAD '{extension}'")
    address = urlsplit(task.endpoint)
    connection.execute(
        f"""CREATE SECRET (TYPE s3, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
        SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}', REGION '{task.region}',
        ENDPOINT '{address.netloc}', URL_STYLE 'path', USE_SSL false)"""
    )


if __name__ == "__main__":
    contend(f"duckdb {duckdb.__version__}, httpfs {version('duckdb_extension_httpfs')}", load)
