"""For how long a run has been silent, whatever happens to the wall clock."""

from dataclasses import dataclass, field

from s3pq_dagster.dagster.sensor_history import Silences

DAY = 86_400.0


@dataclass
class Clocks:
    """A wall clock that can be set, and a steady one that cannot."""

    wall: float = 1000 * DAY
    steady: float = 5.0
    silences: Silences = field(init=False)

    def __post_init__(self) -> None:
        self.silences = Silences(lambda: self.wall, lambda: self.steady)

    def after(self, seconds: float, latest: float) -> float:
        """Let time pass, and return how long the run has been silent whose event is given."""
        self.wall += seconds
        self.steady += seconds
        return self.silences.seconds("run", latest)


def test_a_clock_set_forward_makes_no_run_silent_that_logs_on() -> None:
    """The events before the change look a day old; those after it do not."""
    clocks = Clocks()
    event = clocks.wall
    assert clocks.after(10, event) < 20
    clocks.wall += DAY
    assert clocks.after(30, event) < 60
    event = clocks.wall
    for _ in range(5):
        assert clocks.after(60, event) < 70
        event = clocks.wall


def test_a_run_that_is_first_seen_after_the_clock_was_set_forward_is_waited_for() -> None:
    """Until its next event should have come."""
    clocks = Clocks()
    event = clocks.wall - DAY
    assert clocks.after(0, event) == 0
    assert clocks.after(60, event) == 60
    assert clocks.after(60, event) > DAY


def test_a_run_that_died_long_ago_is_not_watched_for_as_long_again() -> None:
    """A process that has just started takes two minutes to know."""
    clocks = Clocks()
    event = clocks.wall - 890
    assert clocks.after(0, event) == 0
    assert clocks.after(120, event) == 1010


def test_a_clock_set_back_ends_no_silence() -> None:
    """The run falls silent by the steady clock."""
    clocks = Clocks()
    event = clocks.wall
    clocks.wall -= DAY
    clocks.after(0, event)
    assert clocks.after(900, event) == 900
