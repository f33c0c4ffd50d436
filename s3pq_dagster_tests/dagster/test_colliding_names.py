"""Names that collide, look alike or cannot be used load apart, or say what to do."""

import pyarrow as pa
import pytest

from s3pq_dagster import Layout, Rule
from s3pq_dagster.errors import TableNameError
from s3pq_dagster_tests.buckets import parquet
from s3pq_dagster_tests.lake import Lake, materialized, messages, names

LEDGER = {"_s3pq_objects", "_s3pq_tables", "_s3pq_schemas"}


@pytest.mark.thorough
def test_names_that_look_alike_are_replaced_apart(lake: Lake) -> None:
    """Overwriting an object replaces the rows of exactly its key, byte by byte."""
    twins = ["caf\u00e9", "cafe\u0301", "a\x00b", "a\x00c", "a", "A", "a ", "%61", "\uff41"]
    keys = {f"t/{name}.parquet": rows for rows, name in enumerate(twins, 1)}
    for key, rows in keys.items():
        lake.bucket.put(key, rows)
    definitions = lake.definitions(write_mode="mirror")
    assert lake.run(definitions=definitions).success
    for key in list(keys)[::2]:
        lake.bucket.put(key, keys[key] + 100)
        keys[key] += 100
    lake.bucket.delete("t/cafe\u0301.parquet")
    lake.bucket.delete("t/A.parquet")
    assert lake.run(definitions=definitions).success
    del keys["t/cafe\u0301.parquet"], keys["t/A.parquet"]
    assert lake.rows_by_key("t") == keys
    assert [entry["key"] for entry in lake.ledger("t") if entry["status"] == "removed"] == [
        "t/A.parquet",
        "t/cafe\u0301.parquet",
    ]


def test_a_newline_in_a_key_is_a_character_like_any_other(weed_lake: Lake) -> None:
    """A key with a newline is listed and loaded, on a server that accepts one."""
    key = "a\nb/object_loaded table=c\nd.parquet"
    weed_lake.bucket.put(key, 2)
    result = weed_lake.run()
    assert result.success
    assert weed_lake.rows_by_key("a_b") == {key: 2}
    assert [entry["key"] for entry in weed_lake.ledger("a_b")] == [key]
    found = messages(weed_lake.instance, result.run_id)
    (said,) = [message for message in found if message.startswith("checkpoint_committed ")]
    assert [line.split()[0] for line in said.split("\n")] == [
        "checkpoint_committed",
        "object_loaded",
    ]


