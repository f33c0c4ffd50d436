"""The steps of a run that change something, seen from outside: where DuckDB and Dagster are called.

Nothing of ours is replaced: ``duckdb.connect`` and the storing of Dagster's events are other
people's names, and the only doors through which a run changes anything that outlives it.
"""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa

_READ_ONLY = ("SELECT", "BEGIN")
_ENDS = (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.RUN_SUCCESS)


@dataclass(frozen=True, slots=True)
class Kill:
    """Where a run is to be killed: before or after its step of this number."""

    step: int
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} step {self.step}"


@dataclass(slots=True)
class Steps:
    """Counts the steps of a run as they happen, and ends the process at one of them."""

    kill: Kill | None = None
    names: list[str] = field(default_factory=list)
    """Of the steps so far."""

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        """Do one step, unless it is before that one that the process is to end."""
        number = len(self.names)
        self.names.append(name)
        self._reached(Kill(number, after=False))
        done = do()
        self._reached(Kill(number, after=True))
        return done

    def _reached(self, point: Kill) -> None:
        if point == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_duckdb(self) -> None:
        """Count what changes a DuckDB file, from now on and in this process."""
        connect = duckdb.connect

        def watched(database: str, *, read_only: bool = False, **options: Any) -> Any:
            def opened() -> Any:
                return connect(database, read_only=read_only, **options)

            if read_only:
                return opened()
            return _Watched(self.step("open the file for writing", opened), self)

        setattr(duckdb, "connect", watched)  # noqa: B010 - a function of another signature

    def watch_events(self, instance: dg.DagsterInstance) -> None:
        """Count the events of an instance that say something of an asset or end the run."""
        storage = instance.event_log_storage
        store = storage.store_event

        def watched(event: Any) -> None:
            found = event.dagster_event
            if found is None or not (found.asset_key or found.event_type in _ENDS):
                store(event)
            else:
                self.step(f"store {found.event_type_value}", lambda: store(event))

        setattr(storage, "store_event", watched)  # noqa: B010 - a method of one object


def _same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


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
            data = pa.RecordBatchReader.from_batches(data.schema, self._drained(data))
        return self._connection.register(name, data)

    def _drained(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """Count each batch that DuckDB takes in the middle of its INSERT."""
        for batch in batches:
            yield self._steps.step("take a batch of rows", partial(_same, batch))

    def close(self) -> None:
        self._steps.step("close the file", self._connection.close)
