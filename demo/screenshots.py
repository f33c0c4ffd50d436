"""The documentation's pictures, taken of the running UI: `python -m demo.screenshots`."""

import json
import tempfile
from itertools import accumulate, pairwise
from pathlib import Path

from playwright.sync_api import Page

from demo import data
from demo.browser import page
from demo.lake import BUCKET, Lake, put
from demo.webserver import PROJECT, Webserver, dagster_dev
from s3pq_dagster_tests.servers import admin_client, free_port

_IMAGES = PROJECT / "docs" / "images"
_TABLE = "flights"
_ARRIVALS = (2, 1, 4, 2, 5, 1, 3, 2, 4, 3, 1, 3)
"""How many of the month's 31 objects are added before each run."""
_MALFORMED = "flights/month=03/day=32/flights.parquet"
_ZOOM_STEPS = 6
"""How many clicks bring all seven tables into view."""
_DRAGGED_TO = (340, 520)
_SETTINGS = {
    "asset-node-facets": json.dumps(["latest-event", "status", "kind-tag"]),
    "dagster-nav-collapsed": "true",
}


def main() -> None:
    """Load a month in several runs, a malformed object in the last; then take the pictures."""
    with tempfile.TemporaryDirectory() as directory:
        lake = Lake(Path(directory))
        with lake.opened(fresh=True) as endpoint:
            objects = dict(data.objects())
            month = [key for key in objects if key.startswith("flights/month=03/")]
            client = admin_client(endpoint)
            client.create_bucket(Bucket=BUCKET)
            for key in [*(objects.keys() - set(month)), *month[: _ARRIVALS[0]]]:
                put(client, key, objects[key])
            with dagster_dev(free_port(), lake.environment(endpoint), lake.log) as webserver:
                webserver.finished(webserver.materialize(webserver.assets()))
                for start, end in pairwise(accumulate(_ARRIVALS)):
                    for key in month[start:end]:
                        put(client, key, objects[key])
                    webserver.finished(webserver.materialize([[BUCKET, _TABLE]]))
                client.put_object(Bucket=BUCKET, Key=_MALFORMED, Body=b"PAR1, then the writer died")
                webserver.finished(webserver.materialize([[BUCKET, _TABLE]]))
                _take(webserver)


def _take(webserver: Webserver) -> None:
    _IMAGES.mkdir(parents=True, exist_ok=True)
    script = "".join(f"localStorage.setItem({k!r}, {v!r});" for k, v in _SETTINGS.items())
    with page(width=960, height=930, scale=1.46) as shown:
        shown.add_init_script(script)
        _show_graph(shown, webserver.url)
        shown.screenshot(path=_IMAGES / "asset-graph.png")
    with page(width=1120, height=1020, scale=1.25) as shown:
        shown.add_init_script(script)
        _show_plots(shown, webserver.url)
        shown.screenshot(path=_IMAGES / "table-plots.png")
    with page(width=1120, height=620, scale=1.25) as shown:
        shown.add_init_script(script)
        _show_checks(shown, webserver.url)
        shown.screenshot(path=_IMAGES / "table-checks.png")


def _show_graph(shown: Page, url: str) -> None:
    shown.goto(f"{url}/locations/s3pq_dagster.definitions/asset-groups/{BUCKET}")
    shown.get_by_text(_TABLE).first.wait_for()
    shown.get_by_label("panel_show_left", exact=True).last.click()
    for _ in range(_ZOOM_STEPS):
        shown.get_by_label("zoom_out", exact=True).click()
    shown.mouse.move(450, 500)  # drag the column of tables to the middle
    shown.mouse.down()
    shown.mouse.move(*_DRAGGED_TO, steps=10)
    shown.mouse.up()
    shown.mouse.move(560, 5)
    shown.wait_for_timeout(2000)  # the zoom's animation


def _show_plots(shown: Page, url: str) -> None:
    shown.goto(f"{url}/assets/{BUCKET}/{_TABLE}")
    for section in ("Description", "Columns"):
        shown.get_by_text(section, exact=True).first.click()
    shown.get_by_text("Plots", exact=True).click()
    shown.get_by_text("s3pq/objects_loaded").wait_for()
    shown.mouse.move(560, 5)
    shown.wait_for_timeout(2000)  # the plots' animation


def _show_checks(shown: Page, url: str) -> None:
    shown.goto(f"{url}/assets/{BUCKET}/{_TABLE}?view=checks")
    shown.get_by_text("no_quarantine", exact=True).first.click()
    shown.get_by_text(_MALFORMED, exact=True).first.wait_for()
    shown.mouse.move(560, 5)
    shown.wait_for_timeout(2000)  # the plots' animation


if __name__ == "__main__":
    main()
