"""The sensor compares the listing with what was last materialized."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from tenacity import stop_after_delay

from s3pq_dagster import S3ParquetTableProps, S3ParquetTranslator
from s3pq_dagster_tests.lake import Lake, names
from s3pq_dagster_tests.proxy import Answer
from s3pq_dagster_tests.waiting import again_while

DENIED = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")


def asked(result: Any) -> list[set[str]]:
    """Return the tables of each requested run."""
    return [names(list(request.asset_selection or [])) for request in result.run_requests or []]


def reason(result: Any) -> str:
    """Return the skip reason."""
    return str(result.skip_message or "")


def perform(lake: Lake, definitions: dg.Definitions, result: Any) -> bool:
    """Run what the sensor requested."""
    return all(lake.run(*tables, definitions=definitions).success for tables in asked(result))


def test_the_first_tick_asks_for_every_table_and_the_next_for_none(lake: Lake) -> None:
    """Once everything is loaded, the skip reason has the counts and the cursors."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.set_last_modified("a/1.parquet", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
    lake.bucket.put("b/1.parquet", 1)
    definitions = lake.definitions()
    first = lake.tick(definitions=definitions)
    assert asked(first) == [{"a", "b"}]
    assert perform(lake, definitions, first)
    second = lake.tick(first.cursor, definitions=definitions)
    assert not second.run_requests
    assert "nothing new: 2 of 2 tables up to date, 2 objects listed" in reason(second)
    key = f"s3/{lake.bucket.name}/a/last_modified_cursor"
    assert f"{key} 2024-05-06T07:08:09Z" in reason(second)
    assert json.loads(str(second.cursor))[key] == "2024-05-06T07:08:09Z"
    assert json.loads(str(second.cursor))["tables"] == {}


class Renamed(S3ParquetTranslator):
    """A translator that says everything anew."""

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table."""
        return dg.AssetSpec(key=["raw", props.table.name], group_name="mine", tags={"tier": "raw"})


@pytest.mark.parametrize("translator", [S3ParquetTranslator(), Renamed()])
def test_the_sensors_target_can_be_read(lake: Lake, translator: S3ParquetTranslator) -> None:
    """It is a selection by a tag that all tables of the bucket have, whatever a translator says."""
    for table in ("a", "b"):
        lake.bucket.put(f"{table}/1.parquet", 1)
    lake.options = {"translator": translator, "shards": {"b": 2}}
    downstream = dg.asset(group_name=lake.bucket.name.replace("-", "_"), name="other")(lambda: 1)
    definitions = dg.Definitions.merge(lake.definitions(), dg.Definitions([downstream]))
    repository = definitions.get_repository_def()
    job: Any = repository.get_sensor_def("s3_parquet_sensor").job
    selection = job.selection
    for shown in (selection, selection.to_serializable_asset_selection(repository.asset_graph)):
        assert str(shown) == f'tag:"s3pq/source"="{lake.bucket.name}"'
    targeted = selection.resolve(repository.asset_graph)
    assert targeted == {s.key for s in definitions.resolve_all_asset_specs()} - {downstream.key}


def test_tables_with_different_partitions_are_asked_for_by_one_sensor(lake: Lake) -> None:
    """A code location with a day's table, a text's and one without partitions can be loaded."""
    static = {"match": "stock/{country}/*.parquet", "partitions": "static(country)"}
    daily = {"match": "{table}/{hive}/*.parquet", "types": {"day": "date"}}
    daily |= {"partitions": "daily(day)"}
    lake.spec = {"layout": {"rules": [static, daily]}}
    for key in ("a/day=2024-01-01/1", "b/day=2024-01-02/1", "stock/fr/1", "plain"):
        lake.bucket.put(f"{key}.parquet", 1)
    definitions = lake.definitions()
    dg.Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()
    selection: Any = repository.get_sensor_def("s3_parquet_sensor").asset_selection
    assert str(selection) == f'tag:"s3pq/source"="{lake.bucket.name}"'
    tick = lake.tick(definitions=definitions)
    assert asked(tick) == [{"plain"}, {"a"}, {"b"}, {"stock"}]
    assert {request.job_name for request in tick.run_requests} == {"__ASSET_JOB"}


def test_a_new_object_asks_for_its_table_only(lake: Lake) -> None:
    """An object counts even if its LastModified is before the cursor."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.put("b/1.parquet", 1)
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    lake.bucket.put("b/0.parquet", 2)
    lake.bucket.set_last_modified("b/0.parquet", datetime(2001, 1, 1, tzinfo=UTC))
    tick = lake.tick(definitions=definitions)
    assert asked(tick) == [{"b"}]
    assert perform(lake, definitions, tick)
    assert lake.rows("b") == 3
    assert not lake.tick(tick.cursor, definitions=definitions).run_requests


