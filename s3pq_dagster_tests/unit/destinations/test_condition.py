"""Who holds a lock file, by what Linux lists of locks."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tenacity import stop_after_delay

from s3pq_dagster.destinations.condition import holders_of
from s3pq_dagster_tests.waiting import again_while

ROOTS = Path("/sys"), Path("/proc")
"""Directories of one inode, 1, in two file systems that every Linux has."""
_WAIT = """
import fcntl, sys
with open(sys.argv[1], "ab") as file:
    print("there", flush=True)
    fcntl.flock(file, fcntl.LOCK_EX)
"""


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Lock a file, or a directory, in this process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def told(path: Path) -> str:
    """Return how this process is named as the holder of a file's lock."""
    return f"process {os.getpid()} of this machine, by {path}"


def test_a_holder_is_named_and_nobody_else_is(tmp_path: Path) -> None:
    """Of a file that is not locked, or not there, nothing is said; nor after the lock is free."""
    held, free = tmp_path / "held", tmp_path / "free"
    for path in (held, free):
        path.touch()
    locks = {"orders": held, "users": free, "new": tmp_path / "missing"}
    with locked(held):
        assert holders_of(locks) == {"orders": told(held)}
    assert holders_of(locks) == {}


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_of_another_file_system_is_not_the_locked_one(number: int) -> None:
    """Inodes are numbers within a file system: the same one in another says nothing."""
    held, other = ROOTS[number], ROOTS[1 - number]
    assert held.stat().st_ino == other.stat().st_ino
    with locked(held, fcntl.LOCK_SH):
        found = holders_of({"held": held, "other": other})
    assert set(found) == {"held"}


def test_another_name_of_the_file_has_the_same_holder(tmp_path: Path) -> None:
    """A link, hard or symbolic, leads to the file that is locked."""
    held, hard, soft = (tmp_path / name for name in ("held", "hard", "soft"))
    held.touch()
    hard.hardlink_to(held)
    soft.symlink_to(held)
    with locked(held):
        assert holders_of({"hard": hard, "soft": soft}) == {"hard": told(hard), "soft": told(soft)}


def test_who_waits_for_a_lock_does_not_hold_it(tmp_path: Path) -> None:
    """The list has those who wait, too; the holder is the other process."""
    held = tmp_path / "held"
    held.touch()
    with locked(held):
        command = [sys.executable, "-c", _WAIT, str(held)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == b"there\n"
            try:
                again_while(lambda found: not found, stop_after_delay(20))(
                    lambda: _is_waiting(waiting.pid)
                )
                assert holders_of({"orders": held}) == {"orders": told(held)}
            finally:
                waiting.kill()


def _is_waiting(pid: int) -> bool:
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any("->" in line and str(pid) in line.split() for line in lines)


def test_looking_frees_no_lock_of_this_process(tmp_path: Path) -> None:
    """Locks of the kind that DuckDB takes are freed where the process closes any file of theirs."""
    held = tmp_path / "held"
    with held.open("ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        for _ in range(2):
            assert holders_of({"orders": held}) == {"orders": told(held)}
