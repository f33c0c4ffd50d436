"""The bench's aims: the most that this package may take, and whether it does.

Times are aimed at beyond what Dagster takes for a run of as many assets that do nothing: the *own
part* of a run is its time less that of "Dagster alone" in the same turn.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.contest import (
    DAGSTER,
    DUCKDB_S3,
    FILES,
    INTO_DUCKDB,
    LISTING,
    LONG_BATCHES,
    OURS,
    POLARS,
    READER,
    SYNC,
    TICK,
    Contender,
    Score,
)

_BIG, _SMALL, _SLOW_SMALL, _TINY = "big, 0 ms", "small, 0 ms", "small, 30 ms", "tiny, 30 ms"
_SLOW_HIVE, _WIDE = "hive, 30 ms", "wide, 0 ms"
_IDLE, _DRIP = "idle, 30 ms", "drip, 30 ms"


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest value that an aim allows."""

    value: float
    is_less: bool = False
    """Whether this is only a lower bound, because the contender it follows from was stopped."""


class Measured:
    """All scores, by work and contender."""

    def __init__(self, scores: Sequence[Score]) -> None:
        self._scores = {(score.work, score.name): score for score in scores}

    def seconds(self, work: str, name: str) -> float | None:
        """Return a contender's median, if it was run."""
        score = self._scores.get((work, name))
        return None if score is None else score.seconds

    def least(self, work: str, name: str) -> Bound | None:
        """Return a contender's median, or the time after which it was stopped."""
        score = self._scores.get((work, name))
        if score is None:
            return None
        if score.seconds is None:
            return None if score.stopped_after is None else Bound(score.stopped_after, is_less=True)
        return Bound(score.seconds)

    def own_part(self, work: str, name: str = OURS.name, *, alone: str = "") -> float | None:
        """Return the median over the turns of a contender's time less Dagster's alone.

        Args:
            work: The work.
            name: The contender.
            alone: The work in which Dagster alone was timed; by default the same.
        """
        score, dagster = (
            self._scores.get((work, name)),
            self._scores.get((alone or work, DAGSTER.name)),
        )
        if score is None or dagster is None:
            return None
        turns = zip(score.runs, dagster.runs, strict=False)
        parts = [ours.seconds - its.seconds for ours, its in turns]
        return statistics.median(parts) if parts else None

    def most_above_idle(self, work: str, name: str) -> float | None:
        """Return the peak memory of its runs, in MB above the idle process."""
        score = self._scores.get((work, name))
        if score is None or not score.runs:
            return None
        return max(run.peak - run.idle for run in score.runs) / 1e6

    def processor(self, work: str, name: str, rows: int) -> float | None:
        """Return the least processor time of its runs, in µs per row."""
        score = self._scores.get((work, name))
        if score is None or not score.runs:
            return None
        return min(run.processor for run in score.runs) / rows * 1e6


@dataclass(frozen=True, slots=True)
class Aim:
    """One aim of the bench."""

    work: str
    says: str
    allows: Callable[[Measured], Bound | None]
    took: Callable[[Measured], float | None]
    unit: str = "s"
    digits: int = 1

    def line(self, measured: Measured) -> str:
        """Render this aim as a row of a Markdown table."""
        allows, took = self.allows(measured), self.took(measured)
        may = (
            ""
            if allows is None
            else f"{'more than ' * allows.is_less}{self._in_unit(allows.value)}"
        )
        did = "" if took is None else self._in_unit(took)
        cells = [self.work, self.says, may, did, self._verdict(allows, took)]
        return f"| {' | '.join(cells)} |"

    @staticmethod
    def _verdict(allows: Bound | None, took: float | None) -> str:
        if allows is None or took is None:
            return "not measured"
        if took <= allows.value:
            return "yes"
        return "not known: stopped" if allows.is_less else "no"

    def _in_unit(self, value: float) -> str:
        return f"{value:,.{self.digits}f} {self.unit}"


def _own_part(work: str, times: float, *of: Contender) -> Aim:
    """Allow the own part so many times the time of the fastest of some others."""

    def allows(measured: Measured) -> Bound | None:
        found = [bound for each in of if (bound := measured.least(work, each.name)) is not None]
        least = min(found, key=lambda bound: bound.value, default=None)
        return None if least is None else Bound(least.value * times, least.is_less)

    names = " and ".join(each.name for each in of)
    whom = names if len(of) == 1 else f"the faster of {names}"
    says = f"own part at most {times:g} times {whom}"
    return Aim(work, says, allows, lambda measured: measured.own_part(work))


def _within(work: str, times: float, of: str, name: str, of_work: str | None = None) -> Aim:
    def allows(measured: Measured) -> Bound | None:
        found = measured.seconds(of_work or work, name)
        return None if found is None else Bound(found * times)

    says = f"at most {times:g} times {of}"
    return Aim(work, says, allows, lambda measured: measured.seconds(work, OURS.name))


def _within_listings(work: str, name: str, times: float) -> Aim:
    """Allow an own part of so many times two listings, one for definitions and one for the run."""

    def allows(measured: Measured) -> Bound | None:
        listing = measured.seconds(_IDLE, LISTING)
        return None if listing is None else Bound(2 * times * listing)

    says = f"own part at most {times:g} times its two listings"
    return Aim(work, says, allows, lambda measured: measured.own_part(work, name, alone=_IDLE))


def _memory(layout: str, name: str, megabytes: float) -> Aim:
    work = f"huge, {layout}"
    who = name.removeprefix(f"{OURS.name}, ")
    return Aim(
        work,
        f"{who}: at most {megabytes:,.0f} MB above the idle process",
        lambda _: Bound(megabytes),
        lambda measured: measured.most_above_idle(work, name),
        "MB",
        0,
    )


AIMS = (
    _own_part(_BIG, 1, POLARS),
    _own_part(_BIG, 1.1, FILES),
    _within(_BIG, 1.1, "its own with rows_per_record: 65536", LONG_BATCHES.name),
    _own_part(_SMALL, 1.1, POLARS),
    _own_part(_SLOW_SMALL, 0.4, POLARS),
    _within(_SLOW_SMALL, 1.15, "its own at 0 ms", OURS.name, _SMALL),
    _own_part(_TINY, 0.2, POLARS),
    _own_part(_SLOW_HIVE, 0.3, DUCKDB_S3, POLARS),
    _own_part(_WIDE, 1.2, FILES),
    _within_listings(_IDLE, SYNC, 1.15),
    _within_listings(_DRIP, OURS.name, 1.15),
    Aim(_IDLE, "a tick: at most 10 s", lambda _: Bound(10), lambda m: m.seconds(_IDLE, TICK)),
    *(
        _memory(layout, name, megabytes)
        for layout in ("1 row group", "100 row groups")
        for name, megabytes in ((READER, 300), (INTO_DUCKDB, 1000))
    ),
    Aim(
        "wall",
        "at most 10 µs of processor time a key",
        lambda _: Bound(10),
        lambda measured: measured.processor("wall", LISTING, 1_000_000),
        "µs",
    ),
)
"""The aims; ``bench/README.md`` says which are missed and why."""


def table(scores: Sequence[Score]) -> str:
    """Render all aims as a Markdown table."""
    measured = Measured(scores)
    lines = ["| work | aim | so it may take | it took | reached |", "|---|---|--:|--:|---|"]
    return "\n".join([*lines, *(aim.line(measured) for aim in AIMS)])
