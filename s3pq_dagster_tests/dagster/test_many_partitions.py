"""A table of thousands of hourly partitions is one asset, and costs what one prefix costs."""

from collections.abc import Callable

import pytest

from s3pq_dagster import Layout, Rule
from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.lake import Lake, observed

PARTITIONS, YEAR_AND_MORE = 1_050, 10_000
PAGE = 1_000
FLAT, HIVE, RULE = "flat/{0}.parquet", "hive/hour={0}/p.parquet", "rule/{0}/p.parquet"
LAYOUT = Layout(
    rules=[
        Rule(match="hive/{hive}/*.parquet", types={"hour": "int"}),
        Rule(match="{table}/{hour:int}/*.parquet"),
    ],
    unmatched="prefix",
)


def requests(lake: Lake, do: Callable[[], object]) -> tuple[int, int]:
    """Count the pages of listings, and the requests for objects, that something sends."""
    lake.bucket.proxy.forget()
    do()
    return len(lake.bucket.proxy.listings), len(lake.bucket.proxy.object_reads)


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    ("form", "partitions"),
    [(HIVE, PARTITIONS), (RULE, PARTITIONS), (FLAT, PARTITIONS), (RULE, YEAR_AND_MORE)],
)
def test_partitions_cost_no_more_than_a_prefix(lake: Lake, form: str, partitions: int) -> None:
    """Definitions, a tick and a run with nothing new are one listing each, and one footer."""
    body = parquet(numbers(1))
    for number in range(partitions):
        lake.bucket.put(form.format(number), body)
    found = []
    spec = {"layout": LAYOUT}
    pages = -(-partitions // PAGE)
    listings, footers = requests(lake, lambda: found.append(lake.definitions(**spec)))
    (definitions,) = found
    assert len(definitions.resolve_implicit_global_asset_job_def().nodes) == 1
    assert footers == 1
    assert listings <= pages + 2
    listings, reads = requests(lake, lambda: lake.tick(definitions=definitions))
    assert (listings <= pages + 2, reads) == (True, 0)
    (table,) = {form.partition("/")[0]}
    assert lake.run(definitions=definitions).success
    assert lake.rows(table) == partitions
    results = []
    again = requests(lake, lambda: results.append(lake.run(definitions=definitions)))
    assert observed(results[0]).keys() == {table}
    assert (again[0] <= 2 * pages + 2, again[1]) == (True, 0)  # the check `complete` lists, too
