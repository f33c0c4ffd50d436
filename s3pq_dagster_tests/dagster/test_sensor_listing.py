"""A listing that takes the sensor more than one tick."""

import dagster as dg

from s3pq_dagster import S3ParquetResource
from s3pq_dagster.dagster.sensor import BucketWatch
from s3pq_dagster.dagster.sensor_listing import ListingOverTicks
from s3pq_dagster_tests.dagster.test_sensor import asked, reason
from s3pq_dagster_tests.lake import Lake


def short_ticks(lake: Lake) -> tuple[dg.Definitions, ListingOverTicks]:
    """Put more objects than the one page that a tick of this sensor lists."""
    lake.bucket.proxy.page_size = 2
    for number in range(5):
        lake.bucket.put(f"a/{number}.parquet", 1)
    definitions, listing = lake.definitions(), ListingOverTicks(tick_seconds=0)
    tables = {spec.metadata["s3pq/table"]: spec for spec in definitions.resolve_all_asset_specs()}
    watch = BucketWatch(S3ParquetResource(**lake.bucket.spec), None, tables, listing=listing)
    assets = [a for a in definitions.assets or [] if isinstance(a, dg.AssetsDefinition)]
    sensor = dg.SensorDefinition(name="s3_parquet_sensor", evaluation_fn=watch.tick, target=assets)
    resources = definitions.resources
    return dg.Definitions(assets, sensors=[sensor], resources=resources), listing


def test_a_listing_too_long_for_a_tick_goes_on_in_the_next(lake: Lake) -> None:
    """Dagster gives up on a tick after a minute; a million keys may take longer."""
    definitions, _ = short_ticks(lake)
    said = lake.tick(definitions=definitions)
    assert "the next tick goes on" in reason(said)
    ticks = 1
    while not asked(said):
        said = lake.tick(definitions=definitions)
        ticks += 1
        assert ticks < 10
    assert asked(said) == [{"a"}]


def test_a_listing_left_unfinished_for_long_begins_again(lake: Lake) -> None:
    """A sensor that was off for a while does not use an old listing."""
    definitions, listing = short_ticks(lake)
    lake.bucket.proxy.forget()
    for kept, firsts in ((3600, 1), (3600, 1), (0, 2)):
        listing.kept_seconds = kept
        assert "the next tick goes on" in reason(lake.tick(definitions=definitions))
        pages = [request.query for request in lake.bucket.proxy.requests if request.is_listing]
        assert sum(page["prefix"] == [""] and "delimiter" not in page for page in pages) == firsts
