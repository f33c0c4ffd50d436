"""DuckDB's errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from s3pq_dagster.errors import DestinationError


@contextmanager
def translated(path: Path, also: type[Exception] = duckdb.Error) -> Iterator[None]:
    """Turn whatever DuckDB raises into a :class:`DestinationError` that names the file.

    Args:
        path: The file.
        also: What else is DuckDB's; its Arrow streams raise :class:`OSError`.
    """
    try:
        yield
    except (duckdb.Error, also) as error:
        msg = (
            f"DuckDB could not do as asked in {path}: {first_line(error)}. The transaction is "
            f"rolled back; run again once the cause is gone: what is committed is not read again."
        )
        raise DestinationError(msg) from error


def first_line(error: Exception) -> str:
    """Give what matters of DuckDB's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
