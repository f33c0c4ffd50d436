"""Every destination there is.

A new destination is a module here with a class that fits :class:`Place`, and a line in ``PLACES``;
``test_contract.py``, the kills and the table of types do the rest.
"""

from collections.abc import Callable
from pathlib import Path

from s3pq_dagster_tests.destinations.places.duckdb import DuckDBPlace
from s3pq_dagster_tests.destinations.places.parquet import ParquetPlace
from s3pq_dagster_tests.destinations.places.parquet_s3 import ParquetS3Place
from s3pq_dagster_tests.destinations.places.place import Place, held

__all__ = ["ALL_PLACES", "PLACES", "Place", "held"]

PLACES: dict[str, Callable[[Path], Place]] = {
    "duckdb": DuckDBPlace,
    "parquet": ParquetPlace,
}

ALL_PLACES: dict[str, Callable[[Path], Place]] = {
    **PLACES,
    "parquet on S3": ParquetS3Place,
}
"""Those, and what is a destination in another place: it has the same types and promises."""
