"""Statements on a connection of DuckDB's that writes."""

from typing import Any

import duckdb
import pyarrow as pa

from s3pq_dagster_tests.crashes.steps import Steps

_READ_ONLY = ("SELECT", "BEGIN", "SET")


def watch_duckdb(steps: Steps) -> None:
    """Count what changes a DuckDB file."""
    connect = duckdb.connect

    def watched(database: str, *, read_only: bool = False, **options: Any) -> Any:
        def opened() -> Any:
            return connect(database, read_only=read_only, **options)

        if read_only:
            return opened()
        return _Watched(steps.step("open the file for writing", opened), steps)

    setattr(duckdb, "connect", watched)  # noqa: B010 - a function of another signature


class _Watched:
    """A connection whose statements are steps."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, steps: Steps) -> None:
        self._connection = connection
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        def run() -> Any:
            return self._connection.execute(sql, *parameters)

        words = sql.split()
        if words[0] in _READ_ONLY:
            return run()
        return self._steps.step(" ".join(words[:4]), run)

    def register(self, name: str, data: Any) -> Any:
        if isinstance(data, pa.RecordBatchReader):
            data = self._steps.watched_stream(data)
        return self._connection.register(name, data)

    def close(self) -> None:
        self._steps.step("close the file", self._connection.close)
