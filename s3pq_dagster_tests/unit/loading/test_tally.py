"""What a load's commits say: the cursor and the fingerprint of the table after each."""

from datetime import timedelta
from typing import Any

import pytest

from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.errors import QuarantineLimitError
from s3pq_dagster.ledger import Entry, Ledger, Status, fingerprint
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.tally import LoadTally
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.unit.made import NOON, ledger, listing, meta, spec

A, B, C = (meta(key, second=second) for second, key in enumerate("abc"))


def tally(listed: Listing, held: Ledger, **fields: Any) -> LoadTally:
    """Start the tally of a load into a table with some ledger."""
    state = TableState(held, exists=True, schema=None, schema_key=None, rows=0)
    plan = LoadPlan(
        spec=spec(**fields), owner=Owner("t", "lake", ""), listing=listed, options=LoadOptions()
    )
    return LoadTally(plan, state)


def loaded(found: Any) -> Entry:
    """Make the entry of an object that is loaded."""
    return Entry(found, Status.LOADED, 1)


def test_the_cursor_never_goes_back() -> None:
    """An object that is older than what is loaded leaves the cursor."""
    load = tally(listing(A, B, C), ledger((B, Status.LOADED)))
    assert load.seal([loaded(A)]).cursor == B.last_modified
    assert load.seal([loaded(C)]).cursor == C.last_modified


def test_a_removal_sets_the_cursor_to_what_is_left() -> None:
    """The latest object is removed, so the cursor is that of the one before."""
    held = ledger((A, Status.LOADED), (B, Status.LOADED))
    load = tally(listing(A), held, write_mode="mirror")
    assert load.seal_removal(["b"], held).cursor == A.last_modified == NOON


def test_only_the_last_commit_has_a_fingerprint() -> None:
    """It covers what was loaded before, and what was pending as it was read."""
    load = tally(listing(A, B, C), ledger((A, Status.LOADED)))
    assert load.seal([]).fingerprint is None
    assert load.fingerprint == ""
    read = meta("b", "v2", second=9)
    last = load.seal_last([loaded(read)], missing=["c"], changed=[read])
    assert last.fingerprint == load.fingerprint == fingerprint(listing(A, read))
    assert last.cursor == NOON + timedelta(seconds=9)


def test_too_many_quarantined_objects_are_refused_as_they_come() -> None:
    """Objects that are quarantined already count as well."""
    load = tally(listing(A, B, C), ledger((A, Status.QUARANTINED)), max_quarantined_fraction=0.4)
    with pytest.raises(QuarantineLimitError, match="2 of 3 listed"):
        load.check_quarantine(Entry(B, Status.QUARANTINED, 0, "bad"))
