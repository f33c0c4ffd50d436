"""Every destination there is.

A new destination is a module here with a class that fits :class:`Place`, and a line in ``PLACES``;
``test_contract.py``, the kills and the table of types do the rest.
"""

from collections.abc import Iterable
from typing import Any

import pytest

from s3pq_dagster_tests.destinations.places.delta import DeltaOnS3Place, DeltaPlace
from s3pq_dagster_tests.destinations.places.duckdb import DuckDBPlace
from s3pq_dagster_tests.destinations.places.parquet import ParquetPlace
from s3pq_dagster_tests.destinations.places.parquet_s3 import ParquetS3Place
from s3pq_dagster_tests.destinations.places.place import Place, held
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace

__all__ = ["ALL_PLACES", "PLACES", "Place", "held", "params"]

PLACES: dict[str, type[Any]] = {
    "duckdb": DuckDBPlace,
    "postgres": PostgresPlace,
    "delta": DeltaPlace,
    "parquet": ParquetPlace,
}

ALL_PLACES: dict[str, type[Any]] = {
    **PLACES,
    "delta on S3": DeltaOnS3Place,
    "parquet on S3": ParquetS3Place,
}
"""With other places for the same, which need not be tried with every type and at every step."""


def params(places: Iterable[str]) -> list[Any]:
    """Give places as parameters of a test; what is not one of each kind is for thorough runs."""
    return [p if p in PLACES else pytest.param(p, marks=pytest.mark.thorough) for p in places]
