"""A refresh of some objects replaces their rows in one step, and leaves the others alone."""

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.contract.objects import A1, B1, C1
from s3pq_dagster_tests.destinations.tables import (
    BROKEN,
    OWNER,
    BrokenOffError,
    commit,
    entries,
    ids_by_key,
    load,
    loaded,
    rows,
    sealed,
    stream,
    write,
)


@pytest.mark.parametrize("append", [False, True], ids=["replace", "append"])
def test_the_rows_of_other_objects_stay(destination: Destination, *, append: bool) -> None:
    """An object is loaded again in the same version; one that is not loaded again is gone."""
    load(destination, (A1, 3), (B1, 2), (C1, 1))
    with write(destination, refresh=[A1.key, C1.key], append=append) as writer:
        state = writer.state()
        assert [entry[0] for entry in state.ledger.frame.select("key").rows()] == [B1.key]
        assert state.rows == 2
        commit(writer, (A1, 4))
    assert ids_by_key(destination) == {A1.key: [0, 1, 2, 3], B1.key: [0, 1]}
    assert entries(destination) == [(A1.key, "v1", "loaded"), (B1.key, "v1", "loaded")]
    assert destination.state(OWNER).rows == 6


@pytest.mark.parametrize("checkpoints", range(3))
def test_one_that_breaks_leaves_the_old_rows(destination: Destination, checkpoints: int) -> None:
    """It does not matter how many checkpoints came before."""
    load(destination, (A1, 3), (B1, 2), (C1, 1))

    def refresh() -> None:
        with write(destination, refresh=[A1.key, C1.key]) as writer:
            for found in (A1, C1)[:checkpoints]:
                commit(writer, (found, 9))
            raise BrokenOffError

    with pytest.raises(BROKEN):
        refresh()
    assert ids_by_key(destination) == {A1.key: [0, 1, 2], B1.key: [0, 1], C1.key: [0]}
    assert [status for _, _, status in entries(destination)] == ["loaded"] * 3


def test_nothing_may_come_in_their_place(destination: Destination) -> None:
    """If none of the objects is there any more, their rows go all the same."""
    load(destination, (A1, 3), (B1, 2))
    with write(destination, refresh=[A1.key]) as writer:
        writer.commit(None, schema_key=None, seal=sealed)
    assert ids_by_key(destination) == {B1.key: [0, 1]}
    assert entries(destination) == [(B1.key, "v1", "loaded")]


def test_a_table_that_is_not_there_yet_is_made(destination: Destination) -> None:
    """There is nothing to replace then."""
    with write(destination, refresh=[]) as writer:
        commit(writer, (A1, 2))
    assert ids_by_key(destination) == {A1.key: [0, 1]}


def test_they_may_bring_new_columns(destination: Destination) -> None:
    """The others have null there."""
    load(destination, (A1, 1), (B1, 1))
    schema = destination.state(OWNER).schema
    assert schema is not None
    wider = schema.append(pa.field("more", pa.int64()))
    row = rows(destination)[0] | {"_s3_key": A1.key, "more": 5}
    new = pa.RecordBatch.from_pylist([row], wider)
    with write(destination, refresh=[A1.key]) as writer:
        writer.commit(stream(new), schema_key=A1.key, seal=lambda: sealed(loaded(A1, 1)))
    assert {row["_s3_key"]: row["more"] for row in rows(destination)} == {A1.key: 5, B1.key: None}
