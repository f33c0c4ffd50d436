"""What a destination holds of a run's tables, asked for together where one look serves for many."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from s3pq_dagster.destinations import Destination
from s3pq_dagster.tables import Owner, TableState

_SECONDS = 60
"""After these a table is looked at anew: others may have written it."""


@dataclass(frozen=True, slots=True)
class _Looked:
    at: float
    states: Mapping[Owner, TableState]


@dataclass(slots=True)
class StatesAhead:
    """The last look of a run: what it saw of the tables that come later.

    Old by up to a minute, so it says what is worth fetching, and that there is nothing to load.
    Whoever loads asks again under the destination's lock.
    """

    _looked: _Looked = field(default_factory=lambda: _Looked(0, {}))

    def of(self, owner: Owner, later: Sequence[Owner], destination: Destination) -> TableState:
        """Give a table's state.

        Args:
            owner: The table.
            later: Those whose turn comes after it.
            destination: Where to look.

        Raises:
            DestinationError: As :meth:`Destination.state`.
        """
        looked = self._looked
        if owner not in looked.states or time.monotonic() > looked.at + _SECONDS:
            # At once, for another thread may look as well.
            looked = _Looked(time.monotonic(), destination.states([owner, *later]))
            self._looked = looked
        return looked.states[owner]
