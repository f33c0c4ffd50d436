"""A table that several steps load holds what one step would load."""

import re
from collections import Counter

import dagster as dg
import polars as pl
import pytest
from dagster_aws.s3 import S3PickleIOManager, S3Resource

from s3pq_dagster import (
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    build_s3_parquet_assets,
    merge_s3_parquet_definitions,
)
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.lake import Lake, checked, materialized, observed, values
from s3pq_dagster_tests.proxy import Answer

EVENTS = {f"events/{number}.parquet": number + 1 for number in range(12)}


@pytest.fixture
def sharded(lake: Lake) -> Lake:
    """A lake whose table ``events`` is loaded in four shards, beside one that is not sharded."""
    for key, rows in EVENTS.items():
        lake.bucket.put(key, rows)
    lake.bucket.put("orders/1.parquet", 5)
    lake.options["shards"] = {"events": 4}
    return lake


def steps(result: dg.ExecuteInProcessResult) -> set[str]:
    """Name the steps of ``events`` that a run took."""
    events = [event for event in result.all_events if event.is_step_start]
    found = {str(event.step_key).removeprefix("load_events.") for event in events}
    return found - {"load_orders"}


def reads(lake: Lake) -> Counter[str]:
    """Count the requests for each object's bytes."""
    found = [request for request in lake.bucket.proxy.requests if request.is_object]
    return Counter(str(request.key) for request in found if request.method == "GET")


def failures(result: dg.ExecuteInProcessResult) -> str:
    """Return the messages of failed steps, by step."""
    found = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    return "\n".join(f"{error} {error.cause if error else None}" for error in found)


SHARDS = {"shard_events[1]", "shard_events[2]", "shard_events[3]", "shard_events[4]"}


def test_each_shard_loads_its_part(sharded: Lake) -> None:
    """Each row is loaded once, each object requested once, and one materialization has all."""
    definitions = sharded.definitions()
    sharded.bucket.proxy.forget()
    result = sharded.run(definitions=definitions)
    assert result.success
    assert steps(result) == {"split_events", "rest_of_events", *SHARDS}
    assert sharded.rows_by_key("events") == EVENTS
    assert sharded.rows_by_key("orders") == {"orders/1.parquet": 5}
    assert reads(sharded) == Counter([*EVENTS, "orders/1.parquet"])
    said = values(materialized(result)["events"])
    assert (said["s3pq/rows"], said["s3pq/objects"]) == (sum(EVENTS.values()), len(EVENTS))
    assert said["dagster/row_count"] == said["s3pq/rows"]
    assert said["s3pq/bytes"] == sum(entry["size"] for entry in sharded.ledger("events"))
    checks = result.get_asset_check_evaluations()
    assert len(checks) == 6
    assert all(check.passed for check in checks)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated")  # Dagster's own
def test_steps_and_other_assets_share_an_io_manager_in_s3(sharded: Lake) -> None:
    """What goes from step to step is in S3, and so is what others keep there, beside the tables."""
    scratch = Bucket(f"{sharded.bucket.name}-scratch", sharded.bucket.client, sharded.bucket.proxy)
    scratch.client.create_bucket(Bucket=scratch.name)

    @dg.asset(ins={"events": dg.AssetIn(key=[sharded.bucket.name, "events"])})
    def rows(events: pl.DataFrame) -> int:
        return events.height

    @dg.asset
    def twice(rows: int) -> int:
        return 2 * rows

    theirs = S3PickleIOManager(
        s3_resource=S3Resource(region_name="us-east-1", endpoint_url=sharded.bucket.proxy.endpoint),
        s3_bucket=scratch.name,
    )
    own = dg.Definitions(assets=[rows, twice], resources={"io_manager": theirs})
    definitions = merge_s3_parquet_definitions(sharded.definitions(), own)
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=sharded.instance)
    assert result.success
    assert result.output_for_node("twice") == 2 * sum(EVENTS.values())
    assert sharded.rows_by_key("events") == EVENTS
    listed = scratch.client.list_objects_v2(Bucket=scratch.name)["Contents"]
    keys = [found["Key"] for found in listed]
    assert {"dagster/rows", "dagster/twice"} < set(keys)
    shards = [key for key in keys if "shard_events--" in key]
    assert len(shards) == len(SHARDS)


@pytest.mark.thorough
def test_nothing_new_takes_no_shard(sharded: Lake) -> None:
    """The run records an observation, and requests no object."""
    definitions = sharded.definitions()
    sharded.run(definitions=definitions)
    sharded.bucket.proxy.forget()
    result = sharded.run("events", definitions=definitions)
    assert result.success
    assert steps(result) == {"split_events", "rest_of_events"}
    assert observed(result).keys() == {"events"}
    assert not materialized(result)
    assert checked(result)["complete"].passed
    assert not reads(sharded)


