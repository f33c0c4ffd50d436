"""What the sensor remembers from one tick to the next; losing it costs nothing."""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from typing import Self

_FORMAT = 1
_FIRST_BACKOFF_SECONDS = 60
_MOST_BACKOFF_SECONDS = 3600


@dataclass(slots=True)
class Asked:
    """When a run was last requested for a table, and which deletions need none."""

    fingerprint: str | None = None
    """The fingerprint of the listing for which a run was last requested."""
    attempts: int = 0
    """How many runs were requested for that listing."""
    at: float = 0.0
    """When the last of them was requested, in seconds since the epoch."""
    accepted: str | None = None
    """The fingerprint of a listing that lacks objects of ``accepted_for`` and adds none."""
    accepted_for: str | None = None
    """The data version that ``accepted`` was compared with."""

    def ask(self, fingerprint: str, now: float) -> None:
        """Remember that a run is requested."""
        self.attempts = self.attempts + 1 if self.fingerprint == fingerprint else 1
        self.fingerprint, self.at = fingerprint, now

    def seconds_left(self, fingerprint: str, now: float) -> float:
        """Return how long not to request another run for a listing.

        The time doubles with each run that was requested for it.

        Returns:
            Zero or less if a run may be requested now.
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
        """Read a cursor; one of another format counts as empty."""
        try:
            state = json.loads(text or "{}")
            tables = {n: Asked(**asked) for n, asked in state.get("tables", {}).items()}
        except (ValueError, TypeError, AttributeError):
            return cls({})
        return cls(tables if state.get("v") == _FORMAT else {})

    def of(self, table: str) -> Asked:
        """Return what is remembered of a table; changes to it are kept."""
        return self.tables.setdefault(table, Asked())

    def keep(self, tables: Container[str]) -> None:
        """Forget all other tables."""
        self.tables = {name: asked for name, asked in self.tables.items() if name in tables}

    def dump(self, cursors: Mapping[str, str]) -> str:
        """Return the cursor as JSON, with each table's LastModified cursor for people to read."""
        tables = {name: asdict(asked) for name, asked in sorted(self.tables.items())}
        return json.dumps({"v": _FORMAT, "tables": tables, **dict(sorted(cursors.items()))})
