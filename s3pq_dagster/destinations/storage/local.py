"""A directory as a storage: atomic and durable writes, and locks that the kernel guards."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from s3pq_dagster.destinations.condition import Condition, holders_of, refusal_of
from s3pq_dagster.destinations.lock_wait import wait_for_lock
from s3pq_dagster.destinations.storage.protocol import FileInfo, StoredFile, UncertainSwapError
from s3pq_dagster.errors import DestinationError, DestinationLockedError


class LocalLock:
    """A lock that the kernel frees when its process ends."""

    is_taken_over = False

    def check(self) -> None:
        """See :meth:`Lock.check`: nobody can take it over."""

    def abandon(self) -> None:
        """See :meth:`Lock.abandon`: a local write does not arrive later, so nobody has to wait."""


class LocalStorage:
    """Files below a directory of a local or mounted file system; see :class:`Storage`."""

    is_local = True

    def __init__(self, root: Path, *, lock_timeout_seconds: float, log: logging.Logger) -> None:
        self._root = root
        self._lock_timeout_seconds = lock_timeout_seconds
        self._log = log
        self.root = str(root)

    def object_store_options(self) -> None:
        """See :meth:`Storage.object_store_options`: a path needs none."""

    def condition(self, locks: Mapping[str, str]) -> Condition:
        """See :meth:`Storage.condition`."""
        files = {table: self._root / path for table, path in locks.items()}
        written = [self._root, *files.values(), *(self._root / table for table in files)]
        refusals = filter(None, map(refusal_of, written))
        return Condition(next(refusals, None), holders=holders_of(files))

    def check_folder(self, path: str) -> None:
        """See :meth:`Storage.check_folder`."""
        for each in (self._root, self._root / path):
            if each.exists() and not each.is_dir():
                msg = f"{each} is a file, not a directory: move it away, or name another root"
                raise DestinationError(msg)

    def names(self, folder: str, *, recursive: bool = False) -> set[str]:
        """See :meth:`Storage.names`."""
        top = self._root / folder
        if recursive:
            return {
                str(Path(parent, name).relative_to(top))
                for parent, _, names in os.walk(top)
                for name in names
            }
        try:
            with os.scandir(top) as found:
                return {entry.name for entry in found if not entry.is_dir()}
        except FileNotFoundError:
            return set()

    def stat(self, path: str) -> FileInfo | None:
        """See :meth:`Storage.stat`."""
        try:
            return _info((self._root / path).stat())
        except FileNotFoundError:
            return None

    def get(self, path: str) -> StoredFile | None:
        """See :meth:`Storage.get`."""
        try:
            with (self._root / path).open("rb") as file:
                return StoredFile(file.read(), _info(os.fstat(file.fileno())).version)
        except FileNotFoundError:
            return None

    def open(self, path: str) -> pa.NativeFile:
        """See :meth:`Storage.open`: an open file stays what it was when another replaces it."""
        return pa.OSFile(str(self._root / path), "rb")

    def put(self, path: str, content: bytes) -> None:
        """See :meth:`Storage.put`."""
        self._written(self._root / path, content).replace(self._root / path)

    def swap(self, path: str, content: bytes, version: str | None) -> str:
        """See :meth:`Storage.swap`."""
        target = self._root / path
        found = self.stat(path)
        if (None if found is None else found.version) != version:
            msg = (
                f"{target} was changed by a process that did not take the table's lock; nothing of "
                f"this checkpoint is written. Run again."
            )
            raise DestinationError(msg)
        made = self._written(target, content)
        made.replace(target)
        try:
            _sync(target.parent)
            return _info(target.stat()).version
        except OSError as error:
            msg = f"{target} is written, but perhaps not safely on its disk: {error}. Run again."
            raise UncertainSwapError(msg) from error

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

    def flush_files(self, paths: Iterable[str]) -> None:
        """See :meth:`Storage.flush_files`."""
        files = [self._root / path for path in paths]
        folders = {parent for file in files for parent in file.parents}
        below = {folder for folder in folders if folder.is_relative_to(self._root)}
        for each in [*files, *sorted(below, reverse=True)]:
            with suppress(FileNotFoundError):
                _sync(each)

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
    def lock(self, path: str, *, wait: bool = True) -> Iterator[LocalLock]:
        """See :meth:`Storage.lock`."""
        file = self._root / path
        self._make(file.parent)
        with file.open("ab") as opened:
            wait_for_lock(
                lambda: _take(opened.fileno(), file),
                timeout_seconds=self._lock_timeout_seconds if wait else 0,
                log=self._log,
                first_pause_seconds=0.02,
                longest_pause_seconds=2,
                lock=file,
            )
            try:
                yield LocalLock()
            finally:
                # Not by closing the file: a process forked meanwhile has it open too.
                fcntl.flock(opened.fileno(), fcntl.LOCK_UN)

    def close(self) -> None:
        """See :meth:`Storage.close`: nothing is open."""

    def _written(self, target: Path, content: bytes) -> Path:
        """Write content beside a file, durably, under a name that no glob finds."""
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
        """Create a directory and those above it, durably."""
        if folder.is_dir():
            return
        if folder != folder.parent:
            self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _take(descriptor: int, lock: Path) -> None:
    """Lock an open file; the kernel frees it when the process ends, however that comes about."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise
        msg = f"another process, or thread, writes this table: it has locked {lock}"
        raise DestinationLockedError(msg) from error


def _sync(path: Path) -> None:
    """Flush a file's content, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _info(found: os.stat_result) -> FileInfo:
    version = f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
    return FileInfo(found.st_size, version)