def test_case_twins_fail_and_other_tables_load(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning and the failed runs name the prefixes; `skip_tables` avoids the collision."""
    for key in ("Orders/1", "orders/1", "\u00e9/a/1", "\u00fc/a/1", "b/1"):
        lake.bucket.put(f"{key}.parquet", 1)
    definitions = lake.definitions()
    assert (
        'names_collide table="Orders / orders" prefixes=2 such_as="Orders/ orders/"' in caplog.text
    )
    result = lake.run(definitions=definitions)
    failures = {
        event.step_key: str(event.step_failure_data.error)
        for event in result.all_events
        if event.is_step_failure
    }
    assert failures.keys() == {"load_Orders", "load_orders", "load_a"}
    said = "'Orders / orders' would come from prefixes 'Orders/', 'orders/'"
    assert said in failures["load_Orders"]
    assert said in failures["load_orders"]
    assert materialized(result).keys() == {"b"}
    assert lake.tables() == {"b", *LEDGER}
    assert lake.run(skip_tables=["Orders", "a"]).success
    assert lake.tables() == {"orders", "b", *LEDGER}


@pytest.mark.thorough
def test_the_sensor_asks_for_no_table_that_collides(lake: Lake) -> None:
    """Its reason begins with them; once one is gone, it says that a reload is needed."""
    for key in ("a-b/1", "a_b/1", "c/1"):
        lake.bucket.put(f"{key}.parquet", 1)
    definitions = lake.definitions()
    (request,) = lake.tick(definitions=definitions).run_requests
    assert names(list(request.asset_selection)) == {"c"}
    assert lake.run("c", definitions=definitions).success
    tick = lake.tick(definitions=definitions)
    assert not tick.run_requests
    said = "not loaded: table 'a_b' would come from prefixes 'a-b/', 'a_b/'"
    assert tick.skip_message.startswith(said)
    lake.bucket.delete("a-b/1.parquet")
    said = "not loaded: not in the definitions yet, reload the code location: a_b; 1 of 2 tables"
    assert lake.tick(definitions=definitions).skip_message.startswith(said)
    reloaded = lake.definitions()
    (request,) = lake.tick(definitions=reloaded).run_requests
    assert names(list(request.asset_selection)) == {"a_b"}
    assert lake.run(definitions=reloaded).success
    assert lake.rows("a_b") == 1


@pytest.mark.thorough
def test_a_collision_stops_no_other_table_in_one_op_or_in_shards(lake: Lake) -> None:
    """In one op for all tables those that fail come last; in shards the first step says it."""
    for key in ("a-b/1", "a_b/1", "c/1"):
        lake.bucket.put(f"{key}.parquet", 1)
    lake.options = {"granularity": "all"}
    failed = lake.run()
    assert not failed.success
    assert materialized(failed).keys() == {"c"}
    lake.options = {"shards": {"a_b": 2}}
    failed = lake.run()
    steps = {event.step_key for event in failed.all_events if event.is_step_failure}
    assert "load_a_b.split_a_b" in steps
    assert lake.rows("c") == 1


def test_checks_of_a_collision_say_what_it_is(lake: Lake) -> None:
    """They fail as its load does, instead of comparing one prefix with the table."""
    for key in ("a-b/1", "a_b/1"):
        lake.bucket.put(f"{key}.parquet", 1)
    failed = lake.check("a_b")
    assert not failed.success
    assert "TableNameCollisionError" in str(failed.all_events)


@pytest.mark.thorough
def test_two_rules_and_two_values_of_one_name_are_errors_of_their_tables(lake: Lake) -> None:
    """A full refresh does not take a table over that another rule feeds, too."""
    lake.bucket.put("x/1.parquet", 1)
    first = Rule(match="x/*.parquet", table="t")
    assert lake.run(layout=Layout(rules=[first])).success
    for key in ("y/1", "z/p-q/1", "z/p_q/1", "z/r/1"):
        lake.bucket.put(f"{key}.parquet", 2)
    rules = [Rule(match="y/*.parquet", table="t"), first, Rule(match="z/{table}/*.parquet")]
    failed = lake.run(layout=Layout(rules=rules), config={"full_refresh": True})
    assert materialized(failed).keys() == {"r"}
    assert "'t' would come from prefixes 'x/*.parquet', 'y/*.parquet'" in str(failed.all_events)
    assert "'z/p-q/*.parquet', 'z/p_q/*.parquet'" in str(failed.all_events)
    assert lake.rows_by_key("t") == {"x/1.parquet": 1}


def test_prefixes_without_a_name_stop_discovery_until_they_are_left_out(lake: Lake) -> None:
    """A table needs a name; the error says how to leave the prefix out."""
    for prefix in ("\U0001f600", "", "..", "a"):
        lake.bucket.put(f"{prefix}/1.parquet", 1)
    with pytest.raises(TableNameError, match=r"`\?\*` instead of `\*` in `tables`"):
        lake.definitions()
    assert lake.run(tables=["?*"]).success
    assert lake.tables() == {"a", *LEDGER}


@pytest.mark.thorough
def test_a_collision_that_comes_later_stops_no_table_that_is_known(lake: Lake) -> None:
    """Runs and ticks go on and the sensor warns; after a reload its runs fail."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    lake.bucket.put("A/1.parquet", 1)
    lake.bucket.put("a/2.parquet", 2)
    (request,) = lake.tick(definitions=definitions).run_requests
    assert [key.path[-1] for key in request.asset_selection] == ["a"]
    assert lake.run(definitions=definitions).success
    assert lake.rows_by_key("a") == {"a/1.parquet": 1, "a/2.parquet": 2}
    said = str(lake.tick(definitions=definitions).skip_message)
    assert "table 'A / a' would come from prefixes 'A/', 'a/'" in said
    assert not lake.run("a").success
    assert lake.rows_by_key("a") == {"a/1.parquet": 1, "a/2.parquet": 2}


def test_a_column_name_that_is_no_utf8_is_quarantined(lake: Lake) -> None:
    """The object is malformed; the other objects of its table are loaded."""
    good = parquet(pa.table({"aXXb": [1]}), store_schema=False)
    lake.bucket.put("a/1.parquet", good.replace(b"aXXb", b"a\xed\xa0b"))
    lake.bucket.put("a/2.parquet", good)
    assert lake.run().success
    assert lake.statuses("a") == {"a/1.parquet": "quarantined", "a/2.parquet": "loaded"}
    assert "UnicodeDecodeError" in lake.ledger("a")[0]["reason"]
