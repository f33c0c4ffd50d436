"""Every destination, each with a class that tests use to create and inspect it.

A new destination is a module here with a class that fits :class:`Place`, and a line in ``PLACES``.
With that line the tests of the contract, the kills and the table of types run against it as well.
"""

from typing import Any

from s3pq_dagster_tests.destinations.places.delta import DeltaPlace
from s3pq_dagster_tests.destinations.places.duckdb import DuckDBPlace
from s3pq_dagster_tests.destinations.places.parquet import ParquetPlace
from s3pq_dagster_tests.destinations.places.place import Place, held
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace

__all__ = ["PLACES", "Place", "held"]

PLACES: dict[str, type[Any]] = {
    "duckdb": DuckDBPlace,
    "postgres": PostgresPlace,
    "delta": DeltaPlace,
    "parquet": ParquetPlace,
}