@pytest.mark.thorough
def test_another_size_asks_for_a_run_though_the_e_tag_stays(lake: Lake) -> None:
    """Sensor, load and the check `complete` agree that it is another object."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.set_e_tag("a/1.parquet", "same-2")
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    lake.bucket.put("a/1.parquet", 5)
    lake.bucket.set_e_tag("a/1.parquet", "same-2")
    (check,) = lake.check("a", "complete").get_asset_check_evaluations()
    assert not check.passed
    tick = lake.tick(definitions=definitions)
    assert asked(tick) == [{"a"}]
    assert perform(lake, definitions, tick)
    assert lake.rows("a") == 5
    assert not lake.tick(tick.cursor, definitions=definitions).run_requests


@pytest.mark.thorough
def test_a_destination_that_went_back_in_time_is_noticed(lake: Lake) -> None:
    """An older copy was put back; a run asks its ledger, and loads what is missing."""
    lake.bucket.put("a/1.parquet", 1)
    lake.run()
    copy = lake.database.read_bytes()
    lake.bucket.put("a/2.parquet", 2)
    definitions = lake.definitions(verify_interval=1)
    lake.run(definitions=definitions)
    lake.database.write_bytes(copy)
    asking = again_while(lambda tick: not tick.run_requests, stop_after_delay(30))
    tick = asking(lambda: lake.tick(definitions=definitions))
    assert perform(lake, definitions, tick)
    assert lake.rows("a") == 3


def test_one_run_a_table_on_request(lake: Lake) -> None:
    """Each run has a run key of its own."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.put("b/1.parquet", 1)
    lake.options = {"run_per_table": True}
    tick = lake.tick()
    assert asked(tick) == [{"a"}, {"b"}]
    assert len({request.run_key for request in tick.run_requests or []}) == 2


@pytest.mark.thorough
def test_a_failed_run_is_asked_for_again_with_backoff(lake: Lake) -> None:
    """The sensor waits at first, and then requests a run with another run key."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    first = lake.tick(definitions=definitions)
    lake.bucket.proxy.before = lambda request: DENIED if request.is_object else None
    assert not perform(lake, definitions, first)
    waiting = lake.tick(first.cursor, definitions=definitions)
    assert not waiting.run_requests
    assert "backing off: a (attempt 1 failed, next in" in reason(waiting)
    later = json.loads(str(waiting.cursor))
    later["tables"]["a"]["at"] -= 61
    again = lake.tick(json.dumps(later), definitions=definitions)
    assert asked(again) == [{"a"}]
    assert {r.run_key for r in again.run_requests or []}.isdisjoint(
        r.run_key for r in first.run_requests or []
    )
    lake.bucket.proxy.before = lambda _request: None
    assert perform(lake, definitions, again)
    assert not lake.tick(again.cursor, definitions=definitions).run_requests


@pytest.mark.thorough
def test_another_object_is_not_held_up_by_an_earlier_failure(lake: Lake) -> None:
    """The backoff applies to the listing that failed, and to no other."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    first = lake.tick(definitions=definitions)
    lake.bucket.put("a/2.parquet", 1)
    assert asked(lake.tick(first.cursor, definitions=definitions)) == [{"a"}]


