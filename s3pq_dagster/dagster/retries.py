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

    Other errors pass through, so that the op's retry policy applies to them.

    Raises:
        dagster.Failure: The error is not retryable; it is the cause.
        RunCancelledError: The run was cancelled.
    """
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as interrupt:
        raise RunCancelledError("the run was cancelled; committed checkpoints stay") from interrupt
    except S3ParquetError as error:
        if error.retryable:
            raise
        raise dg.Failure(
            description=f"{type(error).__name__}: {error}",
            metadata={"s3pq/error": type(error).__name__},
            allow_retries=False,
        ) from error
