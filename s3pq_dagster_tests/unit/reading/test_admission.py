"""Which part of which object may be fetched next."""

import tracemalloc

import pytest

from s3pq_dagster.errors import BrokenAnswerError, DiskError, MalformedObjectError
from s3pq_dagster.objects import MOST_OBJECT_BYTES, ObjectMeta
from s3pq_dagster.reading.admission import Admission
from s3pq_dagster.reading.object_bytes import Part
from s3pq_dagster_tests.unit.made import meta, spec

KIB = 1024
MIB = 1024 * KIB


def objects(count: int, size: int = 100 * KIB) -> list[ObjectMeta]:
    """Make objects of a size."""
    return [meta(f"k{number}", size=size) for number in range(count)]


def begun(admission: Admission) -> list[Part]:
    """Begin all parts that the bounds allow."""
    return list(iter(admission.next_part, None))


def keys(parts: list[Part]) -> list[str]:
    """Return the keys of the objects that parts belong to."""
    return [part.fetched.object.key for part in parts]


@pytest.mark.parametrize(("shares", "expected"), [(1, 4), (2, 2), (9, 1)])
def test_requests_are_bounded_by_a_share_of_them(shares: int, expected: int) -> None:
    """At least one is allowed; each that ends makes room for another."""
    admission = Admission(objects(9), spec(concurrency=4), shares)
    parts = begun(admission)
    assert len(parts) == expected
    admission.end_part(parts[0])
    assert keys(begun(admission)) == [f"k{expected}"]
    admission.set_shares(1)
    assert len(begun(admission)) == 4 - expected


def test_bytes_are_held_until_an_object_is_freed() -> None:
    """Fetched or not; the smallest counts as 64 KiB."""
    admission = Admission(objects(9, size=1), spec(max_bytes_in_flight=200 * KIB), 1)
    parts = begun(admission)
    assert keys(parts) == ["k0", "k1", "k2"]
    for part in parts:
        admission.end_part(part)
    assert begun(admission) == []
    admission.free(admission.admitted.popleft())
    assert keys(begun(admission)) == ["k3"]


def test_an_object_over_the_bound_is_fetched_alone() -> None:
    """With nothing beside it."""
    admission = Admission(objects(2), spec(max_bytes_in_flight=64 * KIB), 1)
    assert keys(begun(admission)) == ["k0"]


def test_the_first_object_exceeds_the_bound_where_others_hold_it_all() -> None:
    """The consumer waits for that object: were it not begun, nobody would ever free anything."""
    admission = Admission(objects(3), spec(max_bytes_in_flight=300 * KIB), 1)
    for part in begun(admission):
        admission.end_part(part)
    first = admission.admitted[0]
    admission.free(first)
    admission.replace_first(admission.prepare(meta("k0", "v2", size=200 * KIB)))
    assert keys(begun(admission)) == ["k0"]


def test_large_objects_wait_until_they_are_taken() -> None:
    """Their temporary files are made when somebody reads the table, two at a time."""
    bounds = spec(max_object_bytes_in_memory=60 * KIB)
    admission = Admission([*objects(1, size=1), *objects(3)], bounds, 1)
    assert len(begun(admission)) == 1
    admission.takes_large = True
    parts = begun(admission)
    assert [(part.start, part.end) for part in parts] == [(0, 61_440), (61_440, 102_400)] * 2
    spools = [part.fetched.spool for part in parts]
    admission.free(parts[0].fetched)
    more = begun(admission)
    assert len(more) == 2
    for part in (*parts, *more):
        admission.free(part.fetched)
    assert all(spool is not None and spool.is_closed for spool in spools)


def test_an_object_without_room_on_disk_has_no_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is handed on in its place, and others are fetched."""
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    bounds = spec(max_object_bytes_in_memory=60 * KIB)
    admission = Admission([*objects(1), meta("small", size=1)], bounds, 1)
    admission.takes_large = True
    assert keys(begun(admission)) == ["small"]
    first = admission.admitted[0]
    assert isinstance(first.error, DiskError)
    assert first.parts_left == 0


def test_nothing_begins_after_the_end() -> None:
    """What was not begun is dropped."""
    admission = Admission(objects(3), spec(concurrency=1), 1)
    (part,) = begun(admission)
    admission.stop()
    admission.end_part(part)
    assert begun(admission) == []


def test_ranges_are_not_listed_before_they_begin() -> None:
    """The largest object has millions of ranges, and a listing may only say that it is so large."""
    admission = Admission(objects(1, size=MOST_OBJECT_BYTES), spec(concurrency=4), 1)
    admission.takes_large = True
    tracemalloc.start()
    parts = begun(admission)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [part.start for part in parts] == [number * 8 * MIB for number in range(4)]
    assert most < 100 * KIB
    fetched = parts[0].fetched
    assert fetched.parts_left == MOST_OBJECT_BYTES // (8 * MIB) + 1  # one is the check
    fetched.error = BrokenAnswerError("another size")
    for part in parts:
        admission.end_part(part)
    assert begun(admission) == []
    assert fetched.parts_left == 1
    admission.free(fetched)


@pytest.mark.parametrize("size", [2**63 - 1, MOST_OBJECT_BYTES + 1, -1])
def test_an_object_of_no_possible_size_has_no_parts(size: int) -> None:
    """It is malformed, and others are fetched."""
    admission = Admission([*objects(1, size=size), meta("small", size=1)], spec(), 1)
    admission.takes_large = True
    assert keys(begun(admission)) == ["small"]
    first = admission.admitted[0]
    assert isinstance(first.error, MalformedObjectError)
    assert (first.parts_left, first.spool) == (0, None)
