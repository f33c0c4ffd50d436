"""A table that fails: when the sensor asks for it again, and what it remembers meanwhile."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster.dagster.metadata import AT_FAULT, DATA_VERSION_TAG, ERROR
from s3pq_dagster_tests.lake import Lake, names
from s3pq_dagster_tests.proxy import Answer

DENIED = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
NUMBERS = pa.table({"id": [1]})
TEXTS = pa.table({"id": ["one"]})


def asked(tick: Any) -> list[set[str]]:
    """Return the tables of each requested run."""
    return [names(list(request.asset_selection or [])) for request in tick.run_requests or []]


def hours_later(tick: Any, hours: float = 1) -> str:
    """Return a tick's cursor as if it had been written some hours ago."""
    cursor = json.loads(str(tick.cursor))
    for table in cursor["tables"].values():
        table["at"] = table.get("at", 0) - hours * 3600
    return json.dumps(cursor)


def failed(lake: Lake, definitions: dg.Definitions, cursor: str | None = None) -> Any:
    """Run what a tick asks for, which fails; return the tick."""
    tick = lake.tick(cursor, definitions=definitions)
    assert asked(tick) == [{"a"}]
    assert not lake.run("a", definitions=definitions).success
    return tick


def newest(lake: Lake) -> dg.AssetObservation:
    """Return the newest observation of the table."""
    key = dg.AssetKey([lake.bucket.name, "a"])
    (record,) = lake.instance.fetch_observations(key, limit=1).records
    assert record.asset_observation is not None
    return record.asset_observation


@pytest.fixture
def _differing(lake: Lake) -> None:
    """Put two objects of one table whose schemas differ."""
    lake.bucket.put("a/1.parquet", NUMBERS)
    lake.bucket.put("a/2.parquet", TEXTS)


@pytest.mark.usefixtures("_differing")
def test_what_trying_again_cannot_mend_waits_for_another_listing(lake: Lake) -> None:
    """However many hours pass, no run is requested; a new object brings one."""
    definitions = lake.definitions()
    tick = failed(lake, definitions)
    for _ in range(3):
        tick = lake.tick(hours_later(tick), definitions=definitions)
        assert not tick.run_requests
        assert str(tick.skip_message).startswith(
            "failing until objects, definitions or configuration change: a (SchemaMismatchError); "
        )
        assert json.loads(tick.cursor)["tables"] == {}
    lake.bucket.put("a/2.parquet", NUMBERS)
    tick = lake.tick(tick.cursor, definitions=definitions)
    assert asked(tick) == [{"a"}]
    assert lake.run("a", definitions=definitions).success
    assert not lake.tick(tick.cursor, definitions=definitions).run_requests


@pytest.mark.thorough
@pytest.mark.usefixtures("_differing")
def test_another_configuration_brings_a_run(lake: Lake) -> None:
    """Reloaded with nothing changed, the sensor waits; with a column made text, it loads."""
    tick = failed(lake, lake.definitions())
    assert not lake.tick(hours_later(tick), definitions=lake.definitions()).run_requests
    changed = lake.definitions(schema_mode="rescue")
    assert asked(lake.tick(hours_later(tick), definitions=changed)) == [{"a"}]
    assert lake.run("a", definitions=changed).success


@pytest.mark.thorough
@pytest.mark.usefixtures("_differing")
def test_the_failure_in_another_destination_does_not_count(lake: Lake, tmp_path: Path) -> None:
    """Two destinations, one instance: each fails for itself."""
    tick = failed(lake, lake.definitions())
    moved = replace(lake, database=tmp_path / "other.duckdb")
    assert asked(moved.tick(hours_later(tick))) == [{"a"}]


@pytest.mark.thorough
@pytest.mark.usefixtures("_differing")
def test_the_failure_of_a_run_with_other_options_does_not_count(lake: Lake) -> None:
    """A run that a person started with its own options says nothing of one without."""
    definitions = lake.definitions()
    assert not lake.run("a", definitions=definitions, config={"full_refresh": True}).success
    assert asked(lake.tick(definitions=definitions)) == [{"a"}]


@pytest.mark.thorough
def test_what_trying_again_may_mend_is_asked_for_again(lake: Lake) -> None:
    """A permission may come back without anything being listed or defined anew."""
    lake.bucket.put("a/1.parquet", NUMBERS)
    lake.bucket.proxy.before = lambda request: DENIED if request.is_object else None
    definitions = lake.definitions()
    tick = failed(lake, definitions)
    assert "backing off: a" in str(lake.tick(tick.cursor, definitions=definitions).skip_message)
    failed(lake, definitions, hours_later(tick))


@pytest.mark.thorough
def test_a_later_failure_that_may_be_mended_is_asked_for_again(lake: Lake) -> None:
    """The newest failure counts, not the gravest."""
    lake.bucket.put("a/1.parquet", NUMBERS)
    lake.bucket.put("a/2.parquet", TEXTS)
    definitions = lake.definitions()
    tick = failed(lake, definitions)
    lake.bucket.proxy.before = lambda request: DENIED if request.is_object else None
    assert not lake.run("a", definitions=definitions).success
    assert asked(lake.tick(hours_later(tick), definitions=definitions)) == [{"a"}]


