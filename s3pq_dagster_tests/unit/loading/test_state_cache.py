"""What a destination holds of a run's tables is asked for together."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.errors import TableOwnedElsewhereError
from s3pq_dagster.loading.state_cache import StatesAhead
from s3pq_dagster_tests.destinations.tables import load
from s3pq_dagster_tests.unit.made import meta

A, B, C = (Owner(name, "lake", f"{name}/") for name in "abc")


class Watched(DuckDBDestination):
    """A DuckDB file that keeps what it was asked for."""

    def __init__(self, database: Path) -> None:
        super().__init__(str(database))
        self.looks: list[list[Owner]] = []

    def states(self, owners: Sequence[Owner]) -> dict[Owner, TableState]:
        """Look, and remember."""
        self.looks.append(list(owners))
        return super().states(owners)


@pytest.fixture
def destination(database: Path) -> Watched:
    """A file that holds B's one object."""
    destination = Watched(database)
    load(destination, (meta("b/x"), 3), owner=B)
    return destination


def test_the_first_table_asks_for_all(destination: Watched) -> None:
    """One look serves those that come later."""
    states = StatesAhead()
    assert [states.of(A, [B, C], destination).rows for _ in range(2)] == [0, 0]
    assert states.of(B, [C], destination).rows == 3
    assert states.of(C, [], destination).rows == 0
    assert destination.looks == [[A, B, C]]


def test_what_was_seen_long_ago_is_looked_at_anew(
    destination: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run may have loaded it meanwhile."""
    states = StatesAhead()
    states.of(A, [B, C], destination)
    load(destination, (meta("c/x"), 2), owner=C)
    assert states.of(C, [], destination).rows == 0
    monkeypatch.setattr("s3pq_dagster.loading.state_cache._SECONDS", 0)
    assert states.of(B, [C], destination).rows == 3
    assert states.of(C, [], destination).rows == 2
    assert destination.looks == [[A, B, C], [B, C], [C]]


def test_what_nobody_comes_back_to_is_not_held(destination: Watched) -> None:
    """A ledger may be large."""
    states = StatesAhead()
    states.of(A, [B, C], destination)
    states.of(C, [], destination)
    states.of(B, [C], destination)
    assert destination.looks == [[A, B, C], [B]]


def test_a_table_that_was_left_out_is_asked_for_when_its_turn_comes(destination: Watched) -> None:
    """Then what is wrong with it is told."""
    states, foreign = StatesAhead(), Owner(B.table, "elsewhere", B.prefix)
    states.of(A, [foreign, C], destination)
    assert destination.looks == [[A, foreign, C]]
    with pytest.raises(TableOwnedElsewhereError):
        states.of(foreign, [C], destination)
    assert states.of(C, [], destination).rows == 0
    assert destination.looks == [[A, foreign, C], [foreign]]
