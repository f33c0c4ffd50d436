"""The table that tests of loading load."""

from pathlib import Path

import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.unit.loading.loaded_table import Table


@pytest.fixture
def table(bucket: Bucket, database: Path) -> Table:
    """A table of which nothing is there yet."""
    return Table(bucket, database)
