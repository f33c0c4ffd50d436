"""Which failures are retried, and what their chain of causes says."""

import traceback
from itertools import pairwise

import dagster as dg
import pytest

from s3pq_dagster.dagster.retries import as_failures
from s3pq_dagster.errors import ConfigurationError, DestinationError, S3ParquetError

MESSAGE = "cannot write t: disk full. Make room."


def failing(error: S3ParquetError, *causes: Exception) -> None:
    """Raise an error that each of the causes led to, the last one first."""
    for effect, cause in pairwise([error, *causes]):
        effect.__cause__ = cause
    with as_failures():
        raise error


def causes(error: BaseException) -> list[str]:
    """Return the messages of what led to an error, as Dagster finds them."""
    found = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return [] if found is None else [str(found), *causes(found)]


@pytest.mark.parametrize("kind", [ConfigurationError, DestinationError])
@pytest.mark.parametrize(
    ("said", "left"),
    [
        (["disk full"], []),
        ([""], []),
        ([f"Unknown error: {MESSAGE}"], []),
        ([f"Unknown error: {MESSAGE}", "disk full"], []),
        (["disk full\nHINT: device 7"], ["disk full\nHINT: device 7"]),
        (["quota 5 reached", "quota 5"], ["quota 5 reached"]),
        (["disk full", "device 7"], ["device 7"]),
    ],
)
def test_a_cause_is_kept_if_it_says_more(
    kind: type[S3ParquetError], said: list[str], left: list[str]
) -> None:
    """What only repeats the message, or a part of it, is not logged again."""
    with pytest.raises((dg.Failure, DestinationError)) as caught:
        failing(kind(MESSAGE), *map(OSError, said))
    assert MESSAGE in str(caught.value)
    assert causes(caught.value) == left


def test_a_failure_shows_where_the_error_was_raised() -> None:
    """The error is not among its causes, so its traceback is the failure's own."""
    with pytest.raises(dg.Failure) as caught:
        failing(ConfigurationError(MESSAGE))
    assert "failing" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_an_error_that_a_retry_may_mend_is_raised_as_it_is() -> None:
    """The op's retry policy applies to it."""
    error = DestinationError(MESSAGE)
    with pytest.raises(DestinationError) as caught:
        failing(error)
    assert caught.value is error
