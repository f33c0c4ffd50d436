"""Tables with partitions: their runs, and what is recorded of each partition."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster import S3ParquetResource, discover
from s3pq_dagster.dagster.saved_tables import SavedTables
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.lake import Lake

DAILY = {
    "match": "events/{hive}/*.parquet",
    "types": {"day": "date"},
    "partitions": "daily(day)",
}
VERSION = "dagster/data_version"


def day(number: int, name: str = "a") -> str:
    """Return the key of an object of a day of January 2024."""
    return f"events/day=2024-01-{number:02}/{name}.parquet"


@pytest.fixture
def lake(bucket: Bucket, instance: dg.DagsterInstance, database: Path) -> Lake:
    """Return a bucket whose table ``events`` has a partition for each day."""
    return Lake(bucket, instance, database, spec={"layout": {"rules": [DAILY]}})


def load(lake: Lake, first: str, last: str | None = None, **options: Any) -> Any:
    """Run a range of partitions of ``events``."""
    tags = {
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last or first,
    }
    return lake.run("events", tags=tags, **options)


def recorded(lake: Lake, kind: str = "materialization") -> dict[str | None, dict[str, Any]]:
    """Return the metadata and data version of each partition's newest event."""
    key = dg.AssetKey([lake.bucket.name, "events"])
    fetch: Callable[..., Any] = getattr(lake.instance, f"fetch_{kind}s")
    found: dict[str | None, dict[str, Any]] = {}
    for record in reversed(fetch(key, limit=1000).records):
        event = getattr(record, f"asset_{kind}")
        metadata = {name: value.value for name, value in event.metadata.items()}
        found[event.partition] = metadata | {VERSION: event.tags.get(VERSION)}
    return found


def test_a_range_is_loaded_in_one_run_and_each_day_recorded(lake: Lake) -> None:
    """Each requested day has its own rows, objects and bytes; one without objects has none."""
    lake.bucket.put(day(1), numbers(3))
    lake.bucket.put(day(1, "b"), numbers(2))
    lake.bucket.put(day(3), numbers(4))
    lake.bucket.put(day(5), numbers(5))
    result = load(lake, "2024-01-01", "2024-01-03")
    assert result.success
    assert lake.rows("events") == 9
    found = recorded(lake)
    assert {name: each["dagster/partition_row_count"] for name, each in found.items()} == {
        "2024-01-01": 5,
        "2024-01-02": 0,
        "2024-01-03": 4,
    }
    assert found["2024-01-01"]["s3pq/objects"] == 2
    assert len({each[VERSION] for each in found.values()}) == 3
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks == {"complete": False, "rows_reconciled": True, "no_quarantine": True}
    assert load(lake, "2024-01-05").success
    assert lake.rows("events") == 14
    assert list(recorded(lake)) == ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-05"]


@pytest.mark.thorough
def test_a_load_that_fails_half_way_records_what_is_whole_and_goes_on_from_there(
    lake: Lake,
) -> None:
    """Days whose checkpoints are committed are recorded; the next run reads only the rest."""
    for number in (1, 2, 3):
        lake.bucket.put(day(number), numbers(number))
    lake.bucket.put(day(4), pa.table({"other": [1]}))
    spec = {"checkpoint_bytes": 1}
    assert not load(lake, "2024-01-01", "2024-01-05", **spec).success
    assert set(recorded(lake)) == {"2024-01-01", "2024-01-02", "2024-01-03"}
    before = recorded(lake)
    lake.bucket.put(day(4), numbers(4))
    assert load(lake, "2024-01-01", "2024-01-05", **spec).success
    assert lake.rows("events") == 10
    found = recorded(lake)
    assert {name: each["s3pq/rows"] for name, each in found.items()} == {
        f"2024-01-0{number}": number % 5 for number in range(1, 6)
    }
    assert {name: found[name] for name in before} == before
    assert set(recorded(lake, "observation")) == {None, *before}


@pytest.mark.thorough
def test_what_a_killed_run_has_committed_is_recorded_by_the_next(lake: Lake) -> None:
    """Without an event of a day, its rows alone make it whole."""
    lake.bucket.put(day(1), numbers(1))
    lake.bucket.put(day(2), numbers(2))
    assert load(lake, "2024-01-01", "2024-01-02").success
    lake.instance.wipe_assets([dg.AssetKey([lake.bucket.name, "events"])])
    assert load(lake, "2024-01-02").success
    assert {name: each["s3pq/rows"] for name, each in recorded(lake).items()} == {"2024-01-02": 2}


