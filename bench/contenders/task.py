"""A contender's task, and the figures it reports at the end."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """Load each table's objects into a table of its own in a DuckDB file."""

    endpoint: str
    region: str
    bucket: str
    tables: list[str]
    files: str
    """The same objects on the local disk, laid out as in the bucket."""
    directory: str
    """An empty directory for whatever the contender writes."""
    glob: str = "*.parquet"
    """Matches all objects of a table, behind its name and a slash."""

    @property
    def is_hive(self) -> bool:
        """Whether objects are in Hive partitions, whose values are columns."""
        return self.glob.startswith("**")

    def begin(self) -> None:
        """Start measuring time, and memory above idle, here."""
        _begun[:] = [_peak(), time.monotonic(), time.process_time()]

    @property
    def database(self) -> str:
        return str(Path(self.directory) / "lake.duckdb")


_begun: list[float] = []
"""Peak memory, time and processor time when the work began."""


def contend(version: str, work: Callable[[Task], Mapping[str, Any] | None]) -> None:
    """Do the work that the command line names; print the time and memory it took.

    Imports are not in the time; what the work says of itself goes along.
    """
    if sys.argv[1:] == ["--version"]:
        print(version)
        return
    task = Task(**json.loads(sys.argv[1]))
    task.begin()
    said = work(task) or {}
    idle, started, processor = _begun
    seconds, processor = time.monotonic() - started, time.process_time() - processor
    found = {"seconds": seconds, "processor": processor, "idle": idle, "peak": _peak()}
    print(json.dumps(found | dict(said)), flush=True)


def _peak() -> int:
    """Return this process's peak memory in bytes.

    Not ``getrusage``'s, which has that of the process that started it as well.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
