"""Listed tables that the definitions lack, and the reload that brings them in."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.code_location import WebserverAddress, reason, reload_of
from s3pq_dagster.dagster.metadata import COLLISION, TOO_MANY_PARTITIONS
from s3pq_dagster.dagster.reload_times import LEAST_SECONDS, ReloadTimes
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.sensor_decision import NotLoaded
from s3pq_dagster.errors import TableNameCollisionError, TableNameError, TooManyPartitionsError
from s3pq_dagster.logs import counted, human_time
from s3pq_dagster.source.catalog import Grouping, tables_in

_TICK_SECONDS = 45
"""How long a tick may take in all, so that it waits for a reload. Dagster gives up after 60."""


def not_loaded(
    source: S3ParquetResource, grouping: Grouping, tables: Mapping[str, dg.AssetSpec]
) -> NotLoaded:
    """Say which listed tables have no asset that loads them, and why."""
    try:
        found = tables_in(
            grouping,
            bucket=source.bucket,
            tables=source.tables,
            skip_tables=source.skip_tables,
        )
    except TableNameError as error:
        return NotLoaded(problems=[str(error)])
    loaded = {name for name, spec in tables.items() if COLLISION not in spec.metadata}
    collisions = {table.collision[0]: table.collision[1] for table in found if table.collision}
    problems = [str(TableNameCollisionError(list(collisions.items())))] if collisions else []
    problems += [
        str(TooManyPartitionsError(**spec.metadata[TOO_MANY_PARTITIONS]))
        for spec in tables.values()
        if TOO_MANY_PARTITIONS in spec.metadata
    ]
    free = [table.name for table in found if table.collision is None]
    return NotLoaded([name for name in free if name not in loaded], problems)


@dataclass(slots=True)
class _Attempt:
    """One reload, which goes on in a thread of its own where it outlives its tick."""

    thread: Thread
    begun: float
    """By the steady clock."""
    ended: float | None = None
    failure: str | None = None
    next: str = ""
    """Who loads the tables then."""

    def told(self) -> str:
        """Say what became of it."""
        took = human_time((self.ended or time.monotonic()) - self.begun)
        if self.ended is None:
            return f"the code location has been reloading for {took}"
        if self.failure is not None:
            return f"reloading the code location failed: {self.failure}"
        return f"the code location was reloaded in {took}, {self.next}"


@dataclass(slots=True)
class Reloads:
    """Reloads of the code location, where tables are listed that the definitions lack."""

    webserver: WebserverAddress | None = None
    """Asked where the code server cannot be."""
    refresh: Callable[[], object] | None = None
    """Called before a reload: brings what the definitions are made from up to date."""
    _last: list[_Attempt] = field(default_factory=list)
    """The last reload that this process asked for; empty if it asked for none."""

    def told(
        self, origin: Any, missing: Sequence[str], times: ReloadTimes, *, begun: float
    ) -> str | None:
        """Ask for a reload if that is due, and say what is done about tables that are missing.

        No failure is raised: a tick goes on, and keeps its cursor, whatever becomes of a reload.

        Args:
            origin: The code location, as a sensor's context has it.
            missing: Listed tables that the definitions lack.
            times: What the sensor's cursor remembers of reloads; is changed.
            begun: When the tick began, by the steady clock.

        Returns:
            ``None`` if nothing is missing.
        """
        now = time.time()
        if not missing:
            times.found(now)
            return None
        if self._last and self._last[-1].ended is None:
            return self._last[-1].told()
        ask = reload_of(origin, self.webserver)
        if isinstance(ask, str):
            return f"reload the code location: {ask}"
        if (seconds := self._seconds_left(missing, times, now)) > 0:
            return self._waiting(times.asked_for(missing), seconds)
        times.ask(missing, now)
        attempt = self._begin(ask)
        attempt.thread.join(max(0, begun + _TICK_SECONDS - time.monotonic()))
        return attempt.told()

    def _seconds_left(self, missing: Sequence[str], times: ReloadTimes, now: float) -> float:
        # The cursor of a tick that failed is lost; this process remembers.
        since = time.monotonic() - self._last[-1].begun if self._last else LEAST_SECONDS
        return max(times.seconds_left(missing, now), LEAST_SECONDS - since)

    def _waiting(self, asked: int, seconds: float) -> str:
        if not asked:
            return f"the code location is asked to reload in {human_time(seconds)}"
        last = f" ({self._last[-1].failure})" if self._last and self._last[-1].failure else ""
        so_far = f"still not there after {counted(asked, 'reload')}{last}"
        return f"{so_far}, next one in {human_time(seconds)}"

    def _begin(self, ask: Callable[[], str]) -> _Attempt:
        def go() -> None:
            try:
                if self.refresh is not None:
                    self.refresh()
                attempt.next = ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, the tick tells it
                attempt.failure = reason(error)
            finally:
                attempt.ended = time.monotonic()

        attempt = _Attempt(Thread(target=go, name="s3pq-reload", daemon=True), time.monotonic())
        self._last[:] = [attempt]
        attempt.thread.start()
        return attempt
