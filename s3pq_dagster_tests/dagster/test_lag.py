"""How far tables are behind, as the sensor logs it on a real instance."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster.dagster.lag import Lag
from s3pq_dagster.dagster.metadata import DATA_VERSION_TAG
from s3pq_dagster_tests.lake import Lake, values

PENDING = ("s3pq/objects_pending", "s3pq/bytes_pending", "s3pq/seconds_pending")


def logged(lake: Lake, tick: Any) -> list[dict[str, Any]]:
    """Log a tick's events, as the daemon does; return their metadata."""
    for event in tick.asset_events:
        lake.instance.report_runless_asset_event(event)
        assert DATA_VERSION_TAG not in (event.tags or {})
    return [values(event) for event in tick.asset_events]


def test_a_table_is_behind_until_its_run_has_ended(lake: Lake) -> None:
    """Numbers when it begins, zeros when it ends, nothing meanwhile and afterwards."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.set_last_modified("a/1.parquet", datetime(2024, 5, 6, tzinfo=UTC))
    lake.bucket.put("a/2.parquet", 1)
    definitions = lake.definitions()
    tick = lake.tick(definitions=definitions)
    (numbers,) = logged(lake, tick)
    assert tuple(numbers) == PENDING
    assert numbers["s3pq/objects_pending"] == 2
    assert numbers["s3pq/bytes_pending"] > 0
    age = datetime.now(UTC) - datetime(2024, 5, 6, tzinfo=UTC)
    assert 0 <= age.total_seconds() - numbers["s3pq/seconds_pending"] < 60
    assert logged(lake, lake.tick(tick.cursor, definitions=definitions)) == []
    assert lake.run(definitions=definitions).success
    tick = lake.tick(tick.cursor, definitions=definitions)
    assert not tick.run_requests
    assert logged(lake, tick) == [dict.fromkeys(PENDING, 0)]
    assert logged(lake, lake.tick(tick.cursor, definitions=definitions)) == []


@pytest.mark.thorough
def test_a_sensor_that_was_restarted_goes_on(lake: Lake) -> None:
    """The event log remembers: zeros follow the numbers of another process, and no zeros those."""
    lake.bucket.put("a/1.parquet", 1)
    assert len(logged(lake, lake.tick())) == 1
    assert logged(lake, lake.tick()) == []
    assert lake.run().success
    assert len(logged(lake, lake.tick())) == 1
    assert logged(lake, lake.tick()) == []
    lake.bucket.put("a/2.parquet", 1)
    lake.bucket.set_last_modified("a/2.parquet", datetime(2124, 5, 6, tzinfo=UTC))
    (numbers,) = logged(lake, lake.tick())
    assert numbers["s3pq/objects_pending"] == 1


def log_many(lake: Lake, count: int) -> None:
    """Log as many numbers of the table ``a``, as if it were behind for long."""
    for _ in range(count):
        event = Lag(1, 1, 1).observation(dg.AssetKey([lake.bucket.name, "a"]))
        lake.instance.report_runless_asset_event(event)


@pytest.mark.thorough
def test_the_numbers_hide_nothing_that_was_observed_before(lake: Lake) -> None:
    """A data version, and a failure that trying again cannot mend, are found behind them."""
    lake.bucket.put("a/1.parquet", pa.table({"id": [1]}))
    definitions = lake.definitions()
    assert lake.run(definitions=definitions).success
    lake.bucket.put("a/2.parquet", pa.table({"id": ["one"]}))
    assert not lake.run(definitions=definitions).success
    log_many(lake, 15)
    tick = lake.tick(definitions=definitions)
    assert not tick.run_requests
    assert "failing until objects" in str(tick.skip_message)
    for _ in range(2):  # more than are looked through at once
        log_many(lake, 50)
        assert not lake.tick(definitions=definitions).run_requests
    lake.bucket.delete("a/2.parquet")
    tick = lake.tick(definitions=definitions)
    assert "1 of 1 tables up to date" in str(tick.skip_message)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of Dagster about itself
def test_nothing_downstream_is_brought_up_to_date_by_the_numbers(lake: Lake) -> None:
    """An `eager()` asset waits for a load, and the numbers are none."""
    lake.bucket.put("a/1.parquet", 1)
    table = dg.AssetKey([lake.bucket.name, "a"])

    @dg.asset(deps=[table], automation_condition=dg.AutomationCondition.eager())
    def report() -> None:
        """Count something."""

    definitions = lake.definitions()
    both = dg.Definitions.merge(definitions, dg.Definitions([report]))
    assert lake.run(definitions=definitions).success
    dg.materialize([report], instance=lake.instance)
    first = dg.evaluate_automation_conditions(both, instance=lake.instance)
    log_many(lake, 1)
    after = dg.evaluate_automation_conditions(both, instance=lake.instance, cursor=first.cursor)
    assert after.total_requested == 0
    lake.bucket.put("a/2.parquet", 1)
    assert lake.run(definitions=definitions).success
    last = dg.evaluate_automation_conditions(both, instance=lake.instance, cursor=after.cursor)
    assert last.get_num_requested(report.key) == 1
