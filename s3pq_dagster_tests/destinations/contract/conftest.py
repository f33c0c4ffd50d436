"""An empty destination of each kind, for every test of the contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.contract.parameters import EVERY_PLACE, is_for_thorough_runs
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.places.all_places import ALL_PLACES


@pytest.fixture(params=EVERY_PLACE)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Make an empty place, once for each destination."""
    found = ALL_PLACES[request.param](tmp_path)
    yield found
    found.discard()


@pytest.fixture
def destination(place: Place) -> Destination:
    """Open a destination that holds nothing yet."""
    return place.open()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long parts of the contract to thorough runs, but in one destination."""
    for item in items:
        if isinstance(item, pytest.Function) and is_for_thorough_runs(item):
            item.add_marker(pytest.mark.thorough)
