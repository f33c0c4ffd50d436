"""Tables as Parquet files below a root, and the ledger beside them."""

from s3pq_dagster.destinations.parquet.destination import ParquetDestination

__all__ = ["ParquetDestination"]
