"""What a person sees of 200 tables: groups, where they come from, the sensor's target."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from demo.webserver import Webserver, dagster_dev
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import environment
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.ui.test_ui import page

__all__ = ["page"]
pytestmark = [pytest.mark.ui, pytest.mark.nightly, pytest.mark.timeout(400)]
LOCATION = "s3pq_dagster_tests.ui.location"
AREAS = ("crm", "finance", "hr", "iot", "sales")


@pytest.fixture
def webserver(bucket: Bucket, tmp_path: Path) -> Iterator[Webserver]:
    """Run `dagster dev` over a bucket of 200 tables in five folders."""
    for number in range(200):
        bucket.put(f"{AREAS[number % 5]}/t{number:03}/1.parquet", 1)
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - python_module: {LOCATION}\n")
    environ = environment(bucket, tmp_path / "home")
    log = tmp_path / "dagster.log"
    with dagster_dev(free_port(), environ, log, workspace=workspace) as webserver:
        yield webserver


def test_two_hundred_tables_are_five_groups(
    webserver: Webserver, page: Page, bucket: Bucket
) -> None:
    """The graph has a node a group; a group has its tables, and what they are loaded from."""
    page.goto(f"{webserver.url}/asset-groups")
    for area in AREAS:
        expect(page.get_by_text(area, exact=True).first).to_be_visible()
    expect(page.get_by_text("80 assets").first).to_be_visible()

    page.goto(f"{webserver.url}/locations/{LOCATION}/asset-groups/sales")
    expect(page.get_by_text("Materialize all (40)")).to_be_visible()

    page.goto(f"{webserver.url}/assets/{bucket.name}/sales_t004?view=lineage")
    for kind, nodes in (("S3", 2), ("Parquet", 2), ("DuckDB", 1)):
        expect(page.get_by_text(kind, exact=True)).to_have_count(nodes)

    page.goto(f"{webserver.url}/assets/s3/{bucket.name}/sales_t004")
    expect(page.get_by_text("External Asset", exact=True).first).to_be_visible()
    place = page.get_by_text(f"s3://{bucket.name}/sales/t004/", exact=True)
    expect(place.first).to_be_visible()

    page.goto(f"{webserver.url}/locations/{LOCATION}/sensors/s3_parquet_sensor")
    target = page.get_by_text(f'tag:"s3pq/source"="{bucket.name}"')
    expect(target.first).to_be_visible()
