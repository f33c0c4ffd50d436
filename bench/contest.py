"""Runs contenders at the same work in turns, each run in its own process, and checks results."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import duckdb

from bench.contenders.task import Task
from bench.environments import ROOT, environment
from bench.network import Network
from bench.workloads import Workload
from s3pq_dagster_tests.servers import ACCESS_KEY, REGION, SECRET_KEY

_DUCKDB = "1.5.5"
"""The latest version for which the registry has the httpfs extension."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A tool or method that does the work."""

    module: str
    """The module's name in ``bench.contenders``."""
    name: str
    packages: tuple[str, ...] = ()
    """Packages to install in a separate environment; empty if this one has all."""
    does: Literal["load", "read", "nothing"] = "load"
    """Whether its tables' rows are counted, it reports how many rows it read, or neither."""

    def python(self) -> Path | None:
        """Return its interpreter, or ``None`` if its packages cannot be installed."""
        if not self.packages:
            return Path(sys.executable)
        return environment(self.module.replace("_", "-"), *self.packages)


OURS = Contender("ours", "s3pq_dagster")
DAGSTER = Contender("dagster_alone", "Dagster alone, assets that do nothing", does="nothing")
FILES = Contender("duckdb_files", "DuckDB, local files")
DUCKDB_S3 = Contender(
    "duckdb_s3", "DuckDB over S3", (f"duckdb=={_DUCKDB}", f"duckdb-extension-httpfs=={_DUCKDB}")
)
DLT = Contender("dlt_filesystem", "dlt filesystem", ("dlt[filesystem,duckdb,parquet]", "s3fs"))
POLARS = Contender("polars_scan", "Polars scan_parquet")
SYNC, TICK, LISTING = (f"{OURS.name}, {what}" for what in ("a sync", "a tick", "the listing alone"))
"""Contenders timed on a bucket that is already loaded."""
READER, INTO_DUCKDB = (f"{OURS.name}, {what}" for what in ("the reader alone", "into DuckDB"))
"""Contenders that read the huge object."""
LONG_BATCHES = Contender("ours_long_batches", f"{OURS.name}, rows_per_record: 65536")
CONTENDERS = (
    OURS,
    DAGSTER,
    FILES,
    DUCKDB_S3,
    DLT,
    POLARS,
    Contender("pyarrow_dataset", "pyarrow.dataset"),
    Contender("cq_source_s3", "cq-source-s3's way, transcribed"),
    Contender(
        "airbyte_read", "airbyte-source-s3, reading only", ("airbyte-source-s3",), does="read"
    ),
)

HIVE_READERS = (OURS, DAGSTER, FILES, DUCKDB_S3, POLARS)
"""Contenders that make columns of Hive partitions."""


@dataclass(frozen=True, slots=True)
class Run:
    """The measurements of one process."""

    seconds: float
    processor: float
    """Processor seconds of the contender's process."""
    idle: int
    """Memory before the work, in bytes."""
    peak: int
    requests: int
    said: dict[str, Any] = field(default_factory=dict)
    """Further figures that the contender reports."""


@dataclass(slots=True)
class Score:
    """The runs of one contender at one work."""

    work: str
    name: str
    version: str
    runs: list[Run] = field(default_factory=list)
    note: str = ""
    stopped_after: float | None = None
    """The limit in seconds, if the contender exceeded it and was stopped."""

    @property
    def seconds(self) -> float | None:
        """The median time in seconds."""
        return statistics.median(run.seconds for run in self.runs) if self.runs else None

    def as_json(self) -> dict[str, Any]:
        """Convert to what :meth:`of_json` accepts."""
        return asdict(self)

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> "Score":
        """Restore a stored score."""
        return cls(**found | {"runs": [Run(**run) for run in found["runs"]]})


@dataclass(slots=True)
class Contest:
    """A workload at one latency."""

    workload: Workload
    files: Path
    network: Network
    latency_seconds: float
    times: int
    limit_seconds: float

    @property
    def work(self) -> str:
        return f"{self.workload.name}, {self.latency_seconds * 1000:.0f} ms"

    def play(self, contenders: Sequence[Contender]) -> list[Score]:
        """Run all contenders in turns; one that exceeds the limit is not run again."""
        found = [(c, python) for c in contenders if (python := c.python()) is not None]
        scores = [Score(self.work, c.name, _version(python, c)) for c, python in found]
        for turn in range(self.times):
            for (contender, python), score in zip(found, scores, strict=True):
                if not score.note:
                    self._run(contender, python, score)
                    self._say(turn, score)
        return scores

    def _run(self, contender: Contender, python: Path, score: Score) -> None:
        with tempfile.TemporaryDirectory(prefix="s3pq-bench-") as directory:
            task = Task(
                endpoint=self.network.endpoint,
                region=REGION,
                bucket=self.workload.bucket,
                tables=self.workload.table_names,
                files=str(self.files),
                directory=directory,
                glob=self.workload.glob,
            )
            self.network.set(self.latency_seconds)
            try:
                said = run(python, contender.module, task, limit_seconds=self.limit_seconds)
            except subprocess.TimeoutExpired:
                score.stopped_after = self.limit_seconds
                score.note = f"stopped after {self.limit_seconds:.0f} s"
                return
            except RuntimeError as error:
                score.note = str(error)
                return
            rows = _rows(task) if contender.does == "load" else said.pop("rows", 0)
            if contender.does != "nothing" and rows != self.workload.all_rows:
                score.note = f"{rows} rows instead of {self.workload.all_rows}"
            score.runs.append(run_of(said, self.network.requests))

    def _say(self, turn: int, score: Score) -> None:
        last = f"{score.runs[-1].seconds:.1f} s" if score.runs else ""
        print(f"{self.work}, turn {turn + 1}: {score.name} {last} {score.note}", file=sys.stderr)


def run_of(said: dict[str, Any], requests: int) -> Run:
    """Make a run from its process's output."""
    known = {name: said.pop(name) for name in ("seconds", "processor", "idle", "peak")}
    return Run(**known, requests=requests, said=said)


def run(python: Path, module: str, task: Task, *, limit_seconds: float) -> dict[str, Any]:
    """Run a contender and return its output.

    Raises:
        subprocess.TimeoutExpired: It takes longer than that, and was killed.
        RuntimeError: It failed.
    """
    command = [str(python), "-m", f"bench.contenders.{module}", json.dumps(asdict(task))]
    env = os.environ | {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "DAGSTER_HOME": task.directory,
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(ROOT),
    }
    with subprocess.Popen(
        command,
        cwd=task.directory,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, errors = process.communicate(timeout=limit_seconds)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise RuntimeError(f"failed: {' / '.join(errors.strip().splitlines()[-2:])}")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _version(python: Path, contender: Contender) -> str:
    command = [str(python), "-m", f"bench.contenders.{contender.module}", "--version"]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return found.stdout.splitlines()[-1]


def _rows(task: Task) -> int:
    """Count what is there; a row that is there twice, or lacks its partition, counts as none."""
    counted = "count(day || hour)" if task.is_hive else "count(*)"
    with duckdb.connect(task.database, read_only=True) as connection:
        found = 0
        for table in task.tables:
            row = connection.execute(
                f"SELECT {counted}, count(DISTINCT _cq_id) FROM {table}"
            ).fetchone()
            assert row is not None
            rows, ids = row
            found += rows if rows == ids else 0
    return found


def discard(directory: Path) -> None:
    """Empty a directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
