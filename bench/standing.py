"""The cost of a loaded bucket: nothing new, ten new objects, a million keys listed."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq

from bench.contenders.task import Task
from bench.contest import DAGSTER, LISTING, OURS, SYNC, TICK, Score, run, run_of
from bench.environments import ROOT
from bench.network import Network
from bench.rows import mixed
from bench.workloads import open_bucket
from s3pq_dagster_tests.servers import REGION

_TABLES = 20
_OBJECTS = 200_000
_WALL = 1_000_000
_NEW = 10
_BUCKET = "bench-standing"
_LATENCY_SECONDS = 0.03
_UPLOADS = 32
_PREPARE_SECONDS = 7200
_OURS = f"s3pq_dagster {version('s3pq-dagster')}"


@dataclass(frozen=True, slots=True)
class Standing:
    """A bucket of 200,000 objects of ten rows in 20 tables, all loaded by an earlier sync."""

    directory: Path
    server: str
    network: Network

    @property
    def _task(self) -> Task:
        return Task(
            endpoint=self.network.endpoint,
            region=REGION,
            bucket=_BUCKET,
            tables=[f"t{number:03}" for number in range(_TABLES)],
            files="",
            directory=str(self.directory / "standing"),
        )

    def prepare(self) -> None:
        """Create the objects and load them, unless an earlier run did."""
        made = self.directory / "standing.made"
        if made.exists():
            return
        (self.directory / "standing").mkdir(exist_ok=True)
        self._put(f"{n % _TABLES:03}/{n:07}" for n in range(_OBJECTS))
        self.network.set(0)
        run(Path(sys.executable), "ours", self._task, limit_seconds=_PREPARE_SECONDS)
        made.touch()

    def idle(self, times: int) -> list[Score]:
        """Time a sync and a sensor tick with nothing new, and the listing and Dagster alone."""
        self.prepare()
        timed = {
            "ours": Score("idle, 30 ms", SYNC, _OURS),
            "ours_tick": Score("idle, 30 ms", TICK, _OURS),
            "ours_listing": Score("idle, 30 ms", LISTING, _OURS),
            DAGSTER.module: Score("idle, 30 ms", DAGSTER.name, f"dagster {version('dagster')}"),
        }
        for _ in range(times):
            for module, score in timed.items():
                self._time(score, module)
        return list(timed.values())

    def drip(self, times: int) -> list[Score]:
        """Time a sync with ten new objects."""
        self.prepare()
        score = Score("drip, 30 ms", OURS.name, _OURS)
        for _ in range(times):
            self._put(f"{n:03}/{uuid4()}" for n in range(_NEW))
            self._time(score, "ours")
            if score.runs[-1].said["rows"] != _NEW * 10:
                score.note = f"{score.runs[-1].said['rows']} rows instead of {_NEW * 10}"
        return [score]

    def _time(self, score: Score, module: str) -> None:
        self.network.set(_LATENCY_SECONDS)
        said = run(Path(sys.executable), module, self._task, limit_seconds=_PREPARE_SECONDS)
        score.runs.append(run_of(said, self.network.requests))
        print(f"{score.work}: {score.name} {score.runs[-1].seconds:.1f} s", file=sys.stderr)

    def _put(self, names: Iterator[str]) -> None:
        bucket = open_bucket(self.server, _BUCKET)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(mixed(np.random.default_rng(1), 0, 10)), sink)
        body = sink.getvalue().to_pybytes()

        def put(name: str) -> None:
            obstore.put(bucket, f"t{name}.parquet", body)

        with ThreadPoolExecutor(_UPLOADS) as pool:
            for _ in pool.map(put, names):
                pass


def wall(directory: Path, times: int, *, count: int = _WALL) -> list[Score]:
    """Time the listing of a million keys; a tenth of the odd ones is of each kind."""
    score = Score("wall", LISTING, _OURS)
    with _listing_server(count) as endpoint:
        task = Task(endpoint, REGION, "keys", [], "", str(directory))
        for _ in range(times):
            said = run(Path(sys.executable), "ours_listing", task, limit_seconds=_PREPARE_SECONDS)
            if said["rows"] != count:
                score.note = f"{said['rows']} keys instead of {count}"
            score.runs.append(run_of(said, 0))
    each = min(run.processor for run in score.runs) / count * 1e6
    score.note = score.note or f"{each:.1f} µs of processor time a key"
    return [score]


@contextmanager
def _listing_server(count: int) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.listing_server", str(count)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
