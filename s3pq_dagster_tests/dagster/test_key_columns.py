"""Keys whose columns clash with each other, with those of files, or with ours; odd values."""

from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster import Layout, Rule
from s3pq_dagster_tests.buckets import parquet
from s3pq_dagster_tests.lake import Lake, observed


def file(**columns: Any) -> bytes:
    """Return a Parquet file of one row; ``id`` is 1 unless it is given."""
    return parquet(pa.table({name: [value] for name, value in ({"id": 1} | columns).items()}))


def columns(lake: Lake, table: str) -> list[str]:
    """Name a table's columns, without CloudQuery's and ours."""
    found = lake.query(
        f"SELECT column_name FROM duckdb_columns() WHERE table_name = '{table}' ORDER BY ALL"
    )
    return [name for (name,) in found if not name.startswith("_")]


@pytest.mark.first_case
@pytest.mark.parametrize("together", [True, False], ids=["in one checkpoint", "each in its own"])
def test_a_key_with_a_name_twice_or_one_of_ours_is_set_aside(lake: Lake, *, together: bool) -> None:
    """The reason has the name, and the other objects of the table are loaded."""
    said = {
        "t/day=1/day=2/p.parquet": "'day' twice",
        "t/day=1/DAY=1/p.parquet": "'DAY' twice",
        "t/_s3_key=1/p.parquet": "'_s3_key', which is a name of this package's own",
        "t/_CQ_ID=1/p.parquet": "'_CQ_ID', which is a name of this package's own",
        "t/_s3pq_rescued=1/p.parquet": "'_s3pq_rescued', which is a name of this package's own",
    }
    for key in ("t/day=0/p.parquet", *said, "t/day=9/p.parquet"):
        lake.bucket.put(key, file())
    options = {} if together else {"checkpoint_bytes": 1}
    definitions = lake.definitions(**options)
    assert lake.run(definitions=definitions).success
    assert lake.query("SELECT day FROM t ORDER BY day") == [("0",), ("9",)]
    reasons = {entry["key"]: entry["reason"] for entry in lake.ledger("t") if entry["reason"]}
    assert reasons.keys() == said.keys()
    for key, reason in said.items():
        assert reason in reasons[key]
    assert observed(lake.run(definitions=definitions)).keys() == {"t"}


@pytest.mark.thorough
def test_a_capture_and_a_segment_of_one_name_are_the_name_twice(lake: Lake) -> None:
    """A rule can drop neither alone; so the object is set aside, and the log says why."""
    layout = Layout(rules=[Rule(match="t/{day}/{hive}/*.parquet")])
    lake.bucket.put("t/1/hour=2/p.parquet", file())
    lake.bucket.put("t/1/day=2/p.parquet", file())
    assert lake.run(layout=layout).success
    assert lake.statuses("t") == {
        "t/1/hour=2/p.parquet": "loaded",
        "t/1/day=2/p.parquet": "quarantined",
    }


@pytest.mark.thorough
def test_a_case_twin_of_a_files_column_is_that_column(lake: Lake) -> None:
    """The file's value stays; where schemas may differ, a file without it gets the key's."""
    lake.bucket.put("t/DAY=1/p.parquet", file(day="of the file"))
    definitions = lake.definitions(schema_mode="evolve")
    assert lake.run(definitions=definitions).success
    assert (columns(lake, "t"), lake.query("SELECT day FROM t")) == (
        ["day", "id"],
        [("of the file",)],
    )
    lake.bucket.put("t/DAY=2/q.parquet", file())
    assert lake.run(definitions=definitions).success
    assert columns(lake, "t") == ["day", "id"]
    assert lake.query("SELECT day FROM t ORDER BY _s3_key") == [("of the file",), ("2",)]


def test_values_are_decoded_once_and_split_at_the_first_sign(lake: Lake) -> None:
    """A slash can be in a value, as can `=`, a lone `%` and what decoding twice would change."""
    values = {"%2F": "/", "a=b": "a=b", "100%": "100%", "%252F": "%2F", "%E4": "%E4", "a+b": "a+b"}
    for text in values:
        lake.bucket.put(f"t/x={text}/p.parquet", file())
    assert lake.run().success
    found = dict(lake.query("SELECT _s3_key, x FROM t"))
    assert found == {f"t/x={text}/p.parquet": value for text, value in values.items()}
    assert lake.run(write_mode="mirror").success
    assert lake.rows("t") == len(values)


@pytest.mark.thorough
def test_a_key_column_that_appears_half_way_is_a_new_column(lake: Lake) -> None:
    """As if the file had it: an error that names it, or null in the rows before."""
    lake.bucket.put("t/p.parquet", file())
    assert lake.run().success
    lake.bucket.put("t/day=1/p.parquet", file())
    failed = lake.run()
    assert not failed.success
    assert "SchemaMismatchError" in str(failed.all_events)
    assert "day" in str(failed.all_events)
    assert columns(lake, "t") == ["id"]
    definitions = lake.definitions(schema_mode="evolve")
    lake.bucket.proxy.forget()
    assert lake.run(definitions=definitions).success
    assert {request.key for request in lake.bucket.proxy.object_reads} == {"t/day=1/p.parquet"}
    assert lake.query("SELECT day FROM t ORDER BY _s3_key") == [("1",), (None,)]
    lake.bucket.put("t/q.parquet", file())
    assert lake.run(definitions=definitions).success
    assert lake.query("SELECT day FROM t ORDER BY _s3_key") == [("1",), (None,), (None,)]


@pytest.mark.thorough
def test_a_key_column_that_appears_half_way_needs_no_reload(lake: Lake) -> None:
    """The pattern changes with the first partition, and the table is the same."""
    lake.bucket.put("t/p.parquet", file())
    definitions = lake.definitions(schema_mode="evolve")
    assert lake.run(definitions=definitions).success
    lake.bucket.put("t/day=1/p.parquet", file())
    (request,) = lake.tick(definitions=definitions).run_requests
    assert [key.path[-1] for key in request.asset_selection] == ["t"]
    assert lake.run("t", definitions=definitions).success
    assert not lake.tick(definitions=definitions).run_requests
    reloaded = lake.definitions(schema_mode="evolve")
    assert not lake.tick(definitions=reloaded).run_requests
    assert observed(lake.run(definitions=reloaded)).keys() == {"t"}
