"""A lake of several checkpoints."""

from pathlib import Path

import dagster as dg
import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.crashes.six_objects import fill
from s3pq_dagster_tests.lake import Lake


@pytest.fixture
def lake(bucket: Bucket, instance: dg.DagsterInstance, database: Path) -> Lake:
    """A bucket of six objects, each a checkpoint, fetched one after the other."""
    fill(bucket)
    return Lake(bucket, instance, database, {"checkpoint_bytes": 1, "concurrency": 1})