def test_nothing_new_is_an_observation_a_partition(lake: Lake) -> None:
    """It has the data version of the materialization."""
    lake.bucket.put(day(1), numbers(1))
    for _ in range(2):
        assert load(lake, "2024-01-01", "2024-01-02").success
    observed, before = recorded(lake, "observation"), recorded(lake)
    assert {name: each[VERSION] for name, each in observed.items()} == {
        name: each[VERSION] for name, each in before.items()
    }


@pytest.mark.thorough
def test_nothing_new_in_very_many_partitions_is_one_observation(lake: Lake) -> None:
    """An event each would take longer than all that the run has to do."""
    lake.bucket.put(day(1), numbers(1))
    for _ in range(2):
        assert load(lake, "2024-01-01", "2024-04-20").success
    observed = recorded(lake, "observation")
    assert list(observed) == [None]
    assert observed[None]["s3pq/partitions"] == 111


@pytest.mark.thorough
def test_a_late_object_makes_another_version_of_its_day(lake: Lake) -> None:
    """It is loaded by its key, whatever its LastModified; the other days stay."""
    lake.bucket.put(day(1), numbers(1))
    lake.bucket.put(day(2), numbers(2))
    assert load(lake, "2024-01-01", "2024-01-02").success
    before = recorded(lake)
    lake.bucket.put(day(1, "late"), numbers(5))
    assert load(lake, "2024-01-01", "2024-01-02").success
    found = recorded(lake)
    assert found["2024-01-01"]["s3pq/rows"] == 6
    assert found["2024-01-01"][VERSION] != before["2024-01-01"][VERSION]
    assert found["2024-01-02"] == before["2024-01-02"]


@pytest.mark.thorough
def test_full_refresh_replaces_the_rows_of_its_partitions_alone(lake: Lake) -> None:
    """Rows of other partitions keep the run that loaded them; rows of deleted objects go."""
    for key, rows in ((day(1), 1), (day(1, "gone"), 7), (day(2), 2)):
        lake.bucket.put(key, numbers(rows))
    assert load(lake, "2024-01-01", "2024-01-02").success
    lake.bucket.delete(day(1, "gone"))
    first = {entry["key"]: entry["run_id"] for entry in lake.ledger("events")}
    assert load(lake, "2024-01-01", config={"full_refresh": True}).success
    assert lake.rows_by_key("events") == {day(1): 1, day(2): 2}
    now = {entry["key"]: entry["run_id"] for entry in lake.ledger("events")}
    assert set(now) == {day(1), day(2)}
    assert now[day(2)] == first[day(2)]
    assert now[day(1)] != first[day(1)]
    assert recorded(lake)["2024-01-01"]["s3pq/rows"] == 1


@pytest.mark.thorough
def test_a_reload_stays_within_the_partitions_of_its_run(lake: Lake) -> None:
    """Others keep the run that loaded them; what is recorded says the same as before."""
    for key, rows in ((day(1), 1), (day(1, "b"), 2), (day(2), 2)):
        lake.bucket.put(key, numbers(rows))
    assert load(lake, "2024-01-01", "2024-01-02").success
    first = {entry["key"]: entry["run_id"] for entry in lake.ledger("events")}
    before = recorded(lake)
    assert load(lake, "2024-01-01", config={"reload": ["*"]}).success
    now = {entry["key"]: entry["run_id"] for entry in lake.ledger("events")}
    assert [key for key in first if now[key] == first[key]] == [day(2)]
    assert recorded(lake) == before
    assert lake.rows("events") == 5


@pytest.mark.thorough
def test_full_refresh_that_fails_leaves_the_partition_as_it_was(lake: Lake) -> None:
    """All of its rows are replaced in one transaction, or none."""
    for key, rows in ((day(1), 1), (day(1, "b"), 2), (day(2), 2)):
        lake.bucket.put(key, numbers(rows))
    assert load(lake, "2024-01-01", "2024-01-02").success
    lake.bucket.put(day(1, "b"), pa.table({"other": [1]}))
    config = {"full_refresh": True}
    assert not load(lake, "2024-01-01", config=config, checkpoint_bytes=1).success
    assert lake.rows_by_key("events") == {day(1): 1, day(1, "b"): 2, day(2): 2}


@pytest.mark.thorough
def test_mirror_removes_what_is_deleted_from_the_partitions_of_the_run(lake: Lake) -> None:
    """Rows of deleted objects of other partitions stay until these are run."""
    for number in (1, 2, 3):
        lake.bucket.put(day(number), numbers(number))
        lake.bucket.put(day(number, "gone"), numbers(5))
    assert load(lake, "2024-01-01", "2024-01-03", write_mode="mirror").success
    for number in (1, 2, 3):
        lake.bucket.delete(day(number, "gone"))
    assert load(lake, "2024-01-01", "2024-01-02", write_mode="mirror").success
    assert lake.rows_by_key("events") == {day(1): 1, day(2): 2, day(3): 3, day(3, "gone"): 5}
    found = recorded(lake)
    assert [found[f"2024-01-0{n}"]["s3pq/rows"] for n in (1, 2, 3)] == [1, 2, 8]


