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


def test_states_of_many_tables_are_those_of_each(destination: Destination) -> None:
    """`states` may leave out tables after the first, and is right about those it returns."""
    load(destination, (A1, 3), (B1, 2))
    load(destination, (C1, 1), owner=ITEMS)
    never = Owner("never", "lake", "never/")
    for first, *others in ((OWNER, ITEMS, never), (never, OWNER), (ITEMS,)):
        found = destination.states([first, *others])
        assert {first} <= set(found) <= {first, *others}
        for owner, state in found.items():
            alone = destination.state(owner)
            assert state.ledger.frame.sort("key").equals(alone.ledger.frame.sort("key"))
            assert (state.rows, state.schema, state.schema_key, state.exists) == (
                (alone.rows, alone.schema, alone.schema_key, alone.exists)
            )


def test_states_of_many_tables_fail_only_for_the_first(destination: Destination) -> None:
    """A later table's error is raised when that table is asked for first."""
    load(destination, (A1, 3))
    load(destination, (C1, 1), owner=ITEMS)
    foreign = Owner(ITEMS.table, "elsewhere", ITEMS.prefix)
    assert set(destination.states([OWNER, foreign])) == {OWNER}
    with pytest.raises(TableOwnedElsewhereError, match="elsewhere"):
        destination.states([foreign, OWNER])


def test_a_destination_has_a_kind(destination: Destination) -> None:
    """Dagster shows an icon by it."""
    assert destination.kind
