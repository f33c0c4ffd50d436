"""Files written and moved, and what delta-rs commits."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import botocore.client
import deltalake.transaction
import pyarrow.parquet as pq
from deltalake import DeltaTable

from s3pq_dagster_tests.crashes.steps import Steps

_DELTA_LOG = "_delta_log"
_LOOKS = ("Get", "Head", "List")
_REQUESTS = {"PutObject": "put", "DeleteObjects": "delete"}


def watch_delta(steps: Steps) -> None:
    """Count what changes files below the root, whoever does it.

    A flush is no step: of what a process has written a kill takes nothing, flushed or not.
    """
    _watch(steps, pq.ParquetWriter, "write_table", lambda *_: "write a row group")
    _watch(steps, pq.ParquetWriter, "close", lambda *_: "close a data file")
    _watch(steps, DeltaTable, "create_write_transaction", _named_commit)
    _watch(
        steps,
        deltalake.transaction,
        "create_table_with_add_actions",
        lambda uri, *_: f"create {_table(uri)}",
    )
    _watch_requests(steps)
    for name in ("replace", "unlink"):
        _watch(steps, os, name, lambda path, *_, name=name: f"{name} {_kind(os.fspath(path))}")


def _watch(steps: Steps, owner: Any, name: str, named: Callable[..., str]) -> None:
    do = getattr(owner, name)

    def watched(*args: Any, **options: Any) -> Any:
        return steps.step(named(*args), lambda: do(*args, **options))

    setattr(owner, name, watched)


def _watch_requests(steps: Steps) -> None:
    """Count requests that change something in S3; the source bucket is only read."""
    client: Any = botocore.client.BaseClient
    call = client._make_api_call  # noqa: SLF001 - where all of them pass

    def watched(self: Any, operation: str, asked: dict[str, Any]) -> Any:
        send = partial(call, self, operation, asked)
        if operation.startswith(_LOOKS):
            return send()
        key = asked["Key"] if "Key" in asked else asked["Delete"]["Objects"][0]["Key"]
        return steps.step(f"{_REQUESTS.get(operation, operation)} {_kind(key)}", send)

    client._make_api_call = watched  # noqa: SLF001 - as above


def _named_commit(table: DeltaTable, *_: Any) -> str:
    return f"commit {_table(table.table_uri)}"


def _table(uri: str) -> str:
    name = uri.rstrip("/").rpartition("/")[2]
    return name if name.startswith("_s3pq") else "the table"


def _kind(path: str) -> str:
    """Say what a path is, without what differs from run to run."""
    for part in ("_s3pq_intents", "_s3pq_objects", "_s3pq_tables", "_s3pq_schemas"):
        if part in path:
            return f"{part} {'log' if _DELTA_LOG in path else 'file'}"
    return "the log" if _DELTA_LOG in path else "a data file or directory"
