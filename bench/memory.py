"""The memory that one object of 4 GB takes, in one row group and in a hundred."""

import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq

from bench.contenders.task import Task
from bench.contest import INTO_DUCKDB, READER, Score, run, run_of
from bench.network import Network
from bench.workloads import open_bucket
from s3pq_dagster_tests.servers import REGION

_COLUMNS = 16
_ROWS = 32_000_000
"""Rows; with eight bytes a value the object decodes to 4.1 GB."""
_DRAWN = 4
"""Columns of random values; the others ascend and compress well."""
_LAYOUTS = {"1 row group": _ROWS, "100 row groups": _ROWS // 100}
_LIMIT_SECONDS = 1200


@dataclass(frozen=True, slots=True)
class Huge:
    """Two buckets with one object each."""

    directory: Path
    server: str
    network: Network

    def scores(self, times: int) -> list[Score]:
        """Read and load each; what counts is the memory above the idle process."""
        found = []
        for layout, rows in _LAYOUTS.items():
            bucket = f"bench-huge-{rows}"
            self._prepare(bucket, rows)
            for module, who in (("ours_reading", READER), ("ours", INTO_DUCKDB)):
                score = Score(f"huge, {layout}", who, _version())
                for _ in range(times):
                    self._run(score, module, bucket)
                above = max(run.peak - run.idle for run in score.runs)
                score.note = score.note or f"{above / 1e6:.0f} MB above idle"
                found.append(score)
        return found

    def _run(self, score: Score, module: str, bucket: str) -> None:
        with tempfile.TemporaryDirectory(prefix="s3pq-bench-") as directory:
            task = Task(self.network.endpoint, REGION, bucket, ["t"], "", directory)
            self.network.set(0)
            said = run(Path(sys.executable), module, task, limit_seconds=_LIMIT_SECONDS)
            if said["rows"] != _ROWS:
                score.note = f"{said['rows']} rows instead of {_ROWS}"
            score.runs.append(run_of(said, self.network.requests))
        print(f"{score.work}: {score.name} {score.runs[-1].seconds:.1f} s", file=sys.stderr)

    def _prepare(self, bucket: str, rows: int) -> None:
        made = self.directory / f"{bucket}.made"
        if made.exists():
            return
        path = self.directory / f"{bucket}.parquet"
        drawn = np.random.default_rng(1)
        ascending = pa.array(np.arange(_ROWS))
        columns = {
            f"c{number:02}": pa.array(drawn.integers(0, 1000, _ROWS))
            if number < _DRAWN
            else ascending
            for number in range(_COLUMNS)
        }
        encodings = {f"c{number:02}": "DELTA_BINARY_PACKED" for number in range(_DRAWN, _COLUMNS)}
        pq.write_table(
            pa.table(columns),
            path,
            row_group_size=rows,
            use_dictionary=[f"c{number:02}" for number in range(_DRAWN)],
            column_encoding=encodings,
        )
        obstore.put(open_bucket(self.server, bucket), "t/1.parquet", path)
        path.unlink()
        made.touch()


def _version() -> str:
    return f"s3pq_dagster {version('s3pq-dagster')}, duckdb {version('duckdb')}"
