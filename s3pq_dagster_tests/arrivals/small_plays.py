"""Small days, each played in its own bucket and file, and judged."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from s3pq_dagster_tests.arrivals.engines import LoadLayer, SensorAndRuns
from s3pq_dagster_tests.arrivals.play import Player
from s3pq_dagster_tests.arrivals.small_days import Step, small_day
from s3pq_dagster_tests.arrivals.verdict import judge
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.unit.made import opened

Problems = dict[str, list[Any]]
_numbers = itertools.count()


def played_by_loads(beside: Bucket, write_mode: str, looks: list[list[Step]]) -> Problems:
    """Play a day with loads alone; return what is wrong in the end."""
    with _place(beside) as (bucket, database), opened(bucket) as store:
        engine = LoadLayer(bucket, store, database, write_mode)
        player = Player(bucket, small_day(looks), engine, mirror=write_mode == "mirror")
        player.play()
        return judge(player, database, write_mode).problems


def played_by_runs(beside: Bucket, write_mode: str, looks: list[list[Step]]) -> Problems:
    """Play a day with sensor and runs; return what is wrong in the end, late requests included."""
    with _place(beside) as (bucket, database), dg.DagsterInstance.ephemeral() as instance:
        engine = SensorAndRuns(Lake(bucket, instance, database), write_mode)
        player = Player(bucket, small_day(looks), engine, mirror=write_mode == "mirror")
        player.play()
        asked: Problems = {"asked for more": due} if (due := engine.tick()) else {}
        return judge(player, database, write_mode).problems | asked


@contextmanager
def _place(beside: Bucket) -> Iterator[tuple[Bucket, Path]]:
    """Make an empty bucket behind the same proxy; return it and a path for a file."""
    name = f"{beside.name}-{next(_numbers)}"
    beside.client.create_bucket(Bucket=name)
    with tempfile.TemporaryDirectory() as directory:
        yield Bucket(name, beside.client, beside.proxy), Path(directory) / "lake.duckdb"
