"""Objects, and listings of many."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from s3pq_dagster.objects import MOST_OBJECT_BYTES, Listing, ObjectMeta
from s3pq_dagster_tests.unit.made import NOON, keys, listing, meta


def test_a_version_is_the_e_tag() -> None:
    """With an e_tag, the e_tag alone is the version."""
    assert meta("a", "tag", size=1).version == meta("a", "tag", size=2, second=9).version == "tag"


def test_without_an_e_tag_a_version_is_size_and_time() -> None:
    """Without an e_tag, size and time are the version."""
    same = meta("a", None, size=5).version
    assert meta("a", None, size=5).version == same
    assert meta("a", None, size=6).version != same
    assert meta("a", None, size=5, second=1).version != same


@pytest.mark.parametrize("microsecond", [0, 1, 7, 123_457, 999_999])
def test_a_version_is_the_same_alone_and_in_columns(microsecond: int) -> None:
    """Python's and Polars' version of one object agree to the microsecond."""
    moments = [
        NOON.replace(year=year, microsecond=microsecond) + timedelta(days=day)
        for year in (2024, 2040)
        for day in range(50)
    ]
    objects = [ObjectMeta(str(moment), 1, None, moment) for moment in moments]
    assert list(Listing.of(objects).with_version()["version"]) == [o.version for o in objects]


def test_a_listing_gives_back_its_objects() -> None:
    """Columns and objects hold the same facts, whatever the key."""
    objects = [
        meta("a//b/../c", None, size=0),
        meta("\x01 \U0001f600", "t", size=2**40, second=3),
        ObjectMeta("z", 1, "e", datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    ]
    assert list(Listing.of(objects)) == objects


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_a_listing_counts_its_objects(count: int) -> None:
    """A listing does not depend on its pages, and may have empty ones."""
    found = Listing.of(meta(f"k{i}", size=i) for i in range(count))
    assert len(found) == count
    assert found.total_bytes == sum(range(count))
    assert keys(found) == [f"k{i}" for i in range(count)]


def test_a_key_that_is_listed_twice_is_one_object() -> None:
    """A key on two pages is listed once, as on the later page."""
    found = Listing.of([meta("a", "v1"), meta("b"), meta("a", "v2"), meta("c")])
    assert [(o.key, o.e_tag) for o in found] == [("b", "v1"), ("a", "v2"), ("c", "v1")]


def test_reading_order_is_time_then_key_in_bytes() -> None:
    """Older objects come first, tied ones by the bytes of their keys."""
    found = listing(
        meta("b", second=1),
        meta("\U0001f600", second=0),
        meta("\uffff", second=0),
        meta("a", second=1),
        meta("B", second=1),
        meta("z", second=0),
    )
    assert keys(found.in_reading_order()) == ["z", "\uffff", "\U0001f600", "B", "a", "b"]


@pytest.mark.parametrize(
    ("size", "is_possible"),
    [(0, True), (50 * 1024**4, True), (50 * 1024**4 + 1, False), (2**63 - 1, False), (-1, False)],
)
def test_a_size_has_bounds(size: int, *, is_possible: bool) -> None:
    """No object has fewer than no bytes, or more than any S3 allows."""
    assert (meta("a", size=size).size_fault is None) is is_possible


def test_sizes_that_no_object_has_do_not_overflow_the_sum() -> None:
    """Two of them are more than an Int64 holds; each counts as the nearest possible size."""
    found = listing(meta("a", size=2**63 - 1), meta("b", size=2**63 - 1), meta("c", size=-9))
    assert found.total_bytes == 2 * MOST_OBJECT_BYTES


def test_times_come_back_aware_and_in_utc() -> None:
    """A time in another zone becomes the same time in UTC."""
    moment = datetime.fromisoformat("2024-02-14T13:00:00+01:00")
    (found,) = Listing.of([ObjectMeta("a", 1, "e", moment)])
    assert found.last_modified == NOON
    assert found.last_modified.utcoffset() == timedelta(0)


@pytest.mark.thorough
def test_a_listing_takes_some_two_hundred_bytes_a_key() -> None:
    """Resident memory for keys of 80 characters is bounded, so that millions fit a laptop."""
    script = """
import itertools
from datetime import UTC, datetime
from s3pq_dagster.objects import MOST_OBJECT_BYTES, Listing, ObjectMeta

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def objects(count):
    now = datetime(2024, 1, 1, tzinfo=UTC)
    return (ObjectMeta(f"data/{i:075d}", i, f"{i:032x}", now) for i in range(count))

Listing.of(objects(5000))
before = resident()
listing = Listing.of(objects(200_000))
print((resident() - before) / len(listing))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 260
