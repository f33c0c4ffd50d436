"""A directory: durable writes, and one lock file a table."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from filelock import FileLock, Timeout

from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.errors import DestinationError, DestinationLockedError

_LOCKS = "_s3pq_locks"


class LocalDirectory:
    """A directory of a local or mounted file system; see :class:`Storage`."""

    takes_turns = True
    may_tear = True

    def __init__(self, root: Path, *, lock_timeout_seconds: float, log: logging.Logger) -> None:
        self._root = root
        self._lock_timeout_seconds = lock_timeout_seconds
        self._log = log
        self.shown = str(root)

    def uri(self, table: str) -> str:
        """See :meth:`Storage.uri`."""
        return str(self._root / table)

    def options(self) -> None:
        """No options are needed."""

    def make_root(self) -> None:
        """See :meth:`Storage.make_root`."""
        self.check_directory("")
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            (self._root / _LOCKS).mkdir(exist_ok=True)
        except OSError as error:
            msg = (
                f"cannot create {self._root}: {error}. Make room, or allow writing to "
                f"{self._root.parent}, then run again: nothing is written yet."
            )
            raise DestinationError(msg) from error

    def check_directory(self, path: str) -> None:
        """See :meth:`Storage.check_directory`."""
        wanted = self._root / path
        for each in (self._root, wanted):
            if each.exists() and not each.is_dir():
                msg = f"{each} is a file, not a directory: move it away, or name another root"
                raise DestinationError(msg)

    @contextmanager
    def new_file(self, path: str) -> Iterator[Path]:
        """See :meth:`Storage.new_file`."""
        file = self._root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield file
            _sync(file)
        except BaseException:
            file.unlink(missing_ok=True)
            raise

    def put(self, path: str, data: bytes) -> None:
        """See :meth:`Storage.put`."""
        file = self._root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        made = file.with_name(f".{uuid4().hex}.tmp")
        try:
            made.write_bytes(data)
            _sync(made)
            os.replace(made, file)  # noqa: PTH105 - the kills watch it here
        except BaseException:
            made.unlink(missing_ok=True)
            raise
        _sync(file.parent)

    def get(self, path: str) -> bytes | None:
        """See :meth:`Storage.get`."""
        with suppress(FileNotFoundError):
            return (self._root / path).read_bytes()
        return None

    def open_file(self, path: str) -> Any:
        """See :meth:`Storage.open_file`."""
        return pa.memory_map(str(self._root / path))

    def size(self, path: str) -> int | None:
        """See :meth:`Storage.size`."""
        with suppress(FileNotFoundError):
            return (self._root / path).stat().st_size
        return None

    def names(self, directory: str) -> list[str]:
        """See :meth:`Storage.names`."""
        top = self._root / directory
        return [
            str(Path(parent, name).relative_to(top))
            for parent, _, names in os.walk(top)
            for name in names
        ]

    def delete(self, paths: Iterable[str]) -> None:
        """See :meth:`Storage.delete`."""
        for path in paths:
            (self._root / path).unlink(missing_ok=True)

    def settle(self, paths: Iterable[str]) -> None:
        """See :meth:`Storage.settle`."""
        files = [self._root / path for path in paths]
        for file in files:
            with suppress(FileNotFoundError):
                _sync(file)
        parents = {parent for file in files for parent in file.parents}
        above = {parent for parent in parents if parent.is_relative_to(self._root)}
        for directory in sorted(above, reverse=True):
            with suppress(FileNotFoundError):
                _sync(directory)

    @contextmanager
    def lock(self, table: str, *, wait: bool) -> Iterator[bool]:
        """See :meth:`Storage.lock`."""
        file = self._root / _LOCKS / f"{table}.lock"
        if not file.parent.exists():
            yield False  # nobody has written here yet
            return
        # Commits come from another thread than the one that opened the table.
        lock = FileLock(file, thread_local=False)
        try:
            if wait:
                wait_for_lock(
                    lambda: _acquire(lock, file),
                    timeout_seconds=self._lock_timeout_seconds,
                    log=self._log,
                    first_pause_seconds=0.02,
                    longest_pause_seconds=2,
                    lock=file,
                )
            else:
                lock.acquire(timeout=0)
        except (Timeout, OSError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def _acquire(lock: FileLock, file: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"another process, or thread, writes this table: it holds {file}"
        raise DestinationLockedError(msg) from error
    except OSError as error:
        msg = f"cannot lock {file}: {error}. Allow writing to {file.parent}, then run again."
        raise DestinationError(msg) from error


def _sync(path: Path) -> None:
    """Flush a file or the names in a directory to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
