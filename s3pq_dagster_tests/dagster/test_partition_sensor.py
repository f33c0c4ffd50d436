"""What the sensor requests for tables with partitions."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from tenacity import stop_after_delay

from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.dagster.test_partitions import DAILY, day, load
from s3pq_dagster_tests.lake import Lake, names
from s3pq_dagster_tests.waiting import again_while


@pytest.fixture
def lake(bucket: Bucket, instance: dg.DagsterInstance, database: Path) -> Lake:
    """Return a bucket with a table that has a partition for each day, and tables without."""
    return Lake(bucket, instance, database, spec={"layout": {"rules": [DAILY]}})


def requested(tick: Any) -> list[tuple[set[str], str | None, str | None]]:
    """Return tables, first and last partition of each requested run."""
    start, end = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    return [
        (names(request.asset_selection), request.tags.get(start), request.tags.get(end))
        for request in tick.run_requests
    ]


def run_all(lake: Lake, tick: Any) -> None:
    """Run what a tick requested."""
    for request in tick.run_requests:
        assert lake.run(*names(request.asset_selection), tags=request.tags).success


@pytest.mark.thorough
def test_tables_without_partitions_are_one_run_and_each_range_is_one(lake: Lake) -> None:
    """Once they are loaded nothing is requested, until another object arrives."""
    for number in (1, 2, 3):
        lake.bucket.put(day(number), numbers(1))
    lake.bucket.put(day(30), numbers(1))
    lake.bucket.put("others/a.parquet", numbers(1))
    lake.bucket.put("more/a.parquet", numbers(1))
    tick = lake.tick()
    assert requested(tick) == [
        ({"others", "more"}, None, None),
        ({"events"}, "2024-01-01", "2024-01-03"),
        ({"events"}, "2024-01-30", "2024-01-30"),
    ]
    run_all(lake, tick)
    quiet = lake.tick(tick.cursor)
    assert requested(quiet) == []
    assert quiet.skip_message.startswith("nothing new: 3 of 3 tables up to date, 6 objects listed")
    lake.bucket.put(day(2, "late"), numbers(1))
    late = lake.tick(quiet.cursor)
    assert requested(late) == [({"events"}, "2024-01-02", "2024-01-02")]
    run_all(lake, late)
    assert lake.rows("events") == 5


@pytest.mark.thorough
def test_a_day_that_is_again_as_it_was_is_another_run(lake: Lake) -> None:
    """Dagster launches one run for a run key, and an object may be put back to what it was."""
    keys, cursor = set(), None
    for rows in (1, 2, 1, 2, 1):
        lake.bucket.put(day(1), numbers(rows))
        tick = lake.tick(cursor)
        assert requested(tick) == [({"events"}, "2024-01-01", "2024-01-01")]
        run_all(lake, tick)
        keys.add(tick.run_requests[0].run_key)
        cursor = tick.cursor
    assert len(keys) == 5
    assert lake.rows("events") == 1


@pytest.mark.thorough
def test_days_without_objects_between_two_are_bridged(lake: Lake) -> None:
    """A run a day would take as long as all of them."""
    lake.bucket.put(day(1), numbers(1))
    lake.bucket.put(day(9), numbers(1))
    tick = lake.tick()
    assert requested(tick) == [({"events"}, "2024-01-01", "2024-01-09")]
    run_all(lake, tick)
    lake.bucket.put(day(1, "b"), numbers(1))
    lake.bucket.put(day(20), numbers(1))
    assert requested(lake.tick(tick.cursor)) == [
        ({"events"}, "2024-01-01", "2024-01-01"),
        ({"events"}, "2024-01-20", "2024-01-20"),
    ]


def test_a_key_in_no_partition_is_named_and_the_rest_is_loaded(lake: Lake) -> None:
    """It may be older than the start, in the future, or no date at all."""
    lake.bucket.put(day(5), numbers(1))
    definitions = lake.definitions()
    lake.bucket.put(day(6), numbers(1))
    lake.bucket.put(day(1), numbers(1))
    for value in ("2999-01-01", "xx", "__HIVE_DEFAULT_PARTITION__"):
        lake.bucket.put(f"events/day={value}/a.parquet", numbers(1))
    tick = lake.tick(definitions=definitions)
    assert requested(tick) == [({"events"}, "2024-01-05", "2024-01-06")]
    for request in tick.run_requests:
        assert lake.run("events", definitions=definitions, tags=request.tags).success
    again = lake.tick(tick.cursor, definitions=definitions)
    assert again.skip_message.startswith(
        "not loaded: not in the definitions yet, reload the code location: events 2024-01-01; "
        "events: 3 objects in no partition, 'events/day=2999-01-01/a.parquet' among them; 1 of 1"
    )
    assert requested(lake.tick(again.cursor)) == [({"events"}, "2024-01-01", "2024-01-01")]


@pytest.mark.thorough
def test_at_most_25_runs_are_requested_at_a_time(lake: Lake) -> None:
    """The others are requested by the ticks after; a run of all other tables is one of them."""
    for year in range(1990, 2020):
        lake.bucket.put(f"events/day={year}-01-01/a.parquet", numbers(1))
    lake.bucket.put("others/a.parquet", numbers(1))
    found = requested(lake.tick())
    assert len(found) == 25
    assert found[0] == ({"others"}, None, None)
    assert found[24] == ({"events"}, "2013-01-01", "2013-01-01")


@pytest.mark.thorough
def test_a_range_that_failed_is_backed_off_from_alone(lake: Lake) -> None:
    """Other days of the table are requested all the same."""
    lake.bucket.put(day(1), numbers(1))
    assert load(lake, "2024-01-01").success
    lake.bucket.put(day(2), numbers(1).rename_columns(["other", "text"]))
    first = lake.tick()
    assert requested(first) == [({"events"}, "2024-01-02", "2024-01-02")]
    assert not lake.run("events", tags=first.run_requests[0].tags).success
    lake.bucket.put(day(1, "late"), numbers(1))
    tick = lake.tick(first.cursor)
    assert requested(tick) == [({"events"}, "2024-01-01", "2024-01-01")]
    run_all(lake, tick)
    said = lake.tick(tick.cursor).skip_message
    changed = "objects, definitions or configuration change"
    assert said.startswith(f"failing until {changed}: events 2024-01-02 (SchemaMismatchError); ")


@pytest.mark.thorough
def test_mirror_asks_for_days_whose_objects_are_deleted(lake: Lake) -> None:
    """Elsewhere a run has nothing to do about them."""
    lake.spec["write_mode"] = "mirror"
    lake.bucket.put(day(1), numbers(1))
    lake.bucket.put(day(2), numbers(2))
    tick = lake.tick()
    run_all(lake, tick)
    lake.bucket.delete(day(1))
    deleted = lake.tick(tick.cursor)
    assert requested(deleted) == [({"events"}, "2024-01-01", "2024-01-01")]
    run_all(lake, deleted)
    assert lake.rows("events") == 2
    assert requested(lake.tick(deleted.cursor)) == []


@pytest.mark.thorough
def test_a_destination_that_went_back_in_time_is_found_out(lake: Lake) -> None:
    """A verification says what the ledger really has, and the days that it lacks are requested."""
    for number in (1, 2, 3):
        lake.bucket.put(day(number), numbers(1))
    tick = lake.tick()
    run_all(lake, tick)
    lake.database.unlink()
    asking = again_while(lambda tick: not tick.run_requests, stop_after_delay(30))
    asked = asking(lambda: lake.tick(tick.cursor, verify_interval=1))
    assert requested(asked) == [({"events"}, "2024-01-03", "2024-01-03")]
    assert lake.run("events", tags=asked.run_requests[0].tags).success
    rest = lake.tick(asked.cursor)
    assert requested(rest) == [({"events"}, "2024-01-01", "2024-01-02")]


@pytest.mark.thorough
def test_a_table_of_which_nothing_has_a_partition_requests_nothing(lake: Lake) -> None:
    """Its objects are named."""
    lake.bucket.put("events/day=xx/a.parquet", numbers(1))
    tick = lake.tick()
    assert requested(tick) == []
    assert "events: 1 objects in no partition" in tick.skip_message
    assert "1 of 1 tables up to date" in tick.skip_message


@pytest.mark.thorough
def test_mirror_removes_nothing_for_an_empty_listing(lake: Lake) -> None:
    """It may be a mistake, or Spark may be about to write."""
    lake.spec["write_mode"] = "mirror"
    lake.bucket.put(day(1), numbers(1))
    definitions = lake.definitions()
    tick = lake.tick(definitions=definitions)
    run_all(lake, tick)
    lake.bucket.delete(day(1))
    emptied = lake.tick(tick.cursor, definitions=definitions)
    assert requested(emptied) == []
    assert "nothing removed without allow_empty_listing: events" in emptied.skip_message
