"""When the sensor asked its code location to reload, and when it may do so again."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from s3pq_dagster.dagster.backoff import FIRST_SECONDS, backoff_seconds

LEAST_SECONDS = FIRST_SECONDS
"""Two reloads of a code location are at least so far apart."""


@dataclass(slots=True)
class ReloadTimes:
    """The last reload that the sensor asked for, as its cursor keeps it."""

    at: float = 0.0
    """When it was asked for, in seconds since the epoch; zero for never."""
    attempts: int = 0
    """How many reloads were asked for, one after the other, for the same tables."""
    tables: str | None = None
    """A hash of the names of these tables."""

    def ask(self, missing: Collection[str], now: float) -> None:
        """Remember that a reload is asked for.

        Args:
            missing: The tables that the definitions lack.
            now: Seconds since the epoch.
        """
        self.attempts = self.asked_for(missing) + 1
        self.tables, self.at = _digest(missing), now

    def asked_for(self, missing: Collection[str]) -> int:
        """Return how many reloads were asked for, one after the other, for these tables."""
        return self.attempts if _digest(missing) == self.tables else 0

    def found(self, now: float) -> None:
        """Remember that the definitions lack no table."""
        self.attempts, self.tables = 0, None
        if not 0 <= now - self.at < LEAST_SECONDS:
            self.at = 0.0

    def seconds_left(self, missing: Collection[str], now: float) -> float:
        """Return how long not to ask for another reload; zero or less if it may be now.

        For the same tables the time doubles with each reload. If the clock was set back since the
        last one, the time begins now.
        """
        self.at = min(self.at, now)
        return self.at + backoff_seconds(self.asked_for(missing)) - now

    def remembered(self) -> dict[str, Any]:
        """Return what is remembered, by field; nothing where that is nothing."""
        return {name: value for name, value in asdict(self).items() if value}


def _digest(tables: Collection[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(tables)).encode()).hexdigest()[:16]