@pytest.mark.thorough
def test_checks_alone_load_nothing(sharded: Lake) -> None:
    """The last step evaluates them."""
    definitions = sharded.definitions()
    sharded.run(definitions=definitions)
    sharded.bucket.put("events/new.parquet", 3)
    sharded.bucket.proxy.forget()
    result = sharded.check("events", "complete", definitions=definitions)
    assert result.success
    assert checked(result).keys() == {"complete"}
    assert not checked(result)["complete"].passed
    assert not reads(sharded)


@pytest.mark.thorough
def test_tables_may_be_named_as_steps_are(sharded: Lake) -> None:
    """All ops of a code location have different names."""
    for name in ("split_events", "shard_events", "rest_of_events", "load_events"):
        sharded.bucket.put(f"{name}/1.parquet", 1)
    sharded.options["shards"] = {"events": 2, "split_events": 2, "shard_events": 2}
    assert sharded.run().success
    assert sharded.rows_by_key("events") == EVENTS


@pytest.mark.thorough
def test_only_what_is_new_is_shared_out(sharded: Lake) -> None:
    """The report counts what this run loaded."""
    sharded.run()
    sharded.bucket.put("events/new.parquet", 3)
    sharded.bucket.put("events/0.parquet", 7)
    result = sharded.run()
    assert steps(result) == {"split_events", "rest_of_events", "shard_events[1]", "shard_events[2]"}
    said = values(materialized(result)["events"])
    assert (said["s3pq/rows"], said["s3pq/objects"]) == (10, 2)
    assert sharded.rows_by_key("events") == EVENTS | {
        "events/new.parquet": 3,
        "events/0.parquet": 7,
    }


@pytest.mark.thorough
def test_what_is_gone_is_removed_at_the_end(sharded: Lake) -> None:
    """In ``mirror`` the last step, which sees the whole table, removes rows."""
    sharded.spec["write_mode"] = "mirror"
    sharded.run()
    sharded.bucket.delete("events/3.parquet")
    sharded.bucket.put("events/new.parquet", 3)
    result = sharded.run()
    assert result.success
    left = {key: rows for key, rows in EVENTS.items() if key != "events/3.parquet"}
    assert sharded.rows_by_key("events") == left | {"events/new.parquet": 3}
    assert all(check.passed for check in result.get_asset_check_evaluations())


@pytest.mark.thorough
@pytest.mark.parametrize("config", [{"full_refresh": True}, {"max_objects": 5}])
def test_what_is_one_transaction_is_one_step(sharded: Lake, config: dict[str, object]) -> None:
    """One step does a full refresh, or a load with ``max_objects``."""
    if "full_refresh" in config:
        sharded.run()
    definitions = sharded.definitions()
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=sharded.instance,
        asset_selection=[dg.AssetKey([sharded.bucket.name, "events"])],
        run_config={"ops": {"load_events": {"config": config}}},
    )
    assert steps(result) == {"split_events", "rest_of_events"}
    loaded = sharded.rows_by_key("events")
    assert loaded == {key: EVENTS[key] for key in loaded}
    assert len(loaded) == config.get("max_objects", len(EVENTS))


@pytest.mark.thorough
def test_a_shard_that_fails_leaves_the_others(sharded: Lake) -> None:
    """The run fails with the reason; the next one reads only what is missing."""
    sharded.spec["checkpoint_bytes"] = 1
    definitions = sharded.definitions()
    denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    sharded.bucket.proxy.before = lambda r: (
        denied if r.key == "events/5.parquet" and r.is_object else None
    )
    result = sharded.run("events", definitions=definitions)
    assert not result.success
    assert "s3:GetObject" in failures(result)
    before = sharded.rows_by_key("events")
    assert "events/5.parquet" not in before
    assert len(before) >= 9
    sharded.bucket.proxy.before = lambda _request: None
    sharded.bucket.proxy.forget()
    assert sharded.run("events", definitions=definitions).success
    assert sharded.rows_by_key("events") == EVENTS
    assert set(reads(sharded)) == set(EVENTS) - set(before)


@pytest.mark.thorough
def test_schemas_that_differ_are_named_across_shards(sharded: Lake) -> None:
    """Schemas are compared with the table's, since no shard knows the others' objects."""
    different = {f"events/{number}.parquet" for number in (7, 8, 9)}
    for key in different:  # all that the last shard gets
        sharded.bucket.put(key, numbers(2).rename_columns(["other", "text"]))
    result = sharded.run("events")
    assert not result.success
    said = r"schemas differ in table 'events': 'events/[789]\.parquet' does not match 'events/\d+\."
    assert re.search(said, failures(result))
    assert sharded.rows_by_key("events").keys() == EVENTS.keys() - different


