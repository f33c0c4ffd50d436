"""Waiting for a table that another process holds."""

from collections.abc import Callable
from typing import Any

import pytest

from s3pq_dagster.errors import (
    DestinationLockedError,
)
from s3pq_dagster_tests.destinations.contract.objects import A1, B1
from s3pq_dagster_tests.destinations.contract.parameters import TAKES_TURNS
from s3pq_dagster_tests.destinations.places import Place, held
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    ids_by_key,
    load,
)
from s3pq_dagster_tests.unit.made import Lines, logger


@pytest.mark.parametrize("place", TAKES_TURNS, indirect=True)
def test_a_lock_that_stays_is_an_error_after_the_timeout(place: Place) -> None:
    """While another process holds the lock, each wait is logged; then the error says so."""
    load(place.open(), (A1, 1))
    lines = Lines()
    waiting = place.open(log=logger(lines), lock_timeout_seconds=0.5)
    with held(place, OWNER.table):
        asks: list[Callable[[], Any]] = [lambda: load(waiting, (B1, 1))]
        if place.readers_wait:
            asks.append(lambda: waiting.state(OWNER))
        for ask in asks:
            with pytest.raises(DestinationLockedError, match="another process") as caught:
                ask()
            assert caught.value.retryable
    assert lines.of("destination_locked")
    assert ids_by_key(place.open()) == {A1.key: [0]}


def test_a_writer_keeps_readers_out_only_where_the_place_declares_it(place: Place) -> None:
    """Unless `readers_wait`, state, audit and reading work while another process writes."""
    load(place.open(), (A1, 2))
    if place.readers_wait or not place.takes_turns:
        return
    with held(place, OWNER.table):
        assert place.open().state(OWNER).rows == 2
        assert place.open().audit(OWNER).rows_by_key.rows() == [(A1.key, 2)]
        assert ids_by_key(place.open()) == {A1.key: [0, 1]}


@pytest.mark.parametrize("place", TAKES_TURNS, indirect=True)
def test_a_lock_that_is_released_is_waited_for(place: Place) -> None:
    """The writer continues once the other process releases the lock."""
    load(place.open(), (A1, 1))
    with held(place, OWNER.table) as let_go:
        lines = LetGo(let_go)
        load(place.open(log=logger(lines), lock_timeout_seconds=60), (B1, 1))
        assert lines.of("destination_locked")
    assert ids_by_key(place.open()) == {A1.key: [0], B1.key: [0]}


class LetGo(Lines):
    """A log handler that releases a lock when the first wait is logged."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        super().__init__()
        self._let_go = let_go

    def emit(self, record: Any) -> None:
        super().emit(record)
        self._let_go()
