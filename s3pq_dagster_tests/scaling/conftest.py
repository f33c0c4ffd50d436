"""A place for tables that several processes write."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from s3pq_dagster_tests.destinations.places import PLACES, Place


@pytest.fixture(params=["postgres", "delta"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A destination to which several processes may write at a time."""
    place: Place = PLACES[request.param](tmp_path / "place")
    yield place
    place.discard()
