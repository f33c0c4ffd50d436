"""A backfill that is killed half-way."""

import subprocess
from pathlib import Path

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from tenacity import stop_after_delay

from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.command_line import DAGSTER, environment
from s3pq_dagster_tests.dagster.test_partitions import DAILY, VERSION, day, load, recorded
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.waiting import again_while

DAYS = range(1, 7)
RANGE = ("2024-01-01", "2024-01-06")


@pytest.mark.thorough
def test_the_next_run_goes_on_from_the_last_checkpoint(bucket: Bucket, tmp_path: Path) -> None:
    """Days that were whole stay as they are; each object's rows are there once in the end."""
    layout = {"rules": [DAILY]}
    for number in DAYS:
        bucket.put(day(number), numbers(number))
    (tmp_path / "layout.yaml").write_text(yaml.safe_dump(layout), encoding="utf-8")
    environ = environment(
        bucket, tmp_path, S3PQ_LAYOUT="layout.yaml", S3PQ_CONCURRENCY="1", S3PQ_CHECKPOINT_BYTES="1"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        database = tmp_path / "lake.duckdb"
        lake = Lake(bucket, instance, database, spec={"layout": layout, "checkpoint_bytes": 1})
        words = ("-m", "s3pq_dagster.definitions", "--select", f"{bucket.name}/events")
        command = [*DAGSTER, "asset", "materialize", *words, "--partition-range", "...".join(RANGE)]
        process = subprocess.Popen(command, cwd=tmp_path, env=environ)
        again_while(lambda found: len(found) < 2, stop_after_delay(100))(lambda: recorded(lake))
        process.kill()
        process.wait()
        before = recorded(lake)
        kept = lake.rows_by_key("events")
        assert len(before) < len(DAYS), "it was killed too late"
        bucket.proxy.forget()
        assert load(lake, *RANGE).success
        read = {request.key for request in bucket.proxy.object_reads if request.key}
        assert not read & (kept.keys() - {day(1)}), "discovery reads the first object's footer"
        assert lake.rows_by_key("events") == {day(number): number for number in DAYS}
        found = recorded(lake)
        assert {name: each["s3pq/rows"] for name, each in found.items()} == {
            f"2024-01-0{number}": number for number in DAYS
        }
        assert {name: found[name][VERSION] for name in before} == {
            name: each[VERSION] for name, each in before.items()
        }
