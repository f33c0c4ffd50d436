"""What the sensor remembers from one tick to the next."""

import json

import pytest

from s3pq_dagster.dagster.sensor_cursor import Asked, SensorCursor


def test_it_is_read_as_it_was_written() -> None:
    """The tables' LastModified cursors are in the text too, but are not read back."""
    cursor = SensorCursor.parse(None)
    cursor.of("a").ask("f1", now=100.0)
    written = cursor.dump({"s3/bucket/a/last_modified_cursor": "2024-05-06T07:08:09Z"})
    assert json.loads(written)["s3/bucket/a/last_modified_cursor"] == "2024-05-06T07:08:09Z"
    assert SensorCursor.parse(written).tables == {"a": Asked("f1", 1, 100.0)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '"a word"',
        '{"v": 2, "tables": {}}',
        '{"v": 1, "tables": {"a": {"a field of a later version": 1}}}',
        '{"v": 1, "tables": ["a"]}',
    ],
)
def test_what_cannot_be_read_is_as_good_as_none(text: str) -> None:
    """A cursor that somebody edited, or that a later version wrote, stops no tick."""
    assert SensorCursor.parse(text).tables == {}


def test_the_same_listing_is_asked_for_less_and_less_often() -> None:
    """The backoff is a minute, doubles with each failed run, and is an hour at most."""
    asked = Asked()
    waits = []
    for _ in range(9):
        asked.ask("f1", now=1000.0)
        waits.append(asked.seconds_left("f1", now=1000.0))
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert asked.seconds_left("f1", now=1000.0 + 3600) <= 0


def test_another_listing_is_asked_for_at_once() -> None:
    """Failed runs for one listing do not delay a run for another one."""
    asked = Asked()
    for _ in range(5):
        asked.ask("f1", now=1000.0)
    assert asked.seconds_left("f2", now=1000.0) <= 0
    asked.ask("f2", now=1000.0)
    assert asked.attempts == 1


def test_tables_that_are_gone_are_forgotten() -> None:
    """The cursor does not grow with every table there ever was."""
    cursor = SensorCursor({"a": Asked(), "gone": Asked()})
    cursor.keep({"a", "b"})
    assert set(cursor.tables) == {"a"}
