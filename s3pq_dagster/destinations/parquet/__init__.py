"""Tables as Parquet files below a root, and the ledger beside them."""

from s3pq_dagster.destinations.parquet.lake import ParquetDestination

__all__ = ["ParquetDestination"]
