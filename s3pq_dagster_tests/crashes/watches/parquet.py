"""What a directory of Parquet files is changed by: files written, synced, moved and deleted."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster_tests.crashes.steps import Steps

_LAKE = "lake"


def watch_parquet(steps: Steps) -> None:
    """Count what changes a directory of Parquet files, and each batch that is taken for it."""
    _watch_calls(steps)
    _watch_files(steps)
    _watch_batches(steps)


def _watch_calls(steps: Steps) -> None:
    def watched(do: Callable[..., Any], say: Callable[..., str | None]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            name = say(*arguments)
            if name is None:
                return do(*arguments, **options)
            return steps.step(name, partial(do, *arguments, **options))

        return call

    setattr(os, "replace", watched(os.replace, _replaces))  # noqa: B010 - of another signature
    setattr(os, "unlink", watched(os.unlink, _unlinks))  # noqa: B010 - likewise
    setattr(os, "fsync", watched(os.fsync, _syncs))  # noqa: B010 - likewise


def _replaces(_source: Any, target: Any) -> str | None:
    path = os.fspath(target)
    if "/_s3pq_objects/" in path:
        return "swap the ledger"
    return "replace a file" if f"/{_LAKE}/" in path else None


def _unlinks(path: Any) -> str | None:
    return "delete a file" if f"/{_LAKE}/" in os.fspath(path) else None


def _syncs(descriptor: int) -> str | None:
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    return "sync" if f"/{_LAKE}/" in f"{path}/" else None


def _watch_files(steps: Steps) -> None:
    """Count what is written to files; what is made in memory outlives nothing."""
    writer: Any = pq.ParquetWriter
    begin, write, close = writer.__init__, writer.write_table, writer.close

    def begun(self: Any, where: Any, *arguments: Any, **options: Any) -> None:
        self.is_watched = isinstance(where, pa.OSFile)
        begin(self, where, *arguments, **options)

    def watched(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            if not (self.is_watched and self.is_open):
                return do(self, *arguments, **options)
            return steps.step(name, partial(do, self, *arguments, **options))

        return call

    writer.__init__ = begun
    writer.write_table = watched("write a row group", write)
    writer.close = watched("write a footer", close)


def _watch_batches(steps: Steps) -> None:
    """Count batches where they come from: in Python, a stream is only iterated."""
    end_encode = pa.compute.run_end_encode
    pa.compute.run_end_encode = lambda *a: steps.step("take a batch", lambda: end_encode(*a))
