"""Which errors a step is retried for."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from s3pq_dagster.errors import S3ParquetError


class RunCancelledError(dg.DagsterError, dg.DagsterExecutionInterruptedError):
    """The run was cancelled, so its step is not retried.

    Dagster applies an op's retry policy to interrupts too, so a cancelled run would start its
    table again. It does not apply it to Dagster's own errors; and as this error is also an
    interrupt, Dagster still ends the run as cancelled.
    """


@contextmanager
def as_failures() -> Iterator[None]:
    """Turn an error that a retry cannot mend into a failure that is not retried.

    Other errors pass through, so that the op's retry policy applies to them. Dagster logs an error
    with all its causes; those that only say again what the error says are left out.

    Raises:
        dagster.Failure: The error is not retryable.
        RunCancelledError: The run was cancelled.
    """
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as interrupt:
        raise RunCancelledError("the run was cancelled; committed checkpoints stay") from interrupt
    except S3ParquetError as error:
        cause = _further_cause(error, str(error))
        if error.retryable:
            raise error from cause
        failure = dg.Failure(
            description=f"{type(error).__name__}: {error}",
            metadata={"s3pq/error": type(error).__name__},
            allow_retries=False,
        )
        raise failure.with_traceback(error.__traceback__) from cause


def _further_cause(error: BaseException, told: str) -> BaseException | None:
    """Return the first cause of an error that says more than what is told already.

    The causes of that cause are pruned likewise.
    """
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is None:
        return None
    if not _says_more(str(cause), told):
        return _further_cause(cause, told)
    cause.__cause__ = _further_cause(cause, f"{told}\n{cause}")
    cause.__suppress_context__ = True
    return cause


def _says_more(text: str, told: str) -> bool:
    """Return whether a message neither repeats another one nor is a part of it."""
    if any(message in text for message in told.splitlines() if message):
        return False
    return any(line.strip() not in told for line in text.splitlines())
