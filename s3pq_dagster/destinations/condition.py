"""Whether a destination could be written now, as far as that is told without writing."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LOCKS = Path("/proc/locks")
"""Every lock of a file, as Linux lists them (proc_locks(5)): the kernel's number of the process in
the fifth field, device and inode of the file in the sixth."""
_PID, _FILE = 4, 5


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
        held = [line.split() for line in _LOCKS.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return {}
    by_inode = {
        parts[_FILE].rpartition(":")[2]: parts[_PID] for parts in held if len(parts) > _FILE
    }
    found = {}
    for table, path in locks.items():
        try:
            inode = str(path.stat().st_ino)
        except OSError:
            continue
        if inode in by_inode:
            found[table] = f"process {by_inode[inode]} of this machine, by {path}"
    return found
