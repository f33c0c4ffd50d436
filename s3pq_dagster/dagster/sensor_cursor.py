"""What the sensor remembers from one tick to the next; losing it costs nothing."""

import hashlib
import json
import logging
import re
from collections import defaultdict
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
_FEW = 10
"""So many tables that were asked for together have an entry by name; more have one for all."""
_DIGEST_LENGTH = 8
_DIGESTS = re.compile(rf"(?:[0-9a-f]{{{_DIGEST_LENGTH}}})*")
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


@dataclass(frozen=True, slots=True)
class AskedTogether:
    """Runs that were requested for many tables at one time: one entry, which fits a screen.

    A digest stands for a table and the listing for which a run was requested. By chance one listing
    in twenty million has the digest of one of 200 others; its run then comes a minute late.
    """

    attempts: int
    at: float
    digests: frozenset[str]

    def of(self, table: str, fingerprint: str) -> Asked | None:
        """Return what is remembered of a table; ``None`` where that is of no such listing."""
        is_asked = _digest(table, fingerprint) in self.digests
        return Asked(fingerprint, self.attempts, self.at) if is_asked else None


@dataclass(slots=True)
class SensorCursor:
    """The sensor's cursor, as JSON."""

    tables: dict[str, Asked]
    reload: ReloadTimes = field(default_factory=ReloadTimes)
    """When the code location was last asked to reload."""
    together: list[AskedTogether] = field(default_factory=list)
    """What an earlier tick wrote of many tables; :meth:`of` takes over what still holds."""

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
            together = [_together(each) for each in state.get("together", [])]
            return cls(tables, _reload(state.get("reload", {})), together)
        except _UNREADABLE as error:
            consequence = "it counts as empty; failed runs are requested again at once"
            reason = f"{type(error).__name__}: {error}"[:200]
            log.warning(
                line("cursor_ignored", sensor=sensor, reason=reason, consequence=consequence)
            )
            return cls({})

    def of(self, table: str, fingerprint: str) -> Asked:
        """Return what is remembered of a table; changes to it are kept.

        Args:
            table: Its name, or that of a range of its partitions.
            fingerprint: Of its listing.
        """
        if table not in self.tables:
            found = (asked for each in self.together if (asked := each.of(table, fingerprint)))
            self.tables[table] = next(found, Asked())
        return self.tables[table]

    def keep(self, tables: Container[str]) -> None:
        """Forget all other tables."""
        self.tables = {name: asked for name, asked in self.tables.items() if name in tables}

    def dump(self, cursors: Mapping[str, str]) -> str:
        """Return the cursor as JSON.

        Args:
            cursors: LastModified cursors by key, of which people see the latest.
        """
        many = self._asked_together()
        alone = self.tables.keys() - {name for names in many.values() for name in names}
        asked = {name: self.tables[name].remembered() for name in sorted(alone)}
        tables = {name: state for name, state in asked.items() if state}
        together = [self._written(*key, names) for key, names in many.items()]
        parts = {"reload": self.reload.remembered(), "together": together}
        more_state = {name: part for name, part in parts.items() if part}
        latest = sorted(cursors, key=lambda key: cursors[key].rstrip("Z"))[-_MOST_SHOWN:]
        shown = {key: cursors[key] for key in sorted(latest)}
        more = len(cursors) - len(shown)
        left = {"cursors_not_shown": more} if more else {}
        return json.dumps({"v": _FORMAT, "tables": tables, **more_state, **shown, **left})

    def _asked_together(self) -> dict[tuple[int, float], list[str]]:
        """Find the tables of which nothing differs but the name and the listing, if many."""
        found = defaultdict(list)
        for name, asked in self.tables.items():
            if asked.fingerprint is not None and asked.accepted is None:
                found[asked.attempts, asked.at].append(name)
        return {key: names for key, names in sorted(found.items()) if len(names) > _FEW}

    def _written(self, attempts: int, at: float, names: Iterable[str]) -> dict[str, Any]:
        asked = ((name, self.tables[name].fingerprint) for name in names)
        digests = sorted(_digest(name, found) for name, found in asked if found is not None)
        return {
            "attempts": attempts,
            "at": at,
            "tables": len(digests),
            "digests": "".join(digests),
        }


def _digest(table: str, fingerprint: str) -> str:
    facts = json.dumps([table, fingerprint])
    return hashlib.sha256(facts.encode()).hexdigest()[:_DIGEST_LENGTH]


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


def _together(state: Any) -> AskedTogether:
    """Build what is remembered of many tables from JSON; raises as :func:`_asked`."""
    attempts, at, digests = state["attempts"], state["at"], state["digests"]
    if not (_are_right([digests], attempts, at) and _DIGESTS.fullmatch(digests)):
        raise ValueError(f"{state!r:.100} is not what is remembered of many tables")
    every = range(0, len(digests), _DIGEST_LENGTH)
    return AskedTogether(
        attempts, at, frozenset(digests[each : each + _DIGEST_LENGTH] for each in every)
    )


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
