"""What a destination holds of a run's tables, asked for together where one look serves for many."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Owner, TableState

_SECONDS = 60
"""After these a table is looked at anew: others may have written it."""


@dataclass(frozen=True, slots=True)
class _Looked:
    at: float
    """When the first of them was."""
    states: Mapping[Owner, TableState]


_NEVER = _Looked(float("-inf"), {})


@dataclass(slots=True)
class StatesAhead:
    """The last look of a run: what it saw of the tables that come later.

    Old by up to a minute, so it says what is worth fetching, and that there is nothing to load.
    Whoever loads asks again under the destination's lock.
    """

    _looked: _Looked = _NEVER

    def of(self, owner: Owner, later: Sequence[Owner], destination: Destination) -> TableState:
        """Give a table's state.

        Args:
            owner: The table.
            later: Those whose turn comes after it.
            destination: Where to look.

        Raises:
            DestinationError: As :meth:`Destination.state`.
        """
        wanted, now, looked = [owner, *later], time.monotonic(), self._looked
        if now > looked.at + _SECONDS:
            self._looked = looked = _Looked(now, {})  # freed before as much is held again
        # Nobody comes back to a table before this one.
        states = {each: looked.states[each] for each in wanted if each in looked.states}
        if owner not in states:
            left = [each for each in wanted if each not in states]
            states = {**states, **destination.states(left)}
        self._looked = _Looked(looked.at, states)  # at once: another thread may look as well
        return states[owner]
