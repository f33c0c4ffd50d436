"""Rows and ledger entries are committed together or not at all."""

from typing import Any

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster_tests.destinations.contract.objects import A1, A2, B1, C1
from s3pq_dagster_tests.destinations.tables import (
    BROKEN,
    OWNER,
    BrokenOffError,
    batch,
    commit,
    entries,
    ids_by_key,
    load,
    loaded,
    sealed,
    stream,
    write,
)
from s3pq_dagster_tests.levels import first_of


@pytest.mark.parametrize(
    "break_at",
    [
        3,
        pytest.param(0, marks=pytest.mark.thorough),
        *first_of([1, 2], keep=0, others=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("before", [False, True], ids=["new table", "old table"])
def test_a_stream_that_breaks_leaves_no_rows(
    destination: Destination, break_at: int, *, before: bool
) -> None:
    """Whichever batch it breaks at, it leaves neither rows nor entries, and a retry works."""
    if before:
        load(destination, (A1, 3), start=50)
    was = (destination.state(OWNER).exists, entries(destination))
    broken = stream(*(batch(A1.key, 20_000, i * 20_000) for i in range(3)), break_at=break_at)
    with pytest.raises(BROKEN), write(destination) as writer:
        writer.commit(broken, schema_key=A1.key, seal=lambda: sealed(loaded(A2, 60_000)))
    assert (destination.state(OWNER).exists, entries(destination)) == was
    if before:
        assert ids_by_key(destination) == {A1.key: [50, 51, 52]}
    load(destination, (A2, 1))
    assert ids_by_key(destination) == {A1.key: [0]}


def test_a_seal_that_fails_leaves_no_rows(destination: Destination) -> None:
    """An error after the rows and before the ledger leaves neither."""

    def fail() -> Any:
        raise BrokenOffError

    with pytest.raises(BrokenOffError), write(destination) as writer:
        writer.commit(stream(batch(A1.key, 3)), schema_key=A1.key, seal=fail)
    assert not destination.state(OWNER).exists
    assert entries(destination) == []


def test_a_removal_that_fails_removes_nothing(destination: Destination) -> None:
    """An error while removing leaves rows and entries as they were."""

    def fail() -> Any:
        raise BrokenOffError

    load(destination, (A1, 3))
    with pytest.raises(BrokenOffError), write(destination) as writer:
        writer.remove([A1.key], seal=fail)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}
    assert entries(destination) == [(A1.key, "v1", "loaded")]


def test_a_writer_goes_on_after_a_checkpoint_that_broke(destination: Destination) -> None:
    """A malformed object's rows are rolled back, and the next checkpoint commits."""
    with write(destination) as writer:
        commit(writer, (A1, 2))
        with pytest.raises(BROKEN):
            writer.commit(stream(batch(B1.key, 5), break_at=1), schema_key=B1.key, seal=sealed)
        bad = Entry(B1, Status.QUARANTINED, 0, "truncated")
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
        commit(writer, (C1, 1))
    assert ids_by_key(destination) == {A1.key: [0, 1], C1.key: [0]}
    assert [status for _, _, status in entries(destination)] == ["loaded", "quarantined", "loaded"]


def test_checkpoints_stand_when_a_later_one_breaks(destination: Destination) -> None:
    """Committed checkpoints keep their rows and entries, so a backfill resumes after them."""

    def backfill() -> None:
        with write(destination) as writer:
            commit(writer, (A1, 2))
            commit(writer, (B1, 3))
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        backfill()
    assert ids_by_key(destination) == {A1.key: [0, 1], B1.key: [0, 1, 2]}
    assert entries(destination) == [(A1.key, "v1", "loaded"), (B1.key, "v1", "loaded")]
