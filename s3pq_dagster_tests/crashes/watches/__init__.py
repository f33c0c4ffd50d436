"""How to see, from outside, each step in which a run changes a destination."""

from collections.abc import Callable

from s3pq_dagster_tests.crashes.steps import Steps
from s3pq_dagster_tests.crashes.watches.delta import watch_delta
from s3pq_dagster_tests.crashes.watches.duckdb import watch_duckdb
from s3pq_dagster_tests.crashes.watches.parquet import watch_parquet
from s3pq_dagster_tests.crashes.watches.postgres import watch_postgres

WATCHES: dict[str, Callable[[Steps], None]] = {
    "duckdb": watch_duckdb,
    "postgres": watch_postgres,
    "delta": watch_delta,
    "parquet": watch_parquet,
    "delta on S3": watch_delta,
}
"""By the name that ``PLACES`` has: counts what changes it, from then on and in this process."""

TELLING: dict[str, tuple[str, ...]] = {
    "duckdb": ("COMMIT",),
    "postgres": ("COMMIT",),
    "delta": ("create the table", "commit the table"),
    "parquet": ("swap the ledger",),
    "delta on S3": ("create the table", "commit the table"),
}
"""Steps after which something is there for others to see."""
