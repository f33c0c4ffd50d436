"""The steps of a run that change something, seen from outside, where drivers are called.

Nothing of ours is replaced: what is watched are other people's names, and the only doors through
which a run changes anything that outlives it. ``watches`` has those of each destination.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa

_ENDS = (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.RUN_SUCCESS)


@dataclass(frozen=True, slots=True)
class Kill:
    """The moment at which a run is killed: before or after one of its steps.

    Steps are counted by name, since the number of steps of a kind may differ between runs.
    """

    name: str
    number: int
    """The number of the step among those of this name; the first is 0."""
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.name!r}, number {self.number}"


def kills(steps: Iterable[str], *, after: bool) -> list[Kill]:
    """Return the moment before or after each step, given the names in their order."""
    seen: Counter[str] = Counter()
    found = []
    for name in steps:
        found.append(Kill(name, seen[name], after))
        seen[name] += 1
    return found


@dataclass(slots=True)
class Steps:
    """Counts the steps of a run as they happen, and ends the process at one of them."""

    kill: Kill | None = None
    names: list[str] = field(default_factory=list)
    """The names of the steps so far."""
    _counting: threading.Lock = field(default_factory=threading.Lock)
    """A destination may take several steps at a time."""

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        """Execute one step, unless the process has to end before it."""
        with self._counting:
            number = self.names.count(name)
            self.names.append(name)
        self._reached(Kill(name, number, after=False))
        done = do()
        self._reached(Kill(name, number, after=True))
        return done

    def _reached(self, point: Kill) -> None:
        if point == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_stream(self, batches: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """Count each batch that a driver reads while it writes."""
        return pa.RecordBatchReader.from_batches(batches.schema, self._drained(batches))

    def _drained(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield self.step("take a batch of rows", partial(_same, batch))

    def watch_events(self, instance: dg.DagsterInstance) -> None:
        """Count the events of an instance that concern an asset or end the run."""
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