@pytest.mark.thorough
def test_malformed_objects_of_all_shards_are_reported(sharded: Lake) -> None:
    """Each malformed object is quarantined once, by its shard."""
    sharded.bucket.put("events/2.parquet", b"PAR1 no PAR1")
    sharded.bucket.put("events/7.parquet", b"PAR1 nor this PAR1")
    definitions = sharded.definitions()
    result = sharded.run("events", definitions=definitions)
    assert result.success
    said = values(materialized(result)["events"])
    assert said["s3pq/objects_quarantined"] == 2
    assert not checked(result)["no_quarantine"].passed
    sharded.bucket.proxy.forget()
    again = {"load_events": {"config": {"retry_quarantined": True}}}
    job = definitions.resolve_implicit_global_asset_job_def()
    key = dg.AssetKey([sharded.bucket.name, "events"])
    job.execute_in_process(
        instance=sharded.instance, asset_selection=[key], run_config={"ops": again}
    )
    assert set(reads(sharded)) == {"events/2.parquet", "events/7.parquet"}


@pytest.mark.thorough
def test_a_run_that_only_quarantines_is_materialized(sharded: Lake) -> None:
    """A run that only quarantines, or replaces equal numbers of rows, is materialized."""
    definitions = sharded.definitions()
    sharded.run(definitions=definitions)
    sharded.bucket.put("events/new.parquet", b"PAR1 no PAR1")
    told = values(materialized(sharded.run("events", definitions=definitions))["events"])
    assert (told["s3pq/objects"], told["s3pq/objects_quarantined"]) == (0, 1)
    sharded.bucket.put("events/2.parquet", numbers(EVENTS["events/2.parquet"], start=100))
    again = materialized(sharded.run("events", definitions=definitions))["events"]
    assert values(again)["s3pq/objects"] == 1


@pytest.mark.thorough
def test_the_sensor_asks_for_a_sharded_table(sharded: Lake) -> None:
    """The sensor requests one run, and none once the table is loaded."""
    definitions = sharded.definitions()
    first = sharded.tick(definitions=definitions)
    (request,) = first.run_requests
    assert {key.path[-1] for key in request.asset_selection} == {"events", "orders"}
    assert sharded.run("events", "orders", definitions=definitions, tags=request.tags).success
    assert not sharded.tick(first.cursor, definitions=definitions).run_requests


@pytest.mark.thorough
def test_shards_go_with_one_op_for_all_others(sharded: Lake) -> None:
    """With ``granularity="all"`` one op loads the tables that are not sharded."""
    sharded.bucket.put("users/1.parquet", 2)
    sharded.options["granularity"] = "all"
    sharded.options["checks"] = False
    result = sharded.run()
    assert result.success
    assert sharded.rows_by_key("events") == EVENTS
    assert sharded.rows("users") == 2


@pytest.mark.thorough
def test_the_one_op_may_be_named_as_a_sharded_table(sharded: Lake) -> None:
    """The one op is named after the bucket, which may have a table's name."""
    name = sharded.bucket.name.replace("-", "_")
    sharded.bucket.put(f"{name}/1.parquet", 3)
    sharded.options |= {"granularity": "all", "shards": {name: 2}}
    assert sharded.run().success
    assert sharded.rows(name) == 3


def test_dagsters_own_io_manager_is_left_to_the_steps(sharded: Lake) -> None:
    """Dagster's IO manager carries ranges and reports, which no destination takes."""
    source = S3ParquetResource(**sharded.bucket.spec)
    destination = S3ParquetDuckDBIOManager(database=str(sharded.database))
    with pytest.raises(ConfigurationError, match="under another io_manager_key"):
        build_s3_parquet_assets(
            source,
            destination=destination,
            shards={"events": 2},
            io_manager_key="io_manager",
        )


@pytest.mark.thorough
def test_each_step_has_the_pool_and_the_retries(sharded: Lake) -> None:
    """Each step has the same pool and retries as the op of a whole table."""
    again = dg.RetryPolicy(max_retries=7)
    sharded.options |= {"pool": "lake", "retry_policy": again}
    job = sharded.definitions().resolve_implicit_global_asset_job_def()
    ops = [op for op in job.all_node_defs if isinstance(op, dg.OpDefinition)]
    steps = {"split_events", "shard_events", "rest_of_events", "load_orders"}
    assert {op.name: (op.pool, op.retry_policy) for op in ops} == dict.fromkeys(
        steps, ("lake", again)
    )


@pytest.mark.thorough
def test_a_table_that_is_not_there_has_no_shards(lake: Lake) -> None:
    """A name without a table is ignored, since the table may come later."""
    lake.bucket.put("orders/1.parquet", 5)
    lake.options["shards"] = {"events": 4, "orders": 1}
    assert lake.run().success


def test_less_than_one_shard_is_refused(lake: Lake) -> None:
    """The error says which numbers are allowed."""
    lake.bucket.put("events/1.parquet", 1)
    lake.options["shards"] = {"events": 0}
    with pytest.raises(ConfigurationError, match=r"'events' cannot have 0 shards.*1 or more"):
        lake.definitions()
