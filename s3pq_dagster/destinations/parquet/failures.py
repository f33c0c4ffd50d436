"""Errors of the file system and of pyarrow, as errors of the destination."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from s3pq_dagster.drift.casts import InexactError
from s3pq_dagster.errors import DestinationDeniedError, DestinationError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_DIRECTORY = {errno.ENOTDIR, errno.EEXIST}


@contextmanager
def translated(root: str) -> Iterator[None]:
    """Raise errors of the file system and of pyarrow as :class:`DestinationError`.

    Args:
        root: The root, which the error names.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        number = error.errno if isinstance(error, OSError) else None
        msg = (
            f"cannot read or write the Parquet files below {root}: {first_line(error)}. "
            f"{_advice(number, root)} What is committed stands and is not read again; "
            f"nothing else is visible."
        )
        denied = number in _FORBIDDEN | _NO_DIRECTORY
        raise (DestinationDeniedError if denied else DestinationError)(msg) from error


@contextmanager
def damaged_file_named(path: str, table: str) -> Iterator[None]:
    """Raise errors of reading a Parquet file as a :class:`DestinationError` that names it.

    Raises:
        FileNotFoundError: It does not exist. The caller knows what that means.
        DestinationError: It is damaged, or holds values that its table cannot have.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, InexactError) as error:
        msg = (
            f"{path} cannot be read as the Parquet file it was: {first_line(error)}. Put back a "
            f"copy of it, or run table {table!r} with full_refresh: true."
        )
        raise DestinationError(msg) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _advice(number: int | None, root: str) -> str:
    if number in _FULL:
        return f"Make room in {root}, then run again."
    if number in _FORBIDDEN:
        return f"Allow writing to {root}, then run again."
    if number in _NO_DIRECTORY:
        return "Name a directory, or move away the file that has its name; then run again."
    return "Run again once the cause is gone."
