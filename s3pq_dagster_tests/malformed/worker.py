"""A program that judges cases one after another; a file may crash it."""

import itertools
import json
import logging
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.malformed.bombs import BOMBS, BOUND
from s3pq_dagster_tests.malformed.judge import judge
from s3pq_dagster_tests.malformed.mutations import mutation
from s3pq_dagster_tests.moto_server import start_moto
from s3pq_dagster_tests.servers import admin_client, use_credentials

_BUCKET = "lake"
_numbers = itertools.count()


def main() -> None:
    """Judge the cases on stdin, one a line, and answer each with a line."""
    logging.disable(logging.WARNING)
    use_credentials()
    endpoint = start_moto(_BUCKET)
    client = admin_client(endpoint)
    spec: dict[str, Any] = {"bucket": _BUCKET, "region": "us-east-1", "endpoint_url": endpoint}
    store = Store.open(S3ParquetSpec(**spec))
    _answer(ready=True)
    for case in map(json.loads, sys.stdin):
        name, body, rows, fields = _case(case)
        key = f"{next(_numbers)}/x.parquet"
        put = client.put_object(Bucket=_BUCKET, Key=key, Body=body)
        found = ObjectMeta(key, len(body), put["ETag"].strip('"'), datetime.now(UTC))
        verdict = judge(store, S3ParquetSpec(**(spec | fields)), body, found, rows)
        _answer(name=name, **asdict(verdict))


def _answer(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _case(case: dict[str, Any]) -> tuple[str, bytes, int | None, dict[str, Any]]:
    """Return name, bytes, expected rows and spec fields of a case."""
    if "path" in case:
        return case["path"], Path(case["path"]).read_bytes(), None, {}
    if "bomb" in case:
        bomb = BOMBS[case["bomb"]]
        rows = -1 if bomb.rows is None else bomb.rows
        return case["bomb"], bomb.make(), rows, {"max_decoded_bytes": BOUND} | bomb.spec
    made = mutation(case["seed"], case["number"])
    # Every other file is read like a large object: spooled to a file and decoded as it is written.
    large = {"max_object_bytes_in_memory": 1024} if case["number"] % 2 else {}
    bound = {"max_decoded_bytes": BOUND} | large
    return f"{case['number']}: {made}", made.body, None, bound


if __name__ == "__main__":
    main()
