"""What the sensor remembers from one tick to the next; losing it costs nothing."""

import json
import logging
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from s3pq_dagster.dagster.backoff import MOST_SECONDS, backoff_seconds
from s3pq_dagster.dagster.reload_times import ReloadTimes
from s3pq_dagster.logs import line

_FORMAT = 1
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What parsing JSON of any shape may raise."""
_MOST_ATTEMPTS = 10**9
_LATEST = 10**12
"""Bounds of the numbers that a cursor may hold, which a person may have edited."""
_MOST_SHOWN = 20
"""LastModified cursors in the text, which a person may read on one screen."""
_FORGOTTEN_SECONDS = 2 * MOST_SECONDS
"""After so long, a request is no repetition of one that failed, but a verification."""


@dataclass(slots=True)
class Asked:
    """When a run was last requested for a table, and which deletions need none."""

    fingerprint: str | None = None
    """The fingerprint of the listing for which a run was last requested."""
    attempts: int = 0
    """How many runs were requested for that listing, one soon after the other."""
    at: float = 0.0
    """When the last of them was requested, in seconds since the epoch."""
    accepted: str | None = None
    """The fingerprint of a listing that lacks objects of ``accepted_for`` and adds none."""
    accepted_for: str | None = None
    """The data version that ``accepted`` was compared with."""

    def ask(self, fingerprint: str, now: float) -> None:
        """Remember that a run is requested."""
        is_again = self.fingerprint == fingerprint and now - self.at < _FORGOTTEN_SECONDS
        self.attempts = self.attempts + 1 if is_again else 1
        self.fingerprint, self.at = fingerprint, now

    def note_report(self, at: float) -> None:
        """Remember that a run reported the table: if it was requested before, it did not fail."""
        if at >= self.at:
            self.fingerprint, self.attempts, self.at = None, 0, 0.0

    def forget_deletions(self, version: str) -> None:
        """Forget deletions that were accepted for another data version than the present one."""
        if self.accepted_for != version:
            self.accepted = self.accepted_for = None

    def remembered(self) -> dict[str, Any]:
        """Return what is remembered, by field; nothing where that is nothing."""
        return {name: value for name, value in asdict(self).items() if value}

    def seconds_left(self, fingerprint: str, now: float) -> float:
        """Return how long not to request another run for a listing.

        The time doubles with each run that was requested for it. If the clock was set back since
        the last request, the time begins now.

        Returns:
            Zero or less if a run may be requested now.
        """
        if self.fingerprint != fingerprint:
            return 0
        self.at = min(self.at, now)
        return self.at + backoff_seconds(self.attempts) - now


@dataclass(slots=True)
class SensorCursor:
    """The sensor's cursor, as JSON."""

    tables: dict[str, Asked]
    reload: ReloadTimes = field(default_factory=ReloadTimes)
    """When the code location was last asked to reload."""

    @classmethod
    def parse(cls, text: str | None, log: logging.Logger, *, sensor: str) -> Self:
        """Read a cursor; one of another format counts as empty, with a warning.

        Args:
            text: What :meth:`dump` returned, or anything else; empty if there is no cursor yet.
            log: Gets the warning.
            sensor: The sensor's name, for the warning.
        """
        if not text:
            return cls({})
        try:
            state = json.loads(text)
            if state["v"] != _FORMAT:
                raise ValueError(f"its format is {state['v']!r:.40}, not {_FORMAT}")
            tables = {name: _asked(each) for name, each in state["tables"].items()}
            return cls(tables, _reload(state.get("reload", {})))
        except _UNREADABLE as error:
            consequence = "it counts as empty; failed runs are requested again at once"
            reason = f"{type(error).__name__}: {error}"[:200]
            log.warning(
                line("cursor_ignored", sensor=sensor, reason=reason, consequence=consequence)
            )
            return cls({})

    def of(self, table: str) -> Asked:
        """Return what is remembered of a table; changes to it are kept."""
        return self.tables.setdefault(table, Asked())

    def keep(self, tables: Container[str]) -> None:
        """Forget all other tables."""
        self.tables = {name: asked for name, asked in self.tables.items() if name in tables}

    def dump(self, cursors: Mapping[str, str]) -> str:
        """Return the cursor as JSON.

        Args:
            cursors: LastModified cursors by key, of which people see the latest.
        """
        asked = {name: asked.remembered() for name, asked in sorted(self.tables.items())}
        tables = {name: state for name, state in asked.items() if state}
        reload = self.reload.remembered()
        more_state = {"reload": reload} if reload else {}
        latest = sorted(cursors, key=lambda key: cursors[key].rstrip("Z"))[-_MOST_SHOWN:]
        shown = {key: cursors[key] for key in sorted(latest)}
        more = len(cursors) - len(shown)
        left = {"cursors_not_shown": more} if more else {}
        return json.dumps({"v": _FORMAT, "tables": tables, **more_state, **shown, **left})


def _asked(state: Any) -> Asked:
    """Build what is remembered of a table from JSON.

    Raises:
        TypeError: It is no object, or has other fields.
        ValueError: A field has a value that it cannot have.
    """
    asked = Asked(**state)
    texts = (asked.fingerprint, asked.accepted, asked.accepted_for)
    if not _are_right(texts, asked.attempts, asked.at):
        raise ValueError(f"{state!r:.100} is not what a table's part holds")
    return asked


def _reload(state: Any) -> ReloadTimes:
    """Build what is remembered of reloads from JSON; raises as :func:`_asked`."""
    times = ReloadTimes(**state)
    if not _are_right([times.tables], times.attempts, times.at):
        raise ValueError(f"{state!r:.100} is not what is remembered of a reload")
    return times


def _are_right(texts: Iterable[Any], attempts: Any, at: Any) -> bool:
    """Return whether fields have values that they can have."""
    return (
        all(text is None or isinstance(text, str) for text in texts)
        and type(attempts) is int
        and 0 <= attempts <= _MOST_ATTEMPTS
        and type(at) in (int, float)
        and 0 <= at <= _LATEST
    )
