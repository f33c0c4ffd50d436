"""What a person sees of tables, rows and metadata in Dagster's UI."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Page, expect
from tenacity import stop_after_delay

from demo.browser import page as open_page
from demo.webserver import Webserver, dagster_dev
from s3pq_dagster.dagster.lag import Lag
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.waiting import again_while

pytestmark = [pytest.mark.ui, pytest.mark.timeout(500)]
_SECONDS = 1000
"""Playwright counts in milliseconds."""


@pytest.fixture
def webserver(weed_bucket: Bucket, tmp_path: Path, database: Path) -> Iterator[Webserver]:
    """Run `dagster dev` over a bucket of three tables."""
    weed_bucket.put("airlines.parquet", 16)
    weed_bucket.put("flights/2013/01/01.parquet", 842)
    weed_bucket.put("flights/2013/01/02.parquet", 943)
    weed_bucket.put("weather/2013.parquet", 5)
    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    environment = os.environ | {
        "S3PQ_BUCKET": weed_bucket.name,
        "S3PQ_REGION": "us-east-1",
        "S3PQ_ENDPOINT_URL": weed_bucket.proxy.endpoint,
        "S3PQ_DESTINATION": f"duckdb:///{database}",
        "DAGSTER_HOME": str(home),
    }
    with dagster_dev(free_port(), environment, tmp_path / "dagster.log") as webserver:
        yield webserver


@pytest.fixture
def page() -> Iterator[Page]:
    """Open a browser; a missing one fails the test."""
    with open_page() as page:
        page.set_default_timeout(60 * _SECONDS)
        expect.set_options(timeout=60 * _SECONDS)
        yield page


@pytest.mark.thorough
def test_tables_rows_kinds_and_plots_are_in_the_ui(
    webserver: Webserver, page: Page, weed_bucket: Bucket, tmp_path: Path
) -> None:
    """The graph has each table and its kinds; a table's page has rows, columns, plots and checks.

    What the sensor logs of how far a table is behind is plotted too, and a malformed object is
    named with its reason. One story, because `dagster dev` takes long to start.
    """
    bucket = weed_bucket.name
    assert webserver.finished(webserver.materialize(webserver.assets())) == "SUCCESS"
    weed_bucket.put("flights/2013/01/03.parquet", 914)
    weed_bucket.put("weather/2014.parquet", b"not Parquet at all, and long enough for a footer")
    webserver.start_sensor()
    again_while(lambda found: len(found) < 2, stop_after_delay(240))(webserver.runs)
    assert webserver.finished(webserver.runs()[0]["runId"]) == "SUCCESS"

    for lag in (Lag(objects=2, bytes=4096, seconds=90), Lag()):
        observation = lag.observation(dg.AssetKey([bucket, "flights_2013_01"]))
        with dg.DagsterInstance.from_config(str(tmp_path / "dagster_home")) as instance:
            instance.report_runless_asset_event(observation)

    group = bucket.replace("-", "_")
    page.goto(f"{webserver.url}/locations/s3pq_dagster.definitions/asset-groups/{group}")
    for text in ("airlines", "flights_2013_01", "weather"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    for kind in ("S3", "Parquet", "DuckDB"):
        expect(page.get_by_text(kind, exact=True)).to_have_count(3)
    expect(page.get_by_text("Materialized", exact=True)).to_have_count(3)

    page.goto(f"{webserver.url}/assets/{bucket}/flights_2013_01")
    for text in (
        "2,699",  # rows: 842 + 943 + 914
        "main.flights_2013_01",
        f"s3://{bucket}/flights/2013/01/",
        "_s3_key",
        "s3_parquet_sensor",
        "s3pq/rows_per_second",
        f"s3/{bucket}/flights_2013_01/last_modified_cursor",
    ):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    for key, value in (("s3pq/rows", "914"), ("s3pq/objects_loaded", "3")):
        row = page.get_by_role("row").filter(has=page.get_by_text(key, exact=True))
        expect(row.get_by_text(value, exact=True)).to_be_visible()

    page.get_by_text("Plots", exact=True).click()
    counted = ("dagster/row_count", "s3pq/rows", "s3pq/objects", "s3pq/seconds")
    for key in (*counted, "s3pq/objects_pending", "s3pq/bytes_pending", "s3pq/seconds_pending"):
        expect(page.get_by_text(key, exact=True)).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()

    page.goto(f"{webserver.url}/assets/{bucket}/weather?view=checks")
    for name in ("complete", "rows_reconciled", "no_quarantine"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    page.get_by_text("no_quarantine", exact=True).first.click()
    expect(page.get_by_text("s3pq/objects_quarantined", exact=True).first).to_be_visible()
    expect(page.get_by_text("weather/2014.parquet", exact=True).first).to_be_visible()
