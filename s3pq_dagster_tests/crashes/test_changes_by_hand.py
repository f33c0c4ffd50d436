"""What a run does when somebody has changed the destination by hand."""

import duckdb
import pytest

from s3pq_dagster_tests.crashes.six_objects import keys, read
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.lake import Lake


def by_hand(lake: Lake, sql: str) -> None:
    """Change the DuckDB file outside any run."""
    with duckdb.connect(str(lake.database)) as connection:
        connection.execute(sql)


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("change", "found", "remedy"),
    [
        (
            "DROP TABLE _s3pq_objects",
            "_s3pq_objects is not there",
            "DROP TABLE a; DROP TABLE _s3pq_tables",
        ),
        pytest.param(
            "DROP TABLE _s3pq_tables",
            "_s3pq_tables is not there",
            "DROP TABLE a; DROP TABLE _s3pq_objects",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            "DROP TABLE _s3pq_tables; DROP TABLE _s3pq_objects",
            "_s3pq_objects and _s3pq_tables is not there",
            "DROP TABLE a",
            marks=pytest.mark.nightly,
        ),
        (
            "DROP TABLE a",
            "its row in _s3pq_tables is there but the table is not",
            "DELETE FROM _s3pq_objects; DELETE FROM _s3pq_tables",
        ),
        pytest.param(
            "DELETE FROM _s3pq_tables",
            "it has no row in _s3pq_tables",
            "DROP TABLE a; DELETE FROM _s3pq_objects",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_what_is_dropped_by_hand_is_never_loaded_again_silently(
    lake: Lake, change: str, found: str, remedy: str
) -> None:
    """The run fails and names what is missing; following its advice loads all of it once."""
    definitions = lake.definitions()
    assert lake.run(definitions=definitions).success
    by_hand(lake, change)
    lake.bucket.proxy.forget()
    for config in (None, {"full_refresh": True}):
        said = failure(lake.run("a", definitions=definitions, config=config), "load_a")
        assert f"table 'a' and its ledger do not belong together: {found}" in said
        assert "Put back what was dropped or, to load it anew, drop" in said
    assert read(lake.bucket) == []
    by_hand(lake, remedy)
    assert lake.run(definitions=definitions).success
    assert lake.rows_by_key("a") == dict.fromkeys(keys(range(6)), 10)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "write_mode",
    [*(pytest.param(m, marks=pytest.mark.nightly) for m in ("append", "mirror")), "replace"],
)
def test_an_object_whose_entry_was_deleted_by_hand_is_not_loaded_twice(
    lake: Lake, write_mode: str
) -> None:
    """The run names it and writes nothing of it; a full refresh mends the table."""
    definitions = lake.definitions(write_mode=write_mode)
    assert lake.run(definitions=definitions).success
    by_hand(lake, "DELETE FROM _s3pq_objects WHERE key = 'a/2.parquet'")
    said = failure(lake.run(definitions=definitions), "load_a")
    assert "'a/2.parquet' has 10 rows in the table and 0 in _s3pq_objects" in said
    assert "run it with full_refresh: true" in said
    assert lake.rows_by_key("a") == dict.fromkeys(keys(range(6)), 10)
    assert lake.run("a", definitions=definitions, config={"full_refresh": True}).success
    assert lake.rows_by_key("a") == dict.fromkeys(keys(range(6)), 10)
    assert list(lake.statuses("a")) == keys(range(6))


def test_rows_of_somebody_elses_do_not_stop_a_load(lake: Lake) -> None:
    """Inserted rows belong to no object, so no object is loaded twice; the checks show them."""
    definitions = lake.definitions()
    assert lake.run(definitions=definitions).success
    by_hand(lake, "INSERT INTO a (id, _s3_key) VALUES (1, NULL), (2, 'mine')")
    lake.bucket.put("a/6.parquet", 10)
    assert lake.run(definitions=definitions).success
    assert lake.rows("a") == 72
