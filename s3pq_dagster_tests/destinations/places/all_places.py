"""Every destination, and other places for the same: what the demo does not need."""

from typing import Any

from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.destinations.places.delta_s3 import DeltaOnS3Place
from s3pq_dagster_tests.destinations.places.parquet_s3 import ParquetS3Place

ALL_PLACES: dict[str, type[Any]] = {
    **PLACES,
    "delta on S3": DeltaOnS3Place,
    "parquet on S3": ParquetS3Place,
}
"""The others need not be tried with every type and at every step."""
