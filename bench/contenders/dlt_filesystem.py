"""dlt's filesystem source into DuckDB with Arrow tables, its fastest way."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.sources.filesystem import filesystem

from bench.contenders.task import Task, contend


@dlt.transformer  # type: ignore[untyped-decorator] # not installed where types are checked
def read(files: list[Any]) -> Iterator[Any]:
    """Read as dlt's ``read_parquet`` with ``use_pyarrow``, and add the columns that ours has."""
    for file in files:
        with file.open() as opened:
            rows = pq.read_table(opened)
        drawn = os.urandom(16 * rows.num_rows)
        ids = pa.Array.from_buffers(pa.binary(16), rows.num_rows, [None, pa.py_buffer(drawn)])
        keys = pa.repeat(file["file_url"], rows.num_rows)
        yield rows.append_column("_cq_id", ids.cast(pa.binary())).append_column("_s3_key", keys)


def load(task: Task) -> None:
    """Run one pipeline with one resource per table."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    credentials = dlt.sources.credentials.AwsCredentials(
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=task.endpoint,
        region_name=task.region,
    )
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.duckdb(task.database),
        dataset_name="main",
        pipelines_dir=str(Path(task.directory) / "pipelines"),
    )
    resources = [
        (
            filesystem(
                bucket_url=f"s3://{task.bucket}/{table}",
                credentials=credentials,
                file_glob="*.parquet",
            )
            | read().with_name(table)
        ).with_name(table)
        for table in task.tables
    ]
    pipeline.run(resources)


if __name__ == "__main__":
    contend(f"dlt {dlt.__version__}, duckdb {duckdb.__version__}", load)
