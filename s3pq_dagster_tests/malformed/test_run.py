"""Bombs in a whole Dagster run, whose memory is measured."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.malformed.bombs import BOMBS, BOUND

MIB = 1024 * 1024
REFUSED = "a cell of zeros in zstd"
STREAMED = "a column in one run"


@dataclass(frozen=True, slots=True)
class Run:
    """A run's result, its peak memory and its database."""

    success: bool
    peak: int
    database: Path

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Query the DuckDB file."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(sql).fetchall()


def run(bucket: Bucket, database: Path) -> Run:
    """Load the bucket in a separate process."""
    spec = bucket.spec | {"max_decoded_bytes": BOUND}
    module = "s3pq_dagster_tests.malformed.run"
    found = subprocess.run(
        [sys.executable, "-m", module, json.dumps(spec), str(database)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return Run(**json.loads(found.stdout.splitlines()[-1]), database=database)


@pytest.fixture
def loaded(bucket: Bucket, database: Path) -> Run:
    """Load three tables: good objects; good objects and a bomb; a bomb that fits the bounds."""
    for table in ("numbers", "mixed"):
        for key in "abc":
            bucket.put(f"{table}/{key}.parquet", numbers(100))
    bucket.put("mixed/b0.parquet", BOMBS[REFUSED].make())
    bucket.put("streamed/a.parquet", BOMBS[STREAMED].make())
    return run(bucket, database)


@pytest.mark.thorough
def test_a_run_takes_a_bomb_within_the_bound(loaded: Run) -> None:
    """The bomb is in the quarantine with its reason, all other rows are there, memory is bounded.

    The run's process may take `max_decoded_bytes` and what DuckDB is allowed.
    """
    (entry,) = loaded.query("SELECT key, reason FROM _s3pq_objects WHERE status = 'quarantined'")
    assert entry[0] == "mixed/b0.parquet"
    assert "max_decoded_bytes" in str(entry[1])
    counts = [loaded.query(f"SELECT count(*) FROM {t}") for t in ("numbers", "mixed", "streamed")]
    assert counts == [[(300,)], [(300,)], [(3_000_000,)]]
    assert loaded.success, loaded.peak
    assert loaded.peak < BOUND + 200 * MIB
