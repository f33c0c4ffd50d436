"""The IO manager of directories of Parquet files."""

import logging
from typing import Literal

from pydantic import Field

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers.urls import check_installed, check_root, place_of
from s3pq_dagster.destinations.protocol import Destination


class S3ParquetParquetIOManager(S3ParquetIOManager):
    """Keeps tables as directories with one Parquet file for each object, and a ledger."""

    root: str = Field(
        description="Directory of the tables, created when first written, or `s3://bucket/prefix`."
    )
    compression: Literal["zstd", "snappy", "lz4", "gzip", "brotli", "none"] = Field(
        default="zstd", description="Compression of the files."
    )
    lock_timeout_seconds: float = Field(
        default=300, description="How long to wait while another run writes the same table."
    )
    endpoint_url: str | None = Field(
        default=None,
        description="URL of an S3 server other than AWS; unset: as AWS's variables say.",
    )
    region: str | None = Field(
        default=None, description="The bucket's region; unset: as AWS's variables and files say."
    )
    local_profile: str | None = Field(
        default=None, description="AWS profile for the credentials; unset: the usual chain."
    )

    def destination(self, log: logging.Logger) -> Destination:
        """Return the destination, which logs to ``log``."""
        self.check_installed()
        check_root(self.root)
        from s3pq_dagster.destinations.parquet import ParquetDestination  # noqa: PLC0415 - as above

        return ParquetDestination(
            self.root,
            compression=self.compression,
            lock_timeout_seconds=self.lock_timeout_seconds,
            endpoint_url=self.endpoint_url,
            region=self.region,
            local_profile=self.local_profile,
            log=log,
        )

    def check_installed(self) -> None:
        """Check that the destination's packages are installed."""
        check_installed("Parquet", "s3pq_dagster.destinations.parquet", "parquet")

    def storage_kind(self) -> str:
        """Return the destination's kind, as Dagster names it."""
        return "parquet"

    def table_name(self, table: str) -> str:
        """Return the glob that engines read a table by."""
        return f"{self.root.rstrip('/')}/{table}/*.parquet"

    def place(self) -> str:
        """Name where the tables are, without secrets."""
        return place_of("parquet", self.root, self.endpoint_url)
