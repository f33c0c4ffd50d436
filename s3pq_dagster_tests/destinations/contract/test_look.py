"""A look returns what people want to know of a table, and writes nothing."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster_tests.destinations.contract.objects import A1, A2, B1, C1
from s3pq_dagster_tests.destinations.tables import OWNER, SCHEMA, commit, loaded, sealed, stream


def runs(destination: Destination) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the number of entries, and of rows, by run and status."""
    found = destination.look(OWNER).runs
    return {(run, status): (objects, rows) for run, status, objects, rows, _ in found.iter_rows()}


def test_a_look_at_nothing_is_empty(destination: Destination) -> None:
    """A table that was never loaded has no run and no schema."""
    found = destination.look(OWNER)
    assert (found.state.exists, found.state.rows) == (False, 0)
    assert found.runs.is_empty()
    assert list(found.versions) == []


def test_a_look_tells_which_run_loaded_what_and_when(destination: Destination) -> None:
    """Entries count by run and status; an entry that a later run replaced is that run's."""
    begun = datetime.now(UTC) - timedelta(seconds=1)
    with destination.write(OWNER, run_id="one", append=False, refresh=False) as writer:
        commit(writer, (A1, 3), (B1, 2))
    with destination.write(OWNER, run_id="two", append=False, refresh=False) as writer:
        commit(writer, (A2, 4))
        bad = Entry(C1, Status.QUARANTINED, 0, "it is malformed")
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    assert runs(destination) == {
        ("one", "loaded"): (1, 2),
        ("two", "loaded"): (1, 4),
        ("two", "quarantined"): (1, 0),
    }
    found = destination.look(OWNER)
    assert found.state.ledger.rows == found.state.rows == 6
    assert found.runs.select((pl.col("at") > begun).all()).item()
    assert found.runs.select((pl.col("at") <= datetime.now(UTC)).all()).item()


def test_a_look_tells_each_schema_that_the_table_has_had(destination: Destination) -> None:
    """The first is version 1; each change is another, with the object it came with."""
    wider = SCHEMA.insert(1, pa.field("more", pa.string()))
    with destination.write(OWNER, run_id="one", append=False, refresh=False) as writer:
        commit(writer, (A1, 3))
        row = {"id": 9, "more": "m", "text": "t", "_s3_key": B1.key}
        rows = pa.RecordBatch.from_pylist([row], wider)
        writer.commit(stream(rows), schema_key=B1.key, seal=lambda: sealed(loaded(B1, 1)))
    first, second = destination.look(OWNER).versions
    assert (first.version, first.since_key, first.schema) == (1, A1.key, SCHEMA)
    assert (second.version, second.since_key) == (2, B1.key)
    assert set(second.schema.names) == {*SCHEMA.names, "more"}
    assert first.changed_at <= second.changed_at
