"""How much memory this process may take, and the bounds that follow from it."""

import os
from contextlib import suppress
from pathlib import Path

_MIB = 1024 * 1024
RESERVED_BYTES = 384 * _MIB
"""What a run takes besides objects: Python, Dagster, Arrow and the driver of a destination."""
_ENGINE_PERCENT = 80
"""DuckDB takes so much of the memory there is, by its own default."""
_LEAST_ENGINE_BYTES = 64 * _MIB
"""An engine gets at least so much: with less it cannot write a row group."""


def memory_limit(root: Path = Path("/")) -> int:
    """Return how many bytes of memory there are for this process.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.

    Returns:
        The machine's memory or, if it is less, the lowest limit of the control groups that the
        process is in (Linux kernel documentation, "Control Group v2" and "Memory Resource
        Controller").
    """
    return min([_machine_bytes(), *_group_limits(root)])


def bound(most: int, share: int, limit: int | None = None) -> int:
    """Return a part of the memory there is, for use as a bound.

    Args:
        most: The bound where there is plenty.
        share: The bound is at most this part of what is not reserved: 2 for a half.
        limit: The memory there is; by default :func:`memory_limit`.

    Returns:
        At least a sixteenth of ``most``, since nothing can be done with less.
    """
    left = (memory_limit() if limit is None else limit) - RESERVED_BYTES
    return max(most // 16, min(most, left // share))


def engine_limit(bounds: int, limit: int | None = None) -> int | None:
    """Return how much memory an engine within this process may take beside a run.

    Args:
        bounds: What the run's objects may take.
        limit: The memory there is; by default :func:`memory_limit`.

    Returns:
        ``None`` if the engine's own default leaves enough to the run.
    """
    there_is = memory_limit() if limit is None else limit
    left = max(_LEAST_ENGINE_BYTES, there_is - RESERVED_BYTES - bounds)
    return left if left * 100 < there_is * _ENGINE_PERCENT else None


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_limits(root: Path) -> list[int]:
    """Return the limits of the process's control groups and of those above them."""
    found = []
    for top, group, name in _groups(root):
        # In a container the path may be that of the host, of which only the top is mounted.
        for folder in [top, *_folders(top, group)]:
            with suppress(OSError, ValueError):  # not there, or "max"
                found.append(int((folder / name).read_text(encoding="ascii")))
    return found


def _groups(root: Path) -> list[tuple[Path, str, str]]:
    """Return where each hierarchy with memory limits is, the group in it, and the file's name."""
    mounted = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for number, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if number == "0":
            found.append((mounted, path, "memory.max"))
        elif "memory" in controllers.split(","):
            found.append((mounted / "memory", path, "memory.limit_in_bytes"))
    return found


def _folders(top: Path, group: str) -> list[Path]:
    parts = [part for part in group.split("/") if part not in {"", ".", ".."}]
    return [top.joinpath(*parts[: count + 1]) for count in range(len(parts))]
