"""How far a table's objects are read, and the log lines about it."""

import logging

import pytest

from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster_tests.unit.made import meta

OBJECTS = [meta("a", size=30), meta("b", size=70)]


def begun(**options: float) -> ProgressLog:
    """Start the log of a table of two objects."""
    return ProgressLog("t", Listing.of(OBJECTS), logging.getLogger("s3pq"), **options)


def test_a_line_says_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The line has objects and bytes of all that are pending, and the rows so far."""
    progress = begun(every_seconds=0)
    with caplog.at_level(logging.INFO, "s3pq"):
        progress.report()
        progress.count(OBJECTS[0])
        progress.rows += 5
        progress.report()
    before, after = caplog.messages
    assert 'objects=0/2 bytes="0 bytes of 100 bytes" rows=0' in before
    assert "time_left" not in before
    assert 'objects=1/2 bytes="30 bytes of 100 bytes" rows=5' in after
    assert "time_left=" in after


def test_what_is_done_within_an_object_counts(caplog: pytest.LogCaptureFixture) -> None:
    """A footer may state any number of rows; of an object there is never more than all."""
    progress = begun(every_seconds=0)
    with caplog.at_level(logging.INFO, "s3pq"):
        for rows, stated in ((0, 0), (5, 10), (20, 10), (5, 0), (5, -1)):
            progress.count_within(OBJECTS[1], rows, stated)
            progress.report()
        progress.count(OBJECTS[1])
        progress.report()
        progress.count_within(OBJECTS[0], 1, 2)
        progress.report()
    done = [text.partition('bytes="')[2].partition(" bytes of")[0] for text in caplog.messages]
    assert done == ["0", "35", "70", "0", "0", "70", "85"]


def test_a_line_comes_every_ten_seconds_and_no_sooner(caplog: pytest.LogCaptureFixture) -> None:
    """Dagster stores each line as an event."""
    progress = begun()
    with caplog.at_level(logging.INFO, "s3pq"):
        for _ in range(100):
            progress.report()
    assert caplog.messages == []


def test_all_is_seen_once_every_object_was() -> None:
    """Whatever became of each."""
    progress = begun()
    progress.count(OBJECTS[0])
    assert not progress.is_all_seen
    progress.count(OBJECTS[1])
    assert progress.is_all_seen