def test_a_lost_cursor_costs_nothing(lake: Lake) -> None:
    """Without its cursor the sensor requests no run that is not needed."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    assert not lake.tick("not json", definitions=definitions).run_requests
    assert not lake.tick(None, definitions=definitions).run_requests


@pytest.mark.thorough
def test_what_another_destination_holds_does_not_count(lake: Lake, tmp_path: Path) -> None:
    """A new destination is filled with everything, not only with what arrives later."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.put("b/1.parquet", 1)
    assert lake.run().success
    moved = replace(lake, database=tmp_path / "other.duckdb")
    definitions = moved.definitions()
    tick = moved.tick(definitions=definitions)
    assert asked(tick) == [{"a", "b"}]
    assert perform(moved, definitions, tick)
    assert moved.rows("a") == moved.rows("b") == 1
    assert not moved.tick(tick.cursor, definitions=definitions).run_requests
    # Back again, where nothing is to be loaded: one run says so.
    definitions = lake.definitions()
    tick = lake.tick(definitions=definitions)
    assert asked(tick) == [{"a", "b"}]
    lake.bucket.proxy.forget()
    assert perform(lake, definitions, tick)
    assert not lake.bucket.proxy.object_reads
    assert not lake.tick(tick.cursor, definitions=definitions).run_requests


@contextmanager
def run_in_status(
    lake: Lake, definitions: dg.Definitions, status: dg.DagsterRunStatus
) -> Iterator[dg.DagsterRun]:
    """Create a run of table a and leave it in a status."""
    key = dg.AssetKey([lake.bucket.name, "a"])
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
    yield lake.instance.create_run_for_job(job, status=status, asset_selection=frozenset({key}))


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(dg.DagsterRunStatus.NOT_STARTED, marks=pytest.mark.thorough),
        dg.DagsterRunStatus.STARTED,
        pytest.param(dg.DagsterRunStatus.CANCELING, marks=pytest.mark.thorough),
    ],
)
def test_a_run_in_flight_is_waited_for(lake: Lake, status: dg.DagsterRunStatus) -> None:
    """The sensor waits for any run of the table, whoever started it."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.put("b/1.parquet", 1)
    definitions = lake.definitions()
    with run_in_status(lake, definitions, status) as run:
        tick = lake.tick(definitions=definitions)
    assert asked(tick) == [{"b"}]
    assert f"a (run {run.run_id[:8]})" in log_of(lake, definitions)


def log_of(lake: Lake, definitions: dg.Definitions) -> str:
    """Return the summary of a tick that requests nothing for table b."""
    lake.run("b", definitions=definitions)
    return reason(lake.tick(definitions=definitions))


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_an_ended_run_is_not_waited_for(lake: Lake, status: dg.DagsterRunStatus) -> None:
    """A failed or cancelled run is followed by another one."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    with run_in_status(lake, definitions, status):
        assert asked(lake.tick(definitions=definitions)) == [{"a"}]


def test_a_dead_run_is_not_waited_for(lake: Lake) -> None:
    """A killed process leaves its run started; after a time without events it counts as dead."""
    lake.bucket.put("a/1.parquet", 1)
    lake.options = {"stale_run_seconds": 0}
    definitions = lake.definitions()
    with run_in_status(lake, definitions, dg.DagsterRunStatus.STARTED):
        deadline = time.monotonic() + 10
        while not (found := asked(lake.tick(definitions=definitions))):
            assert time.monotonic() < deadline
        assert found == [{"a"}]


@pytest.mark.thorough
def test_a_run_from_the_future_falls_silent_too(lake: Lake) -> None:
    """The clock was set back a day after a run's last event; the run is dead all the same."""
    lake.bucket.put("a/1.parquet", 1)
    lake.options = {"stale_run_seconds": 1}
    definitions = lake.definitions()
    with run_in_status(lake, definitions, dg.DagsterRunStatus.STARTED) as run:
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
        tomorrow = time.time() + 86_400
        lake.instance.report_dagster_event(event, run.run_id, timestamp=tomorrow)
        assert not lake.tick(definitions=definitions).run_requests
        asking = again_while(lambda requests: not requests, stop_after_delay(30))
        assert asking(lambda: lake.tick(definitions=definitions).run_requests)


def test_a_run_is_not_dead_because_the_clock_was_set_forward(lake: Lake) -> None:
    """Its latest event looks a day old; it has the time to log another one."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    with run_in_status(lake, definitions, dg.DagsterRunStatus.STARTED) as run:
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
        yesterday = time.time() - 86_400
        lake.instance.report_dagster_event(event, run.run_id, timestamp=yesterday)
        assert f"a (run {run.run_id[:8]})" in reason(lake.tick(definitions=definitions))


@pytest.mark.thorough
def test_a_table_that_is_not_in_the_definitions_is_named(lake: Lake) -> None:
    """The skip reason says how to get an asset for it."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    lake.bucket.put("brand-new/1.parquet", 1)
    said = "not loaded: not in the definitions yet, reload the code location: brand_new; 1 of 1"
    for _ in range(2):
        assert reason(lake.tick(definitions=definitions)).startswith(said)
    reloaded = lake.definitions()
    assert asked(lake.tick(definitions=reloaded)) == [{"brand_new"}]
    assert lake.run(definitions=reloaded).success
    assert "not loaded" not in reason(lake.tick(definitions=reloaded))


