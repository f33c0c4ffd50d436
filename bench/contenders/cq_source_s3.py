"""What cq-source-s3 does, transcribed from its source: whole objects to temporary files, twice.

It goes over all objects for their footers, downloading each as a whole to read the end of it, and
then over all of them again for the data, in records of 500 rows.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import boto3
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.config import Config

from bench.contenders.task import Task, contend

_CONCURRENCY = 50
_ROWS_PER_RECORD = 500


def load(task: Task) -> None:
    """List, read all footers, then all data, table by table."""
    client = boto3.client(
        "s3",
        endpoint_url=task.endpoint,
        region_name=task.region,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=_CONCURRENCY),
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=task.bucket)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(_CONCURRENCY) as pool:

        def download(key: str) -> Path:
            path = Path(directory) / key.replace("/", "_")
            client.download_file(task.bucket, key, str(path))
            return path

        def schema(key: str) -> pa.Schema:
            path = download(key)
            try:
                return pq.read_schema(path)
            finally:
                path.unlink()

        schemas = dict(zip(keys, pool.map(schema, keys), strict=True))
        with duckdb.connect(task.database) as connection:
            connection.execute("SET enable_progress_bar = false")
            for table in task.tables:
                of_table = [key for key in keys if key.startswith(f"{table}/")]
                fields = [*schemas[of_table[0]].remove_metadata(), *_OURS]
                paths = zip(of_table, pool.map(download, of_table), strict=True)
                reader = pa.RecordBatchReader.from_batches(pa.schema(fields), _rows(paths))
                connection.register("rows", reader)
                connection.execute(f"CREATE TABLE {table} AS FROM rows")
                connection.unregister("rows")


_OURS = [pa.field("_cq_id", pa.uuid()), pa.field("_s3_key", pa.string())]


def _rows(paths: Iterator[tuple[str, Path]]) -> Iterator[pa.RecordBatch]:
    for key, path in paths:
        for batch in pq.ParquetFile(path).iter_batches(_ROWS_PER_RECORD):
            drawn = np.random.default_rng().bytes(16 * batch.num_rows)
            ids = pa.Array.from_buffers(pa.binary(16), batch.num_rows, [None, pa.py_buffer(drawn)])
            uuids = pa.ExtensionArray.from_storage(pa.uuid(), ids)
            keys = pa.repeat(key, batch.num_rows)
            arrays = [*batch.columns, uuids, keys]
            fields = [*batch.schema.remove_metadata(), *_OURS]
            yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        path.unlink()


if __name__ == "__main__":
    contend(f"boto3 {version('boto3')}, duckdb {version('duckdb')}", load)
