"""Which destinations a test of the contract runs against, and in which kind of test run."""

from collections.abc import Iterable
from typing import Any

import pytest

from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.destinations.places.all_places import ALL_PLACES


def each_of(places: Iterable[str]) -> list[Any]:
    """Return one parameter per place; a destination's second place is for longer runs.

    Each commit of Delta Lake to S3 is some fifty requests: what it does otherwise than in a
    directory is in `test_delta_s3.py` and `test_meanwhile_in_s3.py`, the rest is for the night.
    """
    level = {place: pytest.mark.thorough for place in ALL_PLACES if place not in PLACES}
    level["delta on S3"] = pytest.mark.nightly
    return [pytest.param(p, marks=level.get(p, ())) for p in places]


_SMALLEST = "duckdb"
_IN_EVERY_RUN = {"test_all_or_nothing", "test_commit"}
"""Parts of the contract that every run of the tests asks of every destination."""


def is_for_thorough_runs(test: pytest.Function) -> bool:
    """Return whether a test's smaller relative, the same in one destination, is in every run.

    Other tests than those of the contract are none of them.
    """
    module = test.module.__name__
    if not module.startswith(__package__) or module.rpartition(".")[2] in _IN_EVERY_RUN:
        return False
    parameters = test.callspec.params if hasattr(test, "callspec") else {}
    return parameters.get("place", _SMALLEST) != _SMALLEST


EVERY_PLACE = each_of(ALL_PLACES)
TAKES_TURNS = each_of(kind for kind, made in ALL_PLACES.items() if made.takes_turns)
"""Places where a second writer of a table waits for the first."""
ONE_OF_EACH_KIND = pytest.mark.parametrize("place", PLACES, indirect=True)
"""One place per destination, for tests of types and names, which do not depend on the place."""
