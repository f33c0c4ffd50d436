"""Waiting for a lock that another process holds."""

import shlex

import pytest

from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.errors import DestinationError, DestinationLockedError
from s3pq_dagster_tests.unit.made import Lines, logger


class Lock:
    """A lock that is free from the attempt of this number on."""

    def __init__(self, free_at: float) -> None:
        self.free_at = free_at
        self.attempts = 0

    def acquire(self) -> str:
        self.attempts += 1
        if self.attempts < self.free_at:
            msg = f"held at attempt {self.attempts}"
            raise DestinationLockedError(msg)
        return "acquired"


def wait(lock: Lock, lines: Lines, *, timeout_seconds: float) -> str:
    """Wait for a lock, with short pauses."""
    return wait_for_lock(
        lock.acquire,
        timeout_seconds=timeout_seconds,
        log=logger(lines),
        longest_pause_seconds=0.01,
        file="orders.lock",
    )


def test_a_free_lock_is_acquired_at_once() -> None:
    """There is nothing to log."""
    lines = Lines()
    assert wait(Lock(1), lines, timeout_seconds=0) == "acquired"
    assert not lines.of("destination_locked")


def test_each_wait_is_logged_with_the_lock_and_what_was_found() -> None:
    """Two attempts fail, so there are two pauses."""
    lines = Lines()
    assert wait(Lock(3), lines, timeout_seconds=60) == "acquired"
    fields = [shlex.split(each)[1:] for each in lines.of("destination_locked")]
    assert [(lock, give_up, found) for lock, _, give_up, found in fields] == [
        ("file=orders.lock", "give_up_after_seconds=60", f"found=held at attempt {number}")
        for number in (1, 2)
    ]
    assert all(waited.startswith("waited_seconds=0.") for _, waited, _, _ in fields)


def test_a_lock_that_stays_held_is_an_error_after_the_timeout() -> None:
    """The error is that of the last attempt."""
    lock = Lock(float("inf"))
    with pytest.raises(DestinationLockedError) as caught:
        wait(lock, Lines(), timeout_seconds=0.1)
    assert lock.attempts > 1
    assert str(caught.value) == f"held at attempt {lock.attempts}"


def test_any_other_error_ends_the_wait() -> None:
    """A directory that cannot be written to does not become writable by waiting."""

    def acquire() -> None:
        msg = "cannot lock"
        raise DestinationError(msg)

    lines = Lines()
    with pytest.raises(DestinationError, match="cannot lock"):
        wait_for_lock(acquire, timeout_seconds=60, log=logger(lines))
    assert not lines.of("destination_locked")
