"""The example of `docs/operations.md` with an asset downstream does what the page says."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import observed

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of Dagster about itself
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_, EXAMPLE = re.findall(
    r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
)
TABLE, REVENUE = dg.AssetKey(["lake", "orders_2024"]), dg.AssetKey("revenue")


@pytest.fixture
def lake(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Make the bucket ``lake`` with a table, and an empty working directory."""
    named = Bucket("lake", bucket.client, bucket.proxy)
    named.client.create_bucket(Bucket=named.name)
    named.put("orders/2024/1.parquet", pa.table({"amount": [1.0, 2.0]}))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.proxy.endpoint)
    monkeypatch.chdir(tmp_path)
    yield named
    for number in (1, 2):
        named.delete(f"orders/2024/{number}.parquet")
    named.client.delete_bucket(Bucket=named.name)


@pytest.fixture
def defs(lake: Bucket) -> dg.Definitions:  # the bucket is there first
    """Return the definitions of the example."""
    namespace: dict[str, Any] = {}
    exec(compile(EXAMPLE, str(PAGE), "exec"), namespace)
    found: dg.Definitions = namespace["defs"]
    return found


@pytest.mark.thorough
def test_what_is_downstream_runs_when_its_table_got_rows(
    defs: dg.Definitions, lake: Bucket, instance: dg.DagsterInstance
) -> None:
    """Each load brings one run of it, and a run that finds nothing new brings none."""
    job = defs.resolve_implicit_global_asset_job_def()
    cursor: Any = None

    def run(key: dg.AssetKey) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(instance=instance, asset_selection=[key])

    def requested() -> int:
        nonlocal cursor
        found = dg.evaluate_automation_conditions(defs, instance=instance, cursor=cursor)
        cursor = found.cursor
        return found.get_num_requested(REVENUE)

    requested()
    for number in (1, 2):
        lake.put(f"orders/2024/{number}.parquet", pa.table({"amount": [1.0, 2.0]}))
        assert run(TABLE).success
        assert requested() == 1
        (event,) = run(REVENUE).get_asset_materialization_events()
        assert event.materialization.metadata["revenue"].value == 3.0 * number
        assert requested() == 0
        assert observed(run(TABLE)).keys() == {"orders_2024"}
        assert requested() == 0


def test_table_and_asset_have_their_policies(defs: dg.Definitions) -> None:
    """The translator's on the table, the asset's own on the asset."""
    policies = {spec.key: spec.freshness_policy for spec in defs.resolve_all_asset_specs()}
    window = dg.FreshnessPolicy.time_window
    assert policies == {
        TABLE: window(fail_window=timedelta(hours=26)),
        REVENUE: window(fail_window=timedelta(hours=27)),
    }
