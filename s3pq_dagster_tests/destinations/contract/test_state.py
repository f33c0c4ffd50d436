"""The state that a destination returns for a table, or for many at once."""

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    TableOwnedElsewhereError,
)
from s3pq_dagster_tests.destinations.contract.objects import A1, B1, C1, ITEMS
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    load,
)


def test_a_destination_that_is_not_there_is_empty(destination: Destination) -> None:
    """Before the first load there is neither table nor ledger, and reading the state makes none."""
    for _ in range(2):
        state = destination.state(OWNER)
        assert (state.exists, state.schema, state.schema_key, state.rows) == (False, None, None, 0)
        assert state.ledger.frame.is_empty()


def test_each_table_has_its_own_state(destination: Destination) -> None:
    """Rows and entries of one table are not seen in another's state."""
    load(destination, (A1, 3), (B1, 2))
    load(destination, (C1, 1), owner=ITEMS)
    never = Owner("never", "lake", "never/")
    states = {owner: destination.state(owner) for owner in (OWNER, ITEMS, never)}
    assert [state.rows for state in states.values()] == [5, 1, 0]
    keys = [set(state.ledger.frame["key"]) for state in states.values()]
    assert keys == [{A1.key, B1.key}, {C1.key}, set()]
    assert [state.exists for state in states.values()] == [True, True, False]


def test_only_the_table_of_another_owner_is_refused(destination: Destination) -> None:
    """A table that belongs to another bucket does not get in the way of the others."""
    load(destination, (A1, 3))
    load(destination, (C1, 1), owner=ITEMS)
    foreign = Owner(ITEMS.table, "elsewhere", ITEMS.prefix)
    with pytest.raises(TableOwnedElsewhereError, match="elsewhere"):
        destination.state(foreign)
    assert destination.state(OWNER).rows == 3
