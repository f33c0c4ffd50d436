"""Which objects are fetched again after an error, and for which cause."""

import pytest

from s3pq_dagster.errors import (
    BrokenAnswerError,
    DiskError,
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
    S3ParquetError,
    StoreError,
)
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.refetch import MOST_CHANGES, Refetch, refetch_cause
from s3pq_dagster.source.e_tags import MOST_READS
from s3pq_dagster_tests.unit.made import meta

BROKEN = BrokenAnswerError("its ranges do not match")
CHANGED = ObjectChangedError("k")
FACTS = [MalformedObjectError("k", "bad"), ObjectNotFoundError("k")]


def failed(error: Exception | None, **fields: object) -> ObjectBytes:
    """Make an object whose fetching ended so."""
    fetched = ObjectBytes(meta("k"), error, parts_left=0)
    for name, value in fields.items():
        setattr(fetched, name, value)
    return fetched


@pytest.mark.parametrize("is_early", [False, True])
def test_an_object_that_came_is_not_fetched_again(*, is_early: bool) -> None:
    """There is no error."""
    assert refetch_cause(failed(None, is_early=is_early)) is None


@pytest.mark.parametrize("error", [StoreError("503"), BROKEN, TypeError("a bug")])
def test_what_failed_as_a_prefetch_is_fetched_again(error: Exception) -> None:
    """The cause may be gone; the second time, which is no prefetch, the error is final."""
    assert refetch_cause(failed(error, is_early=True)) is Refetch.EARLY
    assert refetch_cause(failed(error)) is None


@pytest.mark.parametrize("error", FACTS)
@pytest.mark.parametrize("is_early", [False, True])
def test_what_s3_states_of_an_object_is_final(error: S3ParquetError, *, is_early: bool) -> None:
    """Asking again would bring the same answer."""
    assert refetch_cause(failed(error, is_early=is_early)) is None


@pytest.mark.parametrize("is_early", [False, True])
def test_an_overwritten_object_is_fetched_as_it_is_now(*, is_early: bool) -> None:
    """A few times: an object that never rests is an error."""
    for changes in range(MOST_CHANGES):
        fetched = failed(CHANGED, is_early=is_early, changes=changes)
        assert refetch_cause(fetched) is Refetch.CHANGED
    assert refetch_cause(failed(CHANGED, changes=MOST_CHANGES)) is None


def test_ranges_that_do_not_match_are_fetched_again() -> None:
    """As often as any object is read; a broken answer to one request is not that."""
    for times in range(1, MOST_READS):
        assert refetch_cause(failed(BROKEN, unmatched=["x"] * times)) is Refetch.RANGES
    assert refetch_cause(failed(BROKEN, unmatched=["x"] * MOST_READS)) is None
    assert refetch_cause(failed(BROKEN)) is None


def test_a_disk_without_room_is_final() -> None:
    """The step is tried again, not the object."""
    assert refetch_cause(failed(DiskError("object 'k'", "/tmp", "full"))) is None
