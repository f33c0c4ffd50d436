"""Plays a day: looks at the bucket, runs, and records what both did."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from s3pq_dagster_tests.arrivals.oracle import Sightings
from s3pq_dagster_tests.arrivals.plan import (
    LISTED_AFTER_SECONDS,
    READ_AFTER_SECONDS,
    Content,
    Day,
    table_of,
)
from s3pq_dagster_tests.arrivals.stage import Stage
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.proxy import Request

Read = tuple[str, str, str | None]
"""Key, e_tag and range of a request for an object's data."""


@dataclass(frozen=True, slots=True)
class Due:
    """A run that is due."""

    tables: Sequence[str]
    first: str | None = None
    """The first of the partitions that it loads, which are dates; ``None`` loads all there is."""
    last: str | None = None

    def has(self, key: str) -> bool:
        """Return whether it loads the object with a key of its tables."""
        if self.first is None or self.last is None:
            return True
        return self.first <= key.split("/")[1].removeprefix("day=") <= self.last


class Engine(Protocol):
    """A way to look at a bucket and load from it."""

    def reload(self) -> set[str]:
        """Restart, as a code location does; return the names of the tables it then knows."""

    def tick(self) -> list[Due]:
        """Look at the bucket; return the runs that are due."""

    def run(self, due: Due) -> None:
        """Load what is due.

        Raises:
            AssertionError: The load failed.
        """


@dataclass
class Record:
    """What happened on a day."""

    sightings: Sightings = field(default_factory=Sightings)
    reads: Counter[Read] = field(default_factory=Counter)
    """Requests for data, by what they asked for."""
    explained: Counter[tuple[str, Content]] = field(default_factory=Counter)
    """Reads that found another version than was listed, or none: of both versions."""
    runs: int = 0
    looks: int = 0


@dataclass
class Player:
    """Plays a day to an engine.

    A look takes time: the sensor lists at its moment, the run it asks for lists
    ``LISTED_AFTER_SECONDS`` later, and when the run first reads from a table,
    ``READ_AFTER_SECONDS`` have passed for that table. What happens to it in between happens
    between listing and reading, whether the table is read or not.
    """

    bucket: Bucket
    day: Day
    engine: Engine
    reload_every: int | None = None
    """Restart the engine every so many looks; by default only at the first."""
    mirror: bool = False
    """Whether an empty listing of a table is ignored."""
    record: Record = field(default_factory=Record)

    def __post_init__(self) -> None:
        self.stage = Stage(self.bucket, self.day)

    def play(self) -> Record:
        """Play the whole day."""
        known: set[str] = set()
        for number, moment in enumerate(self.day.looks):
            self.stage.advance(moment)
            if number == 0 or (self.reload_every and number % self.reload_every == 0):
                known = self.engine.reload()
            self._look(moment, known)
        assert self.stage.there == self.day.at_end
        return self.record

    def _look(self, moment: int, known: set[str]) -> None:
        self.record.looks += 1
        self.bucket.proxy.forget()
        due = self.engine.tick()
        assert not self.bucket.proxy.object_reads, "a tick reads no object"
        seen = self.stage.tables()
        self.stage.advance(moment + LISTED_AFTER_SECONDS)
        for run in due:
            self.record.runs += 1
            for table in run.tables:
                there = self.stage.of(table)
                others = {k: v for k, v in seen.get(table, {}).items() if not run.has(k)}
                seen[table] = others | {k: v for k, v in there.items() if run.has(k)}
            self._run(moment, run, seen)
        self.stage.advance(moment + READ_AFTER_SECONDS)
        for table in known:
            if (found := seen.get(table)) or not self.mirror:
                self.record.sightings.see(table, found or {})

    def _run(self, moment: int, due: Due, seen: Mapping[str, dict[str, Content]]) -> None:
        """Run, and correct what was seen where a read found another version."""
        self.bucket.proxy.forget()
        lock, begun = threading.Lock(), set[str]()

        def before(request: Request) -> None:
            # Every read of the table waits here until all has happened.
            with lock:
                if request.is_object and (table := table_of(request.key)) not in begun:
                    begun.add(table)
                    self.stage.advance(moment + READ_AFTER_SECONDS, table)

        self.bucket.proxy.before = before
        try:
            self.engine.run(due)
        finally:
            self.bucket.proxy.before = lambda _request: None
        reads = list(self.bucket.proxy.object_reads)
        self.record.reads.update(
            (read.key, (read.if_match or "").strip('"'), read.range) for read in reads
        )
        for key in {read.key for read in reads}:
            found = seen[table_of(key)]
            listed, now = found.get(key), self.stage.there.get(key)
            if listed == now:
                continue
            for content in {listed, now} - {None}:
                self.record.explained[key, content] += 1  # type: ignore[index] # not None
            found.pop(key, None)
            if now is not None:
                found[key] = now
