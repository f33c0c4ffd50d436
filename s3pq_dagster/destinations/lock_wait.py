"""How a destination waits for a table, or a file, that another process has locked."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from s3pq_dagster.errors import DestinationLockedError
from s3pq_dagster.logs import line

_Lock = TypeVar("_Lock")


def wait_for_lock(
    acquire: Callable[[], _Lock],
    *,
    timeout_seconds: float,
    log: logging.Logger,
    first_pause_seconds: float = 0.05,
    longest_pause_seconds: float = 5,
    **lock: object,
) -> _Lock:
    """Call ``acquire`` until it gets the lock; the pauses between the calls are random and grow.

    Args:
        acquire: Tries once, and raises :class:`DestinationLockedError` if another has the lock.
            Whatever else it raises ends the wait.
        timeout_seconds: How long to go on trying. The lock is tried at least once.
        log: Gets a line ``destination_locked`` before each pause.
        first_pause_seconds: Bound of the first pause; it doubles with each further one.
        longest_pause_seconds: No pause is longer.
        lock: What is waited for, as the first fields of the log lines.

    Returns:
        What ``acquire`` returned.

    Raises:
        DestinationLockedError: The last one that ``acquire`` raised before the timeout.
    """
    return Retrying(
        retry=retry_if_exception_type(DestinationLockedError),
        stop=stop_after_delay(timeout_seconds),
        wait=wait_random_exponential(multiplier=first_pause_seconds, max=longest_pause_seconds),
        before_sleep=partial(_log_wait, log, lock, timeout_seconds),
        reraise=True,
    )(acquire)


def _log_wait(
    log: logging.Logger, lock: Mapping[str, object], timeout_seconds: float, state: RetryCallState
) -> None:
    log.warning(
        line(
            "destination_locked",
            **lock,
            waited_seconds=round(state.seconds_since_start or 0, 1),
            give_up_after_seconds=timeout_seconds,
            found=state.outcome.exception() if state.outcome else None,
        )
    )
