"""What a person sees of a table's partitions, and of a table that fails."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from playwright.sync_api import Page, expect
from tenacity import stop_after_delay

from demo.webserver import Webserver, dagster_dev
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import environment
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.ui.test_ui import page
from s3pq_dagster_tests.waiting import again_while

__all__ = ["page"]
pytestmark = [pytest.mark.ui, pytest.mark.nightly, pytest.mark.timeout(400)]
LAYOUT = {
    "rules": [
        {"match": "events/{hive}/*.parquet", "types": {"day": "date"}, "partitions": "daily(day)"}
    ]
}
TODAY = datetime.now(UTC).date()
DAYS = [str(TODAY - timedelta(days=ago)) for ago in (4, 3, 1)]

RUNS = {"SUCCESS", "FAILURE"}
"""One of the days, over the one that is missing, and one of the table that fails."""


@pytest.fixture
def webserver(bucket: Bucket, tmp_path: Path) -> Iterator[Webserver]:
    """Run `dagster dev` over a table of days, one of which is missing, and a table that fails."""
    for number, day in enumerate(DAYS, 1):
        bucket.put(f"events/day={day}/1.parquet", number)
    bucket.put("broken/1.parquet", b"not Parquet at all, and long enough for a footer")
    (tmp_path / "layout.yaml").write_text(yaml.safe_dump(LAYOUT), encoding="utf-8")
    environ = environment(bucket, tmp_path / "home", S3PQ_LAYOUT=str(tmp_path / "layout.yaml"))
    with dagster_dev(free_port(), environ, tmp_path / "dagster.log") as webserver:
        yield webserver


def test_the_bar_shows_which_days_are_whole_and_a_failing_table_says_why(
    webserver: Webserver, page: Page, bucket: Bucket
) -> None:
    """The day without objects is whole, as the run loaded it too; today is not.

    A failing table's page names the object, and why.
    """
    webserver.start_sensor()
    again_while(lambda found: len(found) < len(RUNS), stop_after_delay(240))(webserver.runs)
    ended = {webserver.finished(run["runId"]) for run in webserver.runs()}
    assert ended == RUNS

    page.goto(f"{webserver.url}/assets/{bucket.name}/events?view=partitions")
    for day in DAYS:
        expect(page.get_by_text(day, exact=True).first).to_be_visible()
    for count in ("Materialized (4)", "Missing (1)"):
        expect(page.get_by_text(count, exact=True).first).to_be_visible()
    page.get_by_text(DAYS[-1], exact=True).first.click()
    expect(page.get_by_text("dagster/partition_row_count", exact=True).first).to_be_visible()

    page.goto(f"{webserver.url}/assets/{bucket.name}/broken?view=events")
    expect(page.get_by_text("broken/1.parquet").first).to_be_visible()
