"""Schemas that drift, as a user of Dagster sees them."""

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster.dagster.metadata import COLUMNS_ADDED, COLUMNS_RETYPED
from s3pq_dagster_tests.lake import Lake, checked, materialized, messages, values


def put(lake: Lake, key: str, **columns: pa.Array) -> None:
    """Put one object."""
    lake.bucket.put(key, pa.table(columns))


def shown_columns(result: dg.ExecuteInProcessResult, table: str) -> dict[str, str]:
    """Return names and types of the columns that the UI shows."""
    schema = materialized(result)[table].metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    return {column.name: column.type for column in schema.columns}


def test_a_partition_with_a_new_column_arrives_at_a_running_code_location(lake: Lake) -> None:
    """No reload: the sensor asks for a run, which reads the one object; the UI shows the column."""
    put(lake, "events/day=05/p.parquet", id=pa.array([1, 2], pa.int32()))
    definitions = lake.definitions(schema_mode="evolve")
    assert lake.run(definitions=definitions).success
    cursor = lake.tick(definitions=definitions).cursor
    put(lake, "events/day=06/p.parquet", id=pa.array([2**40]), tag=pa.array(["x"]))
    asked = lake.tick(cursor, definitions=definitions).run_requests
    assert [key.path[-1] for request in asked for key in request.asset_selection] == ["events"]
    lake.bucket.proxy.forget()
    result = lake.run("events", definitions=definitions)
    assert result.success
    assert [read.key for read in lake.bucket.proxy.object_reads] == ["events/day=06/p.parquet"]
    assert lake.query("SELECT id, day, tag FROM events ORDER BY id") == [
        (1, "05", None),
        (2, "05", None),
        (2**40, "06", "x"),
    ]
    said = values(materialized(result)["events"])
    assert said[COLUMNS_ADDED] == ["tag"]
    assert said[COLUMNS_RETYPED] == ["id: int32 → int64"]
    found = shown_columns(result, "events")
    assert (found["id"], found["tag"], found["day"]) == ("int64", "string", "string")
    assert all(check.passed for check in checked(result).values())
    logged = "\n".join(messages(lake.instance, result.run_id))
    assert "schema_evolved table=events" in logged
    assert lake.query("SELECT version, since_key FROM _s3pq_schemas ORDER BY 1") == [
        (1, "events/day=05/p.parquet"),
        (2, "events/day=06/p.parquet"),
    ]


def test_a_deviation_is_told_once(lake: Lake) -> None:
    """The error of a strict table has each schema that deviates, and the log has it once."""
    put(lake, "t/1.parquet", x=pa.array([1]))
    assert lake.run().success
    put(lake, "t/2.parquet", x=pa.array(["a"]))
    put(lake, "t/3.parquet", x=pa.array([1]), y=pa.array([1]))
    result = lake.run("t")
    assert not result.success
    (error,) = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
    told = f"{error} {error.cause if error else None}"
    assert told.count("1 objects, 't/2.parquet' first: column 'x': expected int64") == 1
    assert told.count("1 objects, 't/3.parquet' first: column 'y' (int64) is not in") == 1
    assert lake.rows("t") == 1


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["evolve", "rescue"])
def test_shards_that_meet_different_columns_end_in_one_table(lake: Lake, mode: str) -> None:
    """Each shard finds another column; all rows and values are there."""
    lake.options["shards"] = {"events": 4}
    for number in range(12):
        kind = pa.int32() if number < 6 else pa.float64()
        put(
            lake,
            f"events/{number:02}.parquet",
            id=pa.array([number], kind),
            **{f"c{number // 3}": pa.array([number])},
        )
    definitions = lake.definitions(schema_mode=mode)
    assert lake.run(definitions=definitions).success
    assert lake.run(definitions=definitions).success
    assert lake.rows("events") == 12
    if mode == "evolve":
        wanted = [(float(n), *(n if n // 3 == c else None for c in range(4))) for n in range(12)]
        assert lake.query("SELECT id, c0, c1, c2, c3 FROM events ORDER BY id") == wanted
    else:
        found = lake.query("SELECT id, c0, _s3pq_rescued FROM events ORDER BY id")
        rest = [None] * 3 + [f'{{"c{n // 3}":{n}}}' for n in range(3, 12)]
        assert found == [(n, n if n < 3 else None, rest[n]) for n in range(12)]
    put(lake, "events/20.parquet", id=pa.array([20.0]), late=pa.array([1]))
    put(lake, "events/21.parquet", id=pa.array([21.0]), later=pa.array([1]))
    assert lake.run(definitions=definitions).success
    assert lake.rows("events") == 14
