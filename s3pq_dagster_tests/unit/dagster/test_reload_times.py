"""When the code location is asked to reload, and when again."""

import pytest

from s3pq_dagster.dagster.reload_times import ReloadTimes

NOW = 1_000_000.0


def test_the_first_reload_may_be_at_once() -> None:
    """Nothing is remembered that would speak against it."""
    assert ReloadTimes().seconds_left(["a"], NOW) <= 0


def test_the_same_tables_are_asked_for_at_growing_distances() -> None:
    """One that never appears costs a reload an hour in the end."""
    times, waits, now = ReloadTimes(), [], NOW
    for _ in range(9):
        times.ask(["b", "a"], now)
        waits.append(times.seconds_left(["a", "b"], now))
        now += waits[-1]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_other_tables_are_asked_for_after_a_minute() -> None:
    """However often the others were asked for in vain."""
    times = ReloadTimes()
    for _ in range(5):
        times.ask(["a"], NOW)
    assert times.seconds_left(["a", "b"], NOW + 20) == 40
    times.ask(["a", "b"], NOW + 60)
    assert times.attempts == 1


def test_two_reloads_are_a_minute_apart_although_the_first_one_helped() -> None:
    """What was found is forgotten, but for the time of the last reload within a minute."""
    times = ReloadTimes()
    times.ask(["a"], NOW)
    times.found(NOW + 10)
    assert times.seconds_left(["b"], NOW + 10) == 50
    assert times.remembered() == {"at": NOW}
    times.found(NOW + 60)
    assert times.remembered() == {}


@pytest.mark.parametrize("asked_at", [NOW + 3600, NOW])
def test_a_clock_that_is_set_back_does_not_hinder_a_reload_for_longer(asked_at: float) -> None:
    """A reload in the future counts as one of now."""
    times = ReloadTimes()
    times.ask(["a"], asked_at)
    assert times.seconds_left(["a"], NOW) == 60
