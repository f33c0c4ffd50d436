"""Names that collide, look alike or cannot be used load apart, or say what to do."""

import pyarrow as pa
import pytest

from s3pq_dagster.errors import TableNameCollisionError, TableNameError
from s3pq_dagster_tests.buckets import parquet
from s3pq_dagster_tests.lake import Lake, messages


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


def test_case_twins_stop_discovery_until_one_is_left_out(lake: Lake) -> None:
    """One error has all collisions, and `skip_tables` avoids them."""
    for key in ("Orders/1", "orders/1", "\u00e9/a/1", "\u00fc/a/1", "b/1"):
        lake.bucket.put(f"{key}.parquet", 1)
    with pytest.raises(TableNameCollisionError, match=r"Rename a prefix.*`skip_tables`") as caught:
        lake.definitions()
    assert [name for name, _ in caught.value.collisions] == ["Orders / orders", "a"]
    assert lake.run(skip_tables=["Orders", "a"]).success
    assert lake.tables() == {"orders", "b", "_s3pq_objects", "_s3pq_tables"}


def test_prefixes_without_a_name_stop_discovery_until_they_are_left_out(lake: Lake) -> None:
    """A table needs a name; the error says how to leave the prefix out."""
    for prefix in ("\U0001f600", "", "..", "a"):
        lake.bucket.put(f"{prefix}/1.parquet", 1)
    with pytest.raises(TableNameError, match=r"`\?\*` instead of `\*` in `tables`"):
        lake.definitions()
    assert lake.run(tables=["?*"]).success
    assert lake.tables() == {"a", "_s3pq_objects", "_s3pq_tables"}


def test_a_collision_that_comes_later_stops_no_table_that_is_known(lake: Lake) -> None:
    """Runs and ticks go on and the sensor warns; only a reload fails."""
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


def test_a_column_name_that_is_no_utf8_is_quarantined(lake: Lake) -> None:
    """The object is malformed; the other objects of its table are loaded."""
    good = parquet(pa.table({"aXXb": [1]}), store_schema=False)
    lake.bucket.put("a/1.parquet", good.replace(b"aXXb", b"a\xed\xa0b"))
    lake.bucket.put("a/2.parquet", good)
    assert lake.run().success
    assert lake.statuses("a") == {"a/1.parquet": "quarantined", "a/2.parquet": "loaded"}
    assert "UnicodeDecodeError" in lake.ledger("a")[0]["reason"]