@pytest.mark.thorough
def test_a_prefix_that_is_overwritten_is_loaded_without_a_reload(lake: Lake) -> None:
    """The code location starts between the deletion and the first new object."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.put("b/1.parquet", 1)
    assert lake.run().success
    lake.bucket.delete("b/1.parquet")
    definitions = lake.definitions()
    assert not lake.tick(definitions=definitions).run_requests
    assert lake.run(definitions=definitions).success
    lake.bucket.put("b/2.parquet", 5)
    tick = lake.tick(definitions=definitions)
    assert asked(tick) == [{"b"}]
    assert perform(lake, definitions, tick)
    assert lake.rows_by_key("b") == {"b/1.parquet": 1, "b/2.parquet": 5}


@pytest.mark.thorough
def test_a_deleted_object_asks_for_nothing_unless_mirrored(lake: Lake) -> None:
    """A run would have nothing to do."""
    for key in ("a/1.parquet", "a/2.parquet"):
        lake.bucket.put(key, 1)
    definitions, mirrored = lake.definitions(), lake.definitions(write_mode="mirror")
    lake.run(definitions=definitions)
    first = lake.tick(definitions=definitions)
    lake.bucket.delete("a/2.parquet")
    second = lake.tick(first.cursor, definitions=definitions)
    assert not second.run_requests
    assert "1 of 1 tables up to date" in reason(second)
    restarted = lake.tick(second.cursor, definitions=lake.definitions())
    assert not restarted.run_requests
    assert asked(lake.tick(first.cursor, definitions=mirrored)) == [{"a"}]


def test_a_deletion_does_not_hide_a_new_object(lake: Lake) -> None:
    """A new object is found even if another one is deleted in the same interval."""
    for key in ("a/1.parquet", "a/2.parquet"):
        lake.bucket.put(key, 1)
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    first = lake.tick(definitions=definitions)
    lake.bucket.delete("a/2.parquet")
    second = lake.tick(first.cursor, definitions=definitions)
    lake.bucket.put("a/3.parquet", 1)
    assert asked(lake.tick(second.cursor, definitions=definitions)) == [{"a"}]


def test_an_empty_listing_of_a_mirror_is_named_and_not_run(lake: Lake) -> None:
    """The sensor requests no run that could only fail."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions(write_mode="mirror")
    lake.run(definitions=definitions)
    lake.bucket.delete("a/1.parquet")
    tick = lake.tick(definitions=definitions)
    assert not tick.run_requests
    assert "nothing removed without allow_empty_listing: a" in reason(tick)


@pytest.mark.thorough
def test_a_partly_loaded_table_is_asked_for_again(lake: Lake) -> None:
    """`max_objects` leaves objects pending, for which a run is requested."""
    for number in range(3):
        lake.bucket.put(f"a/{number}.parquet", 1)
    definitions = lake.definitions()
    lake.run("a", definitions=definitions, config={"max_objects": 1})
    tick = lake.tick(definitions=definitions)
    assert asked(tick) == [{"a"}]
    assert perform(lake, definitions, tick)
    assert lake.rows("a") == 3


def test_a_quarantined_object_is_not_asked_for_again(lake: Lake) -> None:
    """The ledger accounts for quarantined objects."""
    lake.bucket.put("a/1.parquet", b"malformed")
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    assert not lake.tick(definitions=definitions).run_requests


def test_a_tick_makes_one_listing_and_never_opens_the_destination(lake: Lake) -> None:
    """A tick works even if the destination is no DuckDB file."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    lake.database.write_bytes(b"no DuckDB file")
    lake.bucket.proxy.forget()
    assert asked(lake.tick(definitions=definitions)) == [{"a"}]
    assert [request.is_listing for request in lake.bucket.proxy.requests] == [True]
