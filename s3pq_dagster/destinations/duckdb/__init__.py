"""Tables and ledger in a DuckDB file."""

from s3pq_dagster.destinations.duckdb.destination import DuckDBDestination

__all__ = ["DuckDBDestination"]
