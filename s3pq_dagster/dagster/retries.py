"""Which errors a step may be tried again for."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from s3pq_dagster.errors import S3ParquetError


class RunCancelledError(dg.DagsterError, dg.DagsterExecutionInterruptedError):
    """The run was cancelled: a step that is interrupted is not tried again.

    Dagster applies an op's retry policy to interrupts too, so a cancelled run would start its
    table anew. It leaves errors of its own kind alone, and still takes this one for an interrupt.
    """


@contextmanager
def as_failures() -> Iterator[None]:
    """Turn an error that trying again cannot mend into a failure that is not retried.

    Retryable errors pass as they are, so the op's retry policy applies.

    Raises:
        dagster.Failure: With the error's message, caused by it.
        RunCancelledError: The run was cancelled.
    """
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as interrupt:
        raise RunCancelledError("cancelled; what is committed stands") from interrupt
    except S3ParquetError as error:
        if error.retryable:
            raise
        raise dg.Failure(
            description=f"{type(error).__name__}: {error}",
            metadata={"s3pq/error": type(error).__name__},
            allow_retries=False,
        ) from error
