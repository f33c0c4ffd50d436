"""Statements and commits on a connection to PostgreSQL."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import psycopg

from s3pq_dagster_tests.crashes.steps import Steps

_READ_ONLY = ("SELECT", "SET", "LOCK", "BEGIN", "SAVEPOINT", "RELEASE", "DECLARE", "FETCH", "CLOSE")


def watch_postgres(steps: Steps) -> None:
    """Count what changes a database."""
    connect = psycopg.Connection.connect

    def watched(*arguments: Any, **options: Any) -> Any:
        return _Connection(connect(*arguments, **options), steps)

    setattr(psycopg.Connection, "connect", watched)  # noqa: B010 - a method of a class


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

    def cursor(self, **options: Any) -> Any:
        return _Cursor(self._inner.cursor(**options), self._steps)

    def commit(self) -> None:
        self._steps.step("COMMIT", self._inner.commit)


class _Cursor(_Watched):
    def execute(self, sql: bytes, *parameters: Any) -> Any:
        run = partial(self._inner.execute, sql, *parameters)
        words = sql.decode().split()
        if words[0] in _READ_ONLY and "lock" not in words[1]:
            return run()
        return self._steps.step(" ".join(words[:4]), run)

    @contextmanager
    def copy(self, sql: bytes) -> Iterator[Any]:
        table = sql.decode().split()[1]
        with ExitStack() as copying:
            begin = partial(copying.enter_context, self._inner.copy(sql))
            yield _Copy(self._steps.step(f"begin COPY {table}", begin), self._steps)
            self._steps.step(f"end COPY {table}", copying.pop_all().close)


class _Copy(_Watched):
    def write(self, data: bytes) -> None:
        self._steps.step("send rows", partial(self._inner.write, data))
