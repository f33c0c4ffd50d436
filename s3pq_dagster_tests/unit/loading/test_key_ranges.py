"""Every key is in exactly one range, and the ranges have about equally many bytes."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from s3pq_dagster.loading.key_ranges import split
from s3pq_dagster.objects import Listing, ObjectMeta

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
SIZES = st.dictionaries(KEYS, st.integers(0, 1000), max_size=40)


def listing(sizes: dict[str, int]) -> Listing:
    """Make a listing of objects with these sizes."""
    return Listing.of([ObjectMeta(key, size, "e", NOON) for key, size in sizes.items()])


@given(SIZES, SIZES, st.integers(1, 9))
def test_every_key_is_in_one_range(sizes: dict[str, int], later: dict[str, int], most: int) -> None:
    """Both keys that were listed when the ranges were made and keys that come later."""
    ranges = split(listing(sizes), most)
    assert len(ranges) <= min(most, len(sizes))
    assert bool(ranges) == bool(sizes)
    for keys in (sizes, later) if ranges else ():
        found = [key for r in ranges for key in r.of(listing(keys)).frame["key"]]
        assert sorted(found) == sorted(keys)
    assert all(len(r.of(listing(sizes))) for r in ranges)


def test_ranges_have_about_equally_many_bytes() -> None:
    """Each range has about its share, whatever the number of objects."""
    sizes = {f"{number:04}": 1000 for number in range(500)}
    sizes |= {f"9{number:03}": 10_000 for number in range(50)}
    shares = [r.of(listing(sizes)).total_bytes for r in split(listing(sizes), 4)]
    assert len(shares) == 4
    assert max(shares) - min(shares) <= 20_000
    assert sum(shares) == 1_000_000


def test_a_large_object_is_a_range_of_its_own() -> None:
    """It is larger than a share, and an object cannot be split."""
    ranges = split(listing({"a": 10, "b": 10_000, "c": 10, "d": 10}), 4)
    assert [
        r.of(listing({"a": 1, "b": 1, "c": 1, "d": 1})).frame["key"].to_list() for r in ranges
    ] == [
        ["a", "b"],
        ["c", "d"],
    ]


def test_empty_objects_are_divided_too() -> None:
    """Empty objects cost requests as well."""
    assert len(split(listing({str(number): 0 for number in range(8)}), 4)) == 4


@given(st.dictionaries(KEYS, st.sampled_from([-1, 1, 2**63 - 1]), max_size=40), st.integers(1, 9))
def test_sizes_that_no_object_has_are_divided_too(sizes: dict[str, int], most: int) -> None:
    """A listing may state any number; the ranges still hold every key, and are not more."""
    ranges = split(listing(sizes), most)
    assert len(ranges) <= min(most, len(sizes))
    found = [key for r in ranges for key in r.of(listing(sizes)).frame["key"]]
    assert sorted(found) == sorted(sizes)
