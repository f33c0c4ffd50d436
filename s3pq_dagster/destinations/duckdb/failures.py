"""Turns errors of DuckDB into errors of this package."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import duckdb

from s3pq_dagster.destinations.outcomes import ONLY_READ, ROLLED_BACK
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
    RefusedRowsError,
)

_DAMAGED = "Corrupt database file"
"""What DuckDB says of a block that does not match its checksum."""
_NO_ACCESS = "Permission denied"
_OF_VALUES = (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException)
"""Classes of errors that say something of the values, and nothing of file, memory or locks."""
_OF_STREAM = "reading the stream"
"""How DuckDB begins to say that the stream of rows raised an error."""


@contextmanager
def translated(
    path: Path, also: type[Exception] = duckdb.Error, *, writes: bool = True
) -> Iterator[None]:
    """Raise a :class:`DestinationError` that names the file in place of DuckDB's errors.

    Args:
        path: The file.
        also: A further class of errors that DuckDB raises; its Arrow streams raise
            :class:`OSError`.
        writes: Whether there is a transaction that the error rolls back.
    """
    try:
        yield
    except (duckdb.Error, also) as error:
        if _DAMAGED in str(error):
            raise _damaged(path, error) from error
        outcome = ROLLED_BACK if writes else ONLY_READ
        msg = f"DuckDB could not do as asked in {path}: {first_line(error)}. {outcome}"
        raise DestinationError(msg) from error


def reads(path: Path, also: type[Exception] = duckdb.Error) -> AbstractContextManager[None]:
    """Translate errors like :func:`translated`, for what changes nothing in the file."""
    return translated(path, also, writes=False)


def _damaged(path: Path, error: Exception) -> DestinationDeniedError:
    return DestinationDeniedError(
        f"{path} is damaged: {first_line(error)}. Put back a copy of it and of its .wal file; or "
        f"move it away, and every object is loaded into a new one. Trying again does not help "
        f"before that."
    )


def after_commit(path: Path, error: DestinationError, *, stands: bool | None) -> DestinationError:
    """Build the error for a COMMIT that failed, once somebody has looked whether it stands.

    Args:
        path: The file.
        error: What :func:`translated` raised.
        stands: Whether the transaction is committed; ``None`` if that cannot be told now.
    """
    found = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
    outcome = {
        True: "The transaction is committed all the same, as a look into the file shows: only "
        "what DuckDB does after a commit failed",
        False: "The transaction is rolled back, as a look into the file shows",
        None: "Whether the transaction is committed could not be looked up; the next run finds out",
    }[stands]
    return DestinationError(
        f"DuckDB failed to commit into {path}: {found}. {outcome}. Run again once the cause is "
        f"gone: what is committed is not read again."
    )


@contextmanager
def refusals_told() -> Iterator[None]:
    """Raise a :class:`RefusedRowsError` where DuckDB refuses a value that is inserted.

    Other errors pass: a stream that fails, a full disk, a lack of memory.
    """
    try:
        yield
    except _OF_VALUES as error:
        found = first_line(error)
        if _OF_STREAM in found:
            raise
        reason = f"DuckDB refuses a value: {found}"
        msg = (
            f"{reason}. Convert the column in every object of the table, or leave the table out "
            f"with `skip_tables`."
        )
        raise RefusedRowsError(msg, reason=reason) from error


def first_line(error: Exception) -> str:
    """Return the first line of DuckDB's message, or the error's class if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_there(path: Path) -> bool:
    """Return whether a file exists.

    Raises:
        DestinationDeniedError: A directory above it may not be searched.
    """
    try:
        path.stat()  # Path.exists of some releases of Python says False of what it may not see
    except PermissionError as error:
        raise _forbidden(path, str(error)) from error
    except OSError:
        return False
    return True


def _forbidden(path: Path, found: str) -> DestinationDeniedError:
    return DestinationDeniedError(
        f"cannot open {path}: {found}. Allow this user to search the directories above it, and to "
        f"read and write the file and its directory, or name another file."
    )


def cannot_open(path: Path, memory_limit: str | None, error: duckdb.Error) -> DestinationError:
    """Return the error for a file that DuckDB does not open.

    Args:
        path: The file.
        memory_limit: What DuckDB was told to use at most.
        error: DuckDB's.
    """
    found = first_line(error)
    if "Could not set lock" in found:
        return DestinationLockedError(f"{path} is open in another process: {found}")
    if _NO_ACCESS in found:
        return _forbidden(path, found)
    if "Unique file handle conflict" in found:
        return in_use(path, found)
    if memory_limit and not _is_limit(memory_limit):
        return DestinationDeniedError(
            f"DuckDB does not take memory_limit {memory_limit!r}: {found}. Give it as "
            f"'1GB', say, or leave it out."
        )
    return DestinationError(
        f"cannot open {path} as a DuckDB file: {found}. If it is damaged, "
        f"put back a copy of it and of its .wal file; if it is empty or something else, move "
        f"it away or name another file: every object is then loaded into a new one."
    )


def in_use(path: Path, found: str) -> DestinationLockedError:
    """Build the error for a file that this process has open in another way."""
    return DestinationLockedError(
        f"{path} is open in this process with another configuration: {found}. Close that "
        f"connection."
    )


def _is_limit(memory_limit: str) -> bool:
    """Return whether DuckDB accepts a memory limit."""
    try:
        duckdb.connect(config={"memory_limit": memory_limit}).close()
    except duckdb.Error:
        return False
    return True
