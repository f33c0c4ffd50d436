"""dlt's filesystem source on a bucket, as documented, run in a separate environment.

Reads one line a look from standard input and answers with one line of JSON. The line ``rows`` asks
for what is in the destination.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import dlt
import duckdb
import fsspec
import pyarrow.parquet as pq
from dlt.sources.filesystem import filesystem


@dlt.transformer  # type: ignore[untyped-decorator] # not installed where types are checked
def read_good_parquet(files: list[Any]) -> Iterator[Any]:
    """Read as dlt's own ``read_parquet`` does, but skip malformed objects.

    Its own fails the whole run then, and every one after it, which would say nothing of how it
    remembers.
    """
    for file in files:
        try:
            with file.open() as opened:
                yield pq.read_table(opened)
        except Exception as error:  # noqa: BLE001 - whatever it is
            print(f"passed over {file['file_url']}: {error}", file=sys.stderr)


def main() -> None:
    """Answer until standard input ends."""
    bucket, endpoint, directory = sys.argv[1:]
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"
    credentials = dlt.sources.credentials.AwsCredentials(
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=endpoint,
        region_name="us-east-1",
    )
    database = f"{directory}/peer.duckdb"
    pipeline = dlt.pipeline(
        "day", destination=dlt.destinations.duckdb(database), pipelines_dir=f"{directory}/state"
    )
    for line in sys.stdin:
        if line.strip() == "rows":
            answer(rows(database))
            continue
        # A listing must not be reused for the next one.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        files = filesystem(
            bucket_url=f"s3://{bucket}",
            credentials=credentials,
            file_glob="**/*.parquet",
            incremental=dlt.sources.incremental("modification_date"),
        )
        pipeline.run((files | read_good_parquet()).with_name("rows"))
        answer("ok")


def rows(database: str) -> list[Any]:
    """Count the rows by object, version and row."""
    with duckdb.connect(database, read_only=True) as connection:
        return connection.execute(
            'SELECT object, version, "row", count(*) FROM day_dataset."rows" GROUP BY ALL'
        ).fetchall()


def answer(value: Any) -> None:
    """Write one line."""
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(f"dlt {dlt.__version__}")
    else:
        main()
