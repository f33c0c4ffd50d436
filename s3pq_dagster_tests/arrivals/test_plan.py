"""A planned day has what a day of a real bucket has."""

from collections import Counter
from typing import Any

import pytest

from s3pq_dagster_tests.arrivals.plan import Day, Form, make_day

DAY: dict[str, Any] = {"objects": 5000, "seconds": 14_400, "every": 300, "tables": 4}


@pytest.fixture(scope="module")
def day() -> Day:
    """The day that the bench plays."""
    return make_day(1, **DAY)


def test_a_seed_gives_one_day(day: Day) -> None:
    """Equal seeds give equal days, and other seeds give others."""
    assert make_day(1, **DAY) == day
    assert make_day(2, **DAY) != day


def test_multipart_uploads_appear_up_to_twenty_minutes_after_their_stamp(day: Day) -> None:
    """This holds for some 5 % of the objects."""
    late = [e.at - e.stamp for e in day.events if e.why == "multipart"]
    assert 200 < len(late) < 300
    assert min(late) >= 30
    assert 1000 < max(late) <= 1200


def test_replicas_have_a_time_before_the_day(day: Day) -> None:
    """This holds for some 0.5 % of the objects."""
    replicas = [event for event in day.events if event.why == "replica"]
    assert 10 < len(replicas) < 40
    assert all(event.stamp < 0 for event in replicas)


def test_objects_tie_by_the_dozen(day: Day) -> None:
    """Many objects have the same second, often that of a look."""
    tied = Counter(event.stamp for event in day.events)
    assert sum(count >= 12 for count in tied.values()) > 20
    assert any(tied[look] >= 3 for look in day.looks)
    assert any(event.stamp in day.looks and event.at > event.stamp for event in day.events)


@pytest.mark.parametrize("why", ["overwritten", "deleted", "put again", "malformed", "repaired"])
def test_some_objects_have_more_to_come(day: Day, why: str) -> None:
    """Some 0.5 % of the objects are changed later, in each of several ways."""
    assert sum(event.why == why for event in day.events) > 10


def test_some_objects_stay_malformed(day: Day) -> None:
    """Not every malformed object is repaired."""
    assert any(content.form is Form.MALFORMED for content in day.at_end.values())


def test_the_last_looks_are_quiet(day: Day) -> None:
    """The last change is seen, and is seen again."""
    last = day.events[-1].at
    assert sum(look > last for look in day.looks) >= 2


def test_the_same_content_has_the_same_bytes_and_another_others(day: Day) -> None:
    """E_tags differ between versions, and only between them."""
    contents = {event.content for event in day.events[:300] if event.content is not None}
    bodies = {content: content.body for content in contents if content.rows}
    assert len(set(bodies.values())) == len(bodies)
    assert all(content.body == body for content, body in bodies.items())