@pytest.mark.thorough
def test_a_table_of_another_format_waits_until_it_is_none(lake: Lake) -> None:
    """New files of a Delta table bring no run; without its log they are only files."""
    lake.bucket.put("a/1.parquet", NUMBERS)
    lake.bucket.put("a/_delta_log/0.json", b"{}")
    definitions = lake.definitions()
    tick = failed(lake, definitions)
    lake.bucket.put("a/2.parquet", NUMBERS)
    tick = lake.tick(hours_later(tick), definitions=definitions)
    assert not tick.run_requests
    lake.bucket.delete("a/_delta_log/0.json")
    assert asked(lake.tick(tick.cursor, definitions=definitions)) == [{"a"}]


@pytest.mark.thorough
def test_a_failure_does_not_make_the_sensor_forget(lake: Lake) -> None:
    """What was observed before counts on: once the object is gone, nothing is to be done."""
    lake.bucket.put("a/1.parquet", NUMBERS)
    definitions = lake.definitions()
    assert lake.run("a", definitions=definitions).success
    assert lake.run("a", definitions=definitions).success  # observes
    lake.bucket.put("a/2.parquet", TEXTS)
    assert not lake.run("a", definitions=definitions).success
    assert DATA_VERSION_TAG not in (newest(lake).tags or {})
    lake.bucket.delete("a/2.parquet")
    tick = lake.tick(definitions=definitions)
    assert not tick.run_requests
    assert "1 of 1 tables up to date" in str(tick.skip_message)


@pytest.mark.thorough
@pytest.mark.parametrize("others", [1, 12])
def test_observations_of_others_do_not_make_the_sensor_forget(lake: Lake, others: int) -> None:
    """Somebody logs what they found of the table, without a data version."""
    for name in ("a/1.parquet", "a/2.parquet"):
        lake.bucket.put(name, NUMBERS)
    definitions = lake.definitions()
    assert lake.run("a", definitions=definitions).success
    lake.bucket.delete("a/2.parquet")
    assert lake.run("a", definitions=definitions).success  # observes
    key = dg.AssetKey([lake.bucket.name, "a"])
    for _ in range(others):
        lake.instance.report_runless_asset_event(dg.AssetObservation(key, metadata={"seen": 1}))
    tick = lake.tick(definitions=definitions)
    assert not tick.run_requests
    shown = f"s3/{lake.bucket.name}/a/last_modified_cursor"
    assert shown in json.loads(str(tick.cursor))


@pytest.mark.usefixtures("_differing")
def test_a_failing_tables_page_says_why_and_names_the_objects(lake: Lake) -> None:
    """An observation comes before the failure; it has the error, and the objects it is about."""
    result = lake.run("a")
    told = newest(lake)
    assert str(told.description).startswith("The run failed: SchemaMismatchError: schemas differ")
    assert told.metadata[ERROR].value == "SchemaMismatchError"
    at_fault = told.metadata[AT_FAULT]
    assert isinstance(at_fault, dg.TableMetadataValue)
    assert [record.data for record in at_fault.records] == [
        {"key": "a/2.parquet", "what": "1 object: column 'id': expected int64, found string"},
        {"key": "a/1.parquet", "what": "has the columns of the table"},
    ]
    kinds = [
        entry.dagster_event.event_type
        for entry in lake.instance.all_logs(result.run_id)
        if entry.dagster_event is not None
    ]
    failure = kinds.index(dg.DagsterEventType.STEP_FAILURE)
    assert dg.DagsterEventType.ASSET_OBSERVATION in kinds[:failure]


def failures(lake: Lake) -> list[str]:
    """Return the observed errors of the table, the newest first."""
    key = dg.AssetKey([lake.bucket.name, "a"])
    found = lake.instance.fetch_observations(key, limit=10).records
    events = [record.asset_observation for record in found]
    return [str(event.metadata[ERROR].value) for event in events if event is not None]


def test_a_step_that_is_tried_again_observes_its_last_failure_only(lake: Lake) -> None:
    """What a retry mends is nothing to tell."""
    lake.bucket.put("a/1.parquet", NUMBERS)
    lake.database.mkdir()
    lake.options = {"retry_policy": dg.RetryPolicy(max_retries=1)}
    result = lake.run("a")
    assert result.filter_events(lambda event: event.is_step_up_for_retry)
    assert failures(lake) == ["DestinationError"]


@pytest.mark.thorough
def test_a_shard_that_fails_observes_the_table(lake: Lake) -> None:
    """The page is the table's, whichever of its steps fails."""
    for number in range(2):
        lake.bucket.put(f"a/{number}.parquet", NUMBERS)
    lake.run("a", config={"max_objects": 1})
    lake.options = {"shards": {"a": 2}}
    lake.bucket.proxy.before = lambda request: DENIED if request.is_object else None
    assert not lake.run("a").success
    assert "AccessDeniedError" in failures(lake)
