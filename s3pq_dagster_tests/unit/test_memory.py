"""How much memory there is, and which bounds follow from it."""

from pathlib import Path

import pytest

from s3pq_dagster.memory import RESERVED_BYTES, bound, memory_limit
from s3pq_dagster.spec import MIB


def made(root: Path, files: dict[str, str]) -> Path:
    """Make a ``proc`` and a ``sys`` with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "700\n"},
            700,
        ),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "600\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            600,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/\n4:memory:/docker/x\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "500\n",
            },
            500,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/../up:x\n",
                "sys/fs/cgroup/memory/up:x/memory.limit_in_bytes": "400",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            400,
        ),
    ],
    ids=["v2 in a container", "v2 of the group above", "v1 in a container", "v1"],
)
def test_the_lowest_limit_counts(tmp_path: Path, files: dict[str, str], limit: int) -> None:
    """Control groups of both versions are looked at, with those above them."""
    assert memory_limit(made(tmp_path, files)) == limit


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "no colons\n::\n"},
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"},
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "\n"},
    ],
)
def test_without_a_limit_the_machine_counts(tmp_path: Path, files: dict[str, str]) -> None:
    """Files that are missing or say nothing are no limit."""
    assert memory_limit(made(tmp_path, files)) == memory_limit(tmp_path / "nothing")
    assert memory_limit(tmp_path / "nothing") > 64 * MIB


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (64 * 1024 * MIB, 1024),
        (RESERVED_BYTES + 1000 * MIB, 500),
        (RESERVED_BYTES, 64),
        (0, 64),
    ],
)
def test_a_bound_is_a_part_of_what_there_is(limit: int, expected: int) -> None:
    """Where there is plenty the bound is what it always was, and it is never nothing."""
    assert bound(1024 * MIB, 2, limit) == expected * MIB
