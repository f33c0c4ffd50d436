"""Every destination, on local disk and on S3."""

from typing import Any

from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.destinations.places.delta_s3 import DeltaOnS3Place
from s3pq_dagster_tests.destinations.places.parquet_s3 import ParquetS3Place

ALL_PLACES: dict[str, type[Any]] = {
    **PLACES,
    "delta on S3": DeltaOnS3Place,
    "parquet on S3": ParquetS3Place,
}
"""The forms on S3 are left out of tests whose result does not depend on storage."""
