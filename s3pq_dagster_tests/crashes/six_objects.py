"""Six objects to load, and which of them were read."""

from s3pq_dagster_tests.buckets import Bucket


def fill(bucket: Bucket) -> None:
    """Put six objects of ten rows."""
    for number in range(6):
        bucket.put(f"a/{number}.parquet", 10)


def keys(numbers: range) -> list[str]:
    """Return the keys of objects by number."""
    return [f"a/{number}.parquet" for number in numbers]


def read(bucket: Bucket) -> list[str]:
    """Return the keys of the objects that were read, as often as they were."""
    return [request.key for request in bucket.proxy.object_reads]
