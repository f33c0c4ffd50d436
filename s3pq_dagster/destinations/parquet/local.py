"""A root that is a local directory."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.destinations.parquet.storage import UncertainSwapError
from s3pq_dagster.errors import DestinationError, DestinationLockedError


class LocalTurn:
    """A turn that the kernel guards: it ends with its process."""

    is_taken_over = False

    def check(self) -> None:
        """See :meth:`Turn.check`."""

    def abandon(self) -> None:
        """See :meth:`Turn.abandon`: nobody else's write is still on its way to a disk."""


class LocalStorage:
    """Files below a local directory; see :class:`Storage`."""

    def __init__(self, root: str, *, lock_timeout_seconds: float, log: logging.Logger) -> None:
        self._root = Path(root).absolute()
        self._lock_timeout_seconds = lock_timeout_seconds
        self._log = log

    def names(self, folder: str) -> set[str]:
        """See :meth:`Storage.names`."""
        try:
            with os.scandir(self._root / folder) as found:
                return {entry.name for entry in found if not entry.is_dir()}
        except FileNotFoundError:
            return set()

    def get(self, path: str) -> tuple[bytes, str] | None:
        """See :meth:`Storage.get`."""
        try:
            with (self._root / path).open("rb") as file:
                return file.read(), _version(os.fstat(file.fileno()))
        except FileNotFoundError:
            return None

    def version(self, path: str) -> str | None:
        """See :meth:`Storage.version`."""
        try:
            return _version((self._root / path).stat())
        except FileNotFoundError:
            return None

    def swap(self, path: str, content: bytes, version: str | None) -> str:
        """See :meth:`Storage.swap`."""
        if self.version(path) != version:
            msg = (
                f"{self._root / path} was changed by somebody who did not wait for his turn; "
                f"nothing of this checkpoint is written. Run again."
            )
            raise DestinationError(msg)
        target = self._root / path
        made = self._written(target, content)
        made.replace(target)
        try:
            _sync(target.parent)
            return _version(target.stat())
        except OSError as error:
            msg = f"{target} is written, but perhaps not safely on its disk: {error}. Run again."
            raise UncertainSwapError(msg) from error

    def put(self, path: str, content: bytes) -> None:
        """See :meth:`Storage.put`."""
        self._written(self._root / path, content).replace(self._root / path)

    def open(self, path: str) -> pa.NativeFile:
        """See :meth:`Storage.open`."""
        return pa.OSFile(str(self._root / path), "rb")

    @contextmanager
    def create(self, path: str) -> Iterator[pa.NativeFile]:
        """See :meth:`Storage.create`."""
        target = self._root / path
        self._make(target.parent)
        try:
            with pa.OSFile(str(target), "wb") as file:
                yield file
            _sync(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def flush(self, folder: str) -> None:
        """See :meth:`Storage.flush`."""
        with suppress(FileNotFoundError):
            _sync(self._root / folder)

    def move(self, moves: Mapping[str, str]) -> None:
        """See :meth:`Storage.move`."""
        folders = {(self._root / target).parent for target in moves.values()}
        for folder in folders:
            self._make(folder)
        for source, target in moves.items():
            with suppress(FileNotFoundError):
                (self._root / source).replace(self._root / target)
        for folder in folders:
            _sync(folder)

    def delete(self, paths: Iterable[str]) -> None:
        """See :meth:`Storage.delete`."""
        for path in paths:
            (self._root / path).unlink(missing_ok=True)

    @contextmanager
    def turn(self, path: str) -> Iterator[LocalTurn]:
        """See :meth:`Storage.turn`."""
        lock = self._root / path
        self._make(lock.parent)
        with lock.open("ab") as file:
            wait_for_lock(
                lambda: _take(file.fileno(), lock),
                timeout_seconds=self._lock_timeout_seconds,
                log=self._log,
                first_pause_seconds=0.02,
                longest_pause_seconds=2,
                root=self._root,
            )
            try:
                yield LocalTurn()
            finally:
                # Explicitly: a process forked meanwhile has the file open as well.
                fcntl.flock(file.fileno(), fcntl.LOCK_UN)

    def close(self) -> None:
        """See :meth:`Storage.close`: nothing is open."""

    def _written(self, target: Path, content: bytes) -> Path:
        """Write beside a file, under a name that no glob finds."""
        made = target.with_name(f"{target.name}.new")
        self._make(target.parent)
        try:
            with made.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            made.unlink(missing_ok=True)
            raise
        return made

    def _make(self, folder: Path) -> None:
        """Make a directory, durably."""
        if folder.is_dir():
            return
        if folder != folder.parent:
            self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _take(descriptor: int, lock: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise
        msg = f"another process or thread writes this table: it has locked {lock}"
        raise DestinationLockedError(msg) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _version(found: os.stat_result) -> str:
    return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
