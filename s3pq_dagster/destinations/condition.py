"""Whether a destination could be written now, as far as that is told without writing."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LOCKS = Path("/proc/locks")
"""Every lock of a file, as Linux lists them (proc_locks(5)): the kernel's number of the process in
the fifth field, device and inode of the file in the sixth, the device in hexadecimal."""
_PID, _FILE = 4, 5
_WAITS = "->"
"""Marks a line of a process that waits for the lock of the line above."""
_MOUNTS, _OPEN_FILES = Path("/proc/self/mountinfo"), Path("/proc/self/fdinfo")


@dataclass(frozen=True, slots=True)
class Condition:
    """What speaks against writing to a destination."""

    refusal: str | None = None
    """Why nothing could be written; ``None`` if nothing is known that speaks against it."""
    untold: str | None = None
    """What would have to be written to tell; ``None`` if it is told."""
    holders: Mapping[str, str] = field(default_factory=dict)
    """Who is writing which table, by the table's name."""


def refusal_of(path: Path) -> str | None:
    """Say why a file or directory could not be written, or made; ``None`` if nothing is known."""
    there = path
    # Not by Path.exists, which raises an error where a directory above may not be searched.
    while not os.path.exists(there) and there != there.parent:  # noqa: PTH110
        there = there.parent
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        return f"{there} is not writable for this user: allow it, or name another place"
    if there != path and not there.is_dir():
        return f"{there} is a file, not a directory: move it away, or name another place"
    if there.is_file() and not os.access(there, os.W_OK):
        return f"{there} is not writable for this user: allow it"
    return None


def holders_of(locks: Mapping[str, Path]) -> dict[str, str]:
    """Say which process has locked which file, without locking any.

    Args:
        locks: The lock file of each table, whether it exists or not.

    Returns:
        The holder by table; nothing where the system does not tell.
    """
    try:
        held = _held()
        devices = _devices()
    except (OSError, ValueError):
        return {}
    found = {}
    for table, path in locks.items():
        try:
            there = held.get(str(path.stat().st_ino), {})
            device = _device_of(path, devices) if there else None
        except OSError:
            continue
        # By the inode alone where the device is not told: no holder is to be passed over.
        pids = [pid for where, pid in there.items() if device in (None, where)]
        if pids:
            found[table] = f"process {pids[-1]} of this machine, by {path}"
    return found


def _held() -> dict[str, dict[str, str]]:
    """Return the process that holds a lock, by the file's inode and device; no one who waits."""
    found: dict[str, dict[str, str]] = {}
    for line in _LOCKS.read_text(encoding="ascii").splitlines():
        parts = line.split()
        if len(parts) > _FILE and _WAITS not in parts:
            device, _, inode = parts[_FILE].rpartition(":")
            found.setdefault(inode, {})[device] = parts[_PID]
    return found


def _devices() -> dict[str, str]:
    """Return the device of each mount, by its number, as the list of locks writes devices."""
    mounts = [line.split()[:3] for line in _MOUNTS.read_text(errors="replace").splitlines()]
    numbers = {mount: device.split(":") for mount, _, device in mounts}
    return {
        mount: f"{int(major):02x}:{int(minor):02x}" for mount, (major, minor) in numbers.items()
    }


def _device_of(path: Path, devices: Mapping[str, str]) -> str | None:
    """Return the device of a file as the list of locks has it; ``None`` if that is not told.

    It is that of the mount. What stat says is another on overlay and btrfs. The file is opened for
    nothing (O_PATH), so that closing it frees no lock of this process.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        told = (_OPEN_FILES / str(descriptor)).read_text(encoding="ascii")
    finally:
        os.close(descriptor)
    lines = (line.split() for line in told.splitlines())
    return next((devices.get(line[1]) for line in lines if line[:1] == ["mnt_id:"]), None)