@pytest.mark.thorough
def test_checks_are_evaluated_without_partitions(lake: Lake) -> None:
    """They judge the table as a whole."""
    lake.bucket.put(day(1), numbers(1))
    assert load(lake, "2024-01-01").success
    result = lake.check("events")
    assert result.success
    assert {check.passed for check in result.get_asset_check_evaluations()} == {True}


def test_more_partitions_than_dagster_is_made_for_are_an_error_of_the_table(
    lake: Lake,
) -> None:
    """Other tables load; the message says what to do."""
    rule = DAILY | {"types": {"day": "timestamp"}, "partitions": "hourly(day)"}
    lake.bucket.put("events/day=1970-01-01T00:00/a.parquet", numbers(1))
    lake.bucket.put("others/a.parquet", numbers(1))
    result = lake.run("events", "others", layout={"rules": [rule]})
    assert not result.success
    assert lake.rows("others") == 1
    failed = result.failure_data_for_node("load_events")
    assert failed is not None
    assert "Dagster is made for 100000 at most" in str(failed.error)


def test_a_table_has_partitions_or_shards(lake: Lake) -> None:
    """Both is an error when the definitions are built."""
    lake.bucket.put(day(1), numbers(1))
    lake.options["shards"] = {"events": 2}
    with pytest.raises(ConfigurationError, match="'events' has partitions, and cannot have 2"):
        lake.definitions()


@pytest.mark.thorough
@pytest.mark.parametrize("columns", [None, ["id"]], ids=["all columns", "one column"])
def test_an_asset_downstream_gets_the_rows_of_its_partitions(
    lake: Lake, columns: list[str] | None
) -> None:
    """One without partitions gets them all."""
    seen: dict[str, pa.Table] = {}
    source = dg.AssetKey([lake.bucket.name, "events"])
    given = dg.AssetIn(
        source,
        input_manager_key="s3_parquet_io_manager",
        metadata={} if columns is None else {"columns": columns},
    )
    daily = dg.DailyPartitionsDefinition("2024-01-01", end_offset=1)

    @dg.asset(ins={"events": given}, partitions_def=daily)
    def of_days(events: pa.Table) -> None:
        seen["of_days"] = events

    @dg.asset(ins={"events": given})
    def of_all(events: pa.Table) -> None:
        seen["of_all"] = events

    for number in (1, 2, 3):
        lake.bucket.put(day(number), numbers(number))
    loaded = lake.definitions()
    assert load(lake, "2024-01-01", "2024-01-03", definitions=loaded).success
    definitions = dg.Definitions.merge(loaded, dg.Definitions([of_days, of_all]))
    for asset, day_of_run in ((of_days, "2024-01-02"), (of_all, None)):
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(
            instance=lake.instance, asset_selection=[asset.key], partition_key=day_of_run
        ).success
    assert seen["of_days"].num_rows == 2
    assert seen["of_all"].num_rows == 6
    assert columns is None or seen["of_days"].column_names == columns


@pytest.mark.thorough
def test_a_run_that_asks_for_no_partition_loads_them_all(lake: Lake) -> None:
    """Dagster's command line refuses such a run, Python does not; what is in none stays pending."""
    for number in (1, 3):
        lake.bucket.put(day(number), numbers(number))
    lake.bucket.put("events/day=xx/a.parquet", numbers(1))
    rule = DAILY | {"partitions": "monthly(day)"}
    assert lake.run("events", layout={"rules": [rule]}).success
    assert lake.rows("events") == 4
    assert {"2024-01-01": 4, "2024-02-01": 0}.items() <= {
        name: each["s3pq/rows"] for name, each in recorded(lake).items()
    }.items()


def test_a_run_has_the_partitions_that_the_code_location_found(lake: Lake) -> None:
    """Its steps read what was saved, whatever has arrived since."""
    lake.bucket.put(day(5), numbers(1))
    source = S3ParquetResource(**(lake.bucket.spec | lake.spec))
    found = discover(source)
    lake.bucket.put(day(1), numbers(1))
    saved = SavedTables.of(source).load(logging.getLogger(__name__))
    assert saved == found
    assert found[0].partitions == ["2024-01-05"]
