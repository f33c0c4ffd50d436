"""s3pq_dagster's listing alone: the least that a sync with nothing new has to do."""

from importlib.metadata import version

from bench.contenders.task import Task, contend
from s3pq_dagster.source.listing import BucketListing
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec


def load(task: Task) -> dict[str, int]:
    """List the whole bucket."""
    store = Store.open(
        S3ParquetSpec(bucket=task.bucket, region=task.region, endpoint_url=task.endpoint)
    )
    listing = BucketListing("").go_on(store)
    store.close()
    return {"rows": 0 if listing is None else len(listing)}


if __name__ == "__main__":
    contend(f"s3pq_dagster {version('s3pq-dagster')}", load)
