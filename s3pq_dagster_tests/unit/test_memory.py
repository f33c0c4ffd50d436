"""How much memory there is, and which bounds follow from it."""

from pathlib import Path

import pytest

from s3pq_dagster.memory import RESERVED_BYTES, bound, engine_limit, memory_limit
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


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (64 * 1024 * MIB, None),
        (4 * 1024 * MIB, 4 * 1024 - 384 - 1000),
        (1600 * MIB, 216),
        (700 * MIB, 64),
    ],
)
def test_an_engine_gets_what_a_run_leaves(limit: int, expected: int | None) -> None:
    """Where there is plenty the engine's own default stays, and it never gets nothing."""
    found = engine_limit(1000 * MIB, limit)
    assert found == (None if expected is None else expected * MIB)


@pytest.mark.parametrize("limit", [700, 1024, 2048, 4096, 8192, 65_536])
def test_what_a_run_takes_by_default_is_there(limit: int) -> None:
    """Objects, the engine and the rest together take no more than the limit."""
    there_is = limit * MIB
    bounds = bound(1024 * MIB, 2, there_is) + bound(64 * MIB, 8, there_is)
    engine = engine_limit(bounds, there_is)
    taken = RESERVED_BYTES + bounds + (there_is * 0.8 if engine is None else engine)
    assert taken <= there_is
