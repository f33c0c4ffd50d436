"""What goes wrong below the root, in our words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from s3pq_dagster.errors import DestinationDeniedError, DestinationError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_DIRECTORY = {errno.ENOTDIR, errno.EEXIST}


@contextmanager
def translated(root: str) -> Iterator[None]:
    """Turn what the file system and pyarrow raise into a :class:`DestinationError`.

    Args:
        root: Named in it.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        number = error.errno if isinstance(error, OSError) else None
        msg = (
            f"cannot do as asked in the Parquet files below {root}: {first_line(error)}. "
            f"{_advice(number, root)} What is committed stands and is not read again; "
            f"nothing else is visible."
        )
        denied = number in _FORBIDDEN | _NO_DIRECTORY
        raise (DestinationDeniedError if denied else DestinationError)(msg) from error


@contextmanager
def damage_told(path: str, table: str) -> Iterator[None]:
    """Name the file of which something cannot be read.

    Raises:
        FileNotFoundError: It is not there, which is for others to judge.
        DestinationError: It is damaged.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        msg = (
            f"{path} cannot be read as the Parquet file it was: {first_line(error)}. Put back a "
            f"copy of it, or run table {table!r} with full_refresh: true."
        )
        raise DestinationError(msg) from error


def first_line(error: BaseException) -> str:
    """Give what matters of a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _advice(number: int | None, root: str) -> str:
    if number in _FULL:
        return f"Make room in {root}, then run again."
    if number in _FORBIDDEN:
        return f"Allow writing to {root}, then run again."
    if number in _NO_DIRECTORY:
        return "Name a directory, or move away the file that has its name; then run again."
    return "Run again once the cause is gone."
