"""Statements on a connection of DuckDB's that writes."""

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa

from s3pq_dagster_tests.crashes.steps import Steps

_READ_ONLY = ("SELECT", "BEGIN", "USE")


def watch_duckdb(steps: Steps) -> None:
    """Count what changes a DuckDB file."""
    connect: Callable[..., duckdb.DuckDBPyConnection] = duckdb.connect

    def watched(*database: str, **options: Any) -> Any:
        if not database:
            return _Instance(connect(**options), steps)

        def created() -> Any:
            return connect(*database, **options)

        return _Watched(steps.step("create a file", created), steps)

    setattr(duckdb, "connect", watched)  # noqa: B010 - a function of another signature


class _Connection:
    """A connection of DuckDB's, but for what its classes count."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, steps: Steps) -> None:
        self._connection = connection
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Instance(_Connection):
    """An instance that attaches files; attaching one for writing, and detaching it, are steps."""

    _writes = False

    def execute(self, sql: str, *parameters: Any) -> Any:
        def run() -> Any:
            return self._connection.execute(sql, *parameters)

        words = sql.split()
        if words[0] == "ATTACH":
            self._writes = words[-1] == "(READ_WRITE)"
        if self._writes and words[0] in {"ATTACH", "DETACH"}:
            return self._steps.step(f"{words[0]} the file for writing", run)
        return run()

    def cursor(self) -> Any:
        made = self._connection.cursor()
        return _Watched(made, self._steps) if self._writes else made


class _Watched(_Connection):
    """A connection whose statements are steps."""

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
