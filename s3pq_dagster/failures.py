"""Which errors a step may be tried again for."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from s3pq_dagster.errors import S3ParquetError


@contextmanager
def as_failures() -> Iterator[None]:
    """Turn an error that trying again cannot mend into a failure that is not retried.

    Retryable errors pass as they are, so the op's retry policy applies.

    Raises:
        dagster.Failure: With the error's message, caused by it.
    """
    try:
        yield
    except S3ParquetError as error:
        if error.retryable:
            raise
        raise dg.Failure(
            description=f"{type(error).__name__}: {error}",
            metadata={"s3pq/error": type(error).__name__},
            allow_retries=False,
        ) from error
