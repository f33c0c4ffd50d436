"""A program that makes one Dagster run and prints how much memory it took."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from s3pq_dagster import (
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    build_s3_parquet_definitions,
)
from s3pq_dagster_tests.malformed.judge import measured


def main(spec: dict[str, Any], database: str) -> None:
    """Materialize every table once and print success and memory as JSON."""
    definitions = build_s3_parquet_definitions(
        S3ParquetResource(**spec),
        destination=S3ParquetDuckDBIOManager(database=database, memory_limit="200MB"),
        retry_policy=None,
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance, measured() as peak:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    sys.stdout.write(json.dumps({"success": result.success, "peak": peak[0]}) + "\n")


if __name__ == "__main__":
    os.environ["DAGSTER_HOME"] = str(Path(sys.argv[2]).parent)
    main(json.loads(sys.argv[1]), sys.argv[2])
