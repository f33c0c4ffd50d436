"""One table's keys are listed with few requests, wherever else keys are."""

import pytest

from s3pq_dagster.source.pattern_listing import list_pattern
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.unit.made import opened


def listed(bucket: Bucket, pattern: str, within: str = "") -> tuple[set[str], int]:
    """List a pattern; return the keys, and how many listings that took."""
    bucket.proxy.forget()
    with opened(bucket) as store:
        found = set(list_pattern(store, pattern, within=within).frame["key"])
    return found, len(bucket.proxy.listings)


def put(bucket: Bucket, *keys: str) -> set[str]:
    """Put empty objects."""
    for key in keys:
        bucket.put(key, b"")
    return set(keys)


@pytest.mark.parametrize("pattern", ["t/", "t/*.parquet", "t/{hive}/*.parquet"])
def test_other_folders_below_cost_nothing(bucket: Bucket, pattern: str) -> None:
    """Only folders that are partitions are listed, each by a request."""
    wanted = put(bucket, "t/x", "t/k=1/x", "t/k=2/l=3/x")
    put(bucket, "t/deep/x", "t/deep/er/x", "tt/x")
    assert listed(bucket, pattern) == (wanted, 3)


def test_many_partitions_are_listed_together(bucket: Bucket) -> None:
    """Not one by one: 65 of them are two requests."""
    wanted = put(bucket, *(f"t/k={number}/x" for number in range(65)))
    assert listed(bucket, "t/{hive}/*.parquet") == (wanted, 2)


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("within", "left"),
    [("t/k=1", {"t/k=1/x", "t/k=10/x"}), ("t/k=1/", {"t/k=1/x"}), ("t", None), ("", None)],
)
def test_what_is_wanted_may_end_anywhere(
    bucket: Bucket, within: str, left: set[str] | None
) -> None:
    """Within a partition's name, too; a prefix of the table's own narrows nothing."""
    wanted = put(bucket, "t/x", "t/k=1/x", "t/k=10/x", "t/k=2/x")
    put(bucket, "tt/x")
    assert listed(bucket, "t/{hive}/*.parquet", within)[0] == (left or wanted)


def test_another_pattern_is_listed_by_its_beginning(bucket: Bucket) -> None:
    """Braces and asterisks of keys are escaped in it; a root object is listed by its key."""
    wanted = put(bucket, "a{/x_1.parquet", "a{/b/x_2.parquet")
    put(bucket, "a/x_1.parquet", "r.parquet")
    assert listed(bucket, "a{{/**/x_{n:int}.parquet") == (wanted, 1)
    assert listed(bucket, "r.parquet") == ({"r.parquet"}, 1)


@pytest.mark.parametrize("mark", ["t/_delta_log/0.json", "t/.hoodie/hoodie.properties"])
def test_what_shows_another_format_is_listed_too(bucket: Bucket, mark: str) -> None:
    """Else a run of the table alone would load what the table has deleted."""
    wanted = put(bucket, "t/x", mark)
    assert listed(bucket, "t/")[0] == wanted


@pytest.mark.parametrize(
    ("within", "requests"), [("", 2), ("w/", 2), ("w/t/data/", 1), ("w/t/data/k=1", 1)]
)
def test_metadata_beside_data_is_listed_unless_left_out(
    bucket: Bucket, within: str, requests: int
) -> None:
    """It shows an Iceberg table; a prefix that the listing is narrowed to leaves it out."""
    wanted = put(bucket, "w/t/data/k=1")
    mark = put(bucket, "w/t/metadata/v1.metadata.json")
    found, listings = listed(bucket, "w/t/data/", within)
    assert (found, listings) == (wanted | mark if requests == 2 else wanted, requests)
