"""A lake for each simulated day."""

from pathlib import Path

import dagster as dg
import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import Lake


@pytest.fixture
def lake(bucket: Bucket, instance: dg.DagsterInstance, database: Path) -> Lake:
    """An empty bucket on moto, an instance and a DuckDB file that is not there yet."""
    return Lake(bucket, instance, database)
