"""What the sensor remembers from one tick to the next: lost, it costs nothing."""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from typing import Self

_FORMAT = 1
_FIRST_BACKOFF_SECONDS = 60
_MOST_BACKOFF_SECONDS = 3600


@dataclass(slots=True)
class Asked:
    """What is remembered of a table."""

    fingerprint: str | None = None
    """Of the listing for which a run was last asked."""
    attempts: int = 0
    """Runs that were asked for this listing."""
    at: float = 0.0
    """When the last of them was, in seconds since the epoch."""
    accepted: str | None = None
    """Fingerprint of a listing that differs from what is materialized by deletions only …"""
    accepted_for: str | None = None
    """… and the data version it was compared with."""

    def ask(self, fingerprint: str, now: float) -> None:
        """Count a run that is asked for."""
        self.attempts = self.attempts + 1 if self.fingerprint == fingerprint else 1
        self.fingerprint, self.at = fingerprint, now

    def seconds_left(self, fingerprint: str, now: float) -> float:
        """Tell how long not to ask again for a listing: twice as long after each run that failed.

        Returns:
            Nothing or less for one that was not asked for.
        """
        if self.fingerprint != fingerprint:
            return 0
        backoff: int = _FIRST_BACKOFF_SECONDS * 2 ** max(self.attempts - 1, 0)
        return self.at + min(backoff, _MOST_BACKOFF_SECONDS) - now


@dataclass(slots=True)
class SensorCursor:
    """The sensor's cursor, as JSON."""

    tables: dict[str, Asked]

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read a cursor; one of another format is as good as none."""
        try:
            state = json.loads(text or "{}")
            tables = {n: Asked(**asked) for n, asked in state.get("tables", {}).items()}
        except (ValueError, TypeError, AttributeError):
            return cls({})
        return cls(tables if state.get("v") == _FORMAT else {})

    def of(self, table: str) -> Asked:
        """Give what is remembered of a table, to be changed."""
        return self.tables.setdefault(table, Asked())

    def keep(self, tables: Container[str]) -> None:
        """Forget all others."""
        self.tables = {name: asked for name, asked in self.tables.items() if name in tables}

    def dump(self, cursors: Mapping[str, str]) -> str:
        """Write it, each table's LastModified cursor beside it."""
        tables = {name: asdict(asked) for name, asked in sorted(self.tables.items())}
        return json.dumps({"v": _FORMAT, "tables": tables, **dict(sorted(cursors.items()))})
