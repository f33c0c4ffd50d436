"""A committed checkpoint adds rows, schema and ledger entries to a table."""

from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination, TableWriter
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.ledger import Status
from s3pq_dagster_tests.destinations.contract.objects import A1, A2, B1, C1
from s3pq_dagster_tests.destinations.tables import (
    BROKEN,
    OWNER,
    SCHEMA,
    batch,
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


def test_a_first_load_makes_the_table(destination: Destination) -> None:
    """Rows, schema, its origin and the ledger are there once the writer is closed."""
    load(destination, (A1, 3), (B1, 2))
    state = destination.state(OWNER)
    assert (state.exists, state.rows, state.schema, state.schema_key) == (True, 5, SCHEMA, A1.key)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2], B1.key: [0, 1]}


def test_a_writer_sees_what_it_committed(destination: Destination) -> None:
    """A writer's state includes each checkpoint it has committed."""
    with write(destination) as writer:
        assert not writer.state().exists
        commit(writer, (A1, 3))
        assert (writer.state().rows, writer.state().schema) == (3, SCHEMA)
        commit(writer, (B1, 2))
        assert writer.state().rows == 5


def test_a_writer_sees_what_it_wrote(destination: Destination) -> None:
    """A writer's state is right after a commit, a removal and a commit that was rolled back."""

    def seen(writer: TableWriter) -> tuple[int, int, int]:
        state = writer.state()
        return state.rows, state.ledger.rows, state.ledger.count(Status.LOADED)

    with write(destination) as writer:
        assert seen(writer) == (0, 0, 0)
        commit(writer, (A1, 2))
        assert seen(writer) == (2, 2, 1)
        commit(writer, (B1, 3))
        assert seen(writer) == (5, 5, 2)
        with pytest.raises(BROKEN):
            writer.commit(stream(batch(C1.key, 4), break_at=1), schema_key=C1.key, seal=sealed)
        assert seen(writer) == (5, 5, 2)
        writer.remove([A1.key], seal=sealed)
        assert seen(writer) == (3, 3, 1)


def test_objects_add_up_over_loads(destination: Destination) -> None:
    """New objects' rows are added to the table; the schema's origin stays."""
    load(destination, (A1, 3))
    load(destination, (B1, 2))
    state = destination.state(OWNER)
    assert (state.rows, state.schema_key) == (5, A1.key)
    assert entries(destination) == [(A1.key, "v1", "loaded"), (B1.key, "v1", "loaded")]


@pytest.mark.first_case
def test_many_small_batches_arrive_whole_and_in_order(destination: Destination) -> None:
    """A destination may join batches, but loses, doubles and reorders none."""
    batches = [batch(A1.key, 7, start=7 * i) for i in range(6000)]
    with write(destination) as writer:
        writer.commit(stream(*batches), schema_key=A1.key, seal=lambda: sealed(loaded(A1, 42_000)))
    with destination.read("orders", ["id"]) as reader:
        assert reader.read_all().column("id").to_pylist() == list(range(42_000))


def test_columns_are_matched_by_name(destination: Destination) -> None:
    """A later batch with its columns in another order is stored under the right names."""
    load(destination, (A1, 1))
    other = batch(B1.key, 1, start=9).select(["_s3_key", "text", "id"])
    with write(destination) as writer:
        writer.commit(stream(other), schema_key=B1.key, seal=lambda: sealed(loaded(B1, 1)))
    assert {"id": 9, "text": "row 9", "_s3_key": B1.key} in rows(destination)


def test_the_seal_is_asked_for_once_the_rows_are_drained(destination: Destination) -> None:
    """Entries are known only once all rows are read."""
    drained: list[int] = []

    def seal() -> Any:
        drained.append(1)
        return sealed(loaded(A1, 2))

    def generate() -> Any:
        yield batch(A1.key, 2)
        assert not drained

    with write(destination) as writer:
        reader = pa.RecordBatchReader.from_batches(SCHEMA, generate())
        writer.commit(reader, schema_key=A1.key, seal=seal)
    assert drained == [1]


def test_zero_rows_make_the_table(destination: Destination) -> None:
    """A file without rows makes the table with its schema, and has its entry."""
    load(destination, (A1, 0))
    state = destination.state(OWNER)
    assert (state.exists, state.rows, state.schema) == (True, 0, SCHEMA)
    assert entries(destination) == [(A1.key, "v1", "loaded")]
    with destination.read("orders", None) as reader:
        assert reader.read_all().schema.equals(SCHEMA)


def test_a_stream_without_batches_makes_the_table(destination: Destination) -> None:
    """A schema without a single batch still makes a table."""
    with write(destination) as writer:
        writer.commit(stream(), schema_key=A1.key, seal=lambda: sealed(loaded(A1, 0)))
    assert destination.state(OWNER).exists


def test_tables_do_not_know_each_other(destination: Destination) -> None:
    """Two tables with objects of one key keep their own rows and entries."""
    other = Owner("returns", "lake", "returns/")
    load(destination, (A1, 3))
    load(destination, (A1, 2), owner=other, start=10)
    load(destination, (A2, 1), owner=other, start=20)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}
    assert ids_by_key(destination, "returns") == {A1.key: [20]}
    assert entries(destination) == [(A1.key, "v1", "loaded")]
