"""The table that the tests of this room load."""

from pathlib import Path

import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.unit.loading.loaded_table import Table


@pytest.fixture
def table(bucket: Bucket, database: Path) -> Table:
    """A table that is empty in the bucket and in the database."""
    return Table(bucket, database)
