"""Which destinations a test of the contract runs against, and in which kind of test run."""

from collections.abc import Iterable
from typing import Any

import pytest

from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.destinations.places.all_places import ALL_PLACES


def each_of(places: Iterable[str]) -> list[Any]:
    """Return one parameter per place; a destination's second place is for thorough runs."""
    return [p if p in PLACES else pytest.param(p, marks=pytest.mark.thorough) for p in places]


EVERY_PLACE = each_of(ALL_PLACES)
TAKES_TURNS = each_of(kind for kind, made in ALL_PLACES.items() if made.takes_turns)
"""Places where a second writer of a table waits for the first."""
ONE_OF_EACH_KIND = pytest.mark.parametrize("place", PLACES, indirect=True)
"""One place per destination, for tests of types and names, which do not depend on the place."""
