"""Statements and commits on a connection to PostgreSQL."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from s3pq_dagster_tests.crashes.steps import Steps

_READ_ONLY = ("SELECT", "SET", "LOCK")


def watch_postgres(steps: Steps) -> None:
    """Count what changes a database."""
    connection = dbapi.Connection

    def watched(*arguments: Any) -> Any:
        return _Connection(connection(*arguments), steps)

    setattr(dbapi, "Connection", watched)  # noqa: B010 - a function in place of a class


class _Watched:
    def __init__(self, inner: Any, steps: Steps) -> None:
        self._inner = inner
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Any:
        self._inner.__enter__()
        return self

    def __exit__(self, *raised: object) -> Any:
        return self._inner.__exit__(*raised)


class _Connection(_Watched):
    """A connection whose commits are steps, and those of its statements that change something."""

    def cursor(self) -> Any:
        return _Cursor(self._inner.cursor(), self._steps)

    def commit(self) -> None:
        self._steps.step("COMMIT", self._inner.commit)


class _Cursor(_Watched):
    def execute(self, sql: str, *parameters: Any) -> Any:
        def run() -> Any:
            return self._inner.execute(sql, *parameters)

        words = sql.split()
        if words[0] in _READ_ONLY and "lock" not in words[1]:
            return run()
        return self._steps.step(" ".join(words[:4]), run)

    def adbc_ingest(self, table: str, data: Any, **options: Any) -> Any:
        if isinstance(data, pa.RecordBatchReader):
            data = self._steps.watched_stream(data)
        ingest: Callable[..., Any] = self._inner.adbc_ingest
        return self._steps.step(f"COPY {table}", lambda: ingest(table, data, **options))
