"""The IO manager of directories of Parquet files."""

import logging
from typing import Literal

from pydantic import Field

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers.urls import check_installed, check_root, place_of
from s3pq_dagster.destinations.protocol import Destination


class S3ParquetParquetIOManager(S3ParquetIOManager):
    """Tables as directories of Parquet files, one an object, and the ledger beside them."""

    root: str = Field(
        description="Directory of the tables, made when first written, or `s3://bucket/prefix`."
    )
    compression: Literal["zstd", "snappy", "lz4", "gzip", "brotli", "none"] = Field(
        default="zstd", description="Of the files."
    )
    lock_timeout_seconds: float = Field(
        default=300, description="How long to wait while another run writes the same table."
    )
    endpoint_url: str | None = Field(
        default=None, description="Of an S3 that is not AWS's; unset: AWS's own variables say."
    )
    region: str | None = Field(
        default=None, description="Of the bucket; unset: AWS's own variables and files say."
    )
    local_profile: str | None = Field(
        default=None, description="AWS profile for the credentials; unset: the usual chain."
    )

    def destination(self, log: logging.Logger) -> Destination:
        """See :meth:`S3ParquetIOManager.destination`."""
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
        """See :meth:`S3ParquetIOManager.check_installed`."""
        check_installed("Parquet", "s3pq_dagster.destinations.parquet", "parquet")

    def storage_kind(self) -> str:
        """See :meth:`S3ParquetIOManager.storage_kind`."""
        return "parquet"

    def table_name(self, table: str) -> str:
        """Give what engines read a table by; see :meth:`S3ParquetIOManager.table_name`."""
        return f"{self.root.rstrip('/')}/{table}/*.parquet"

    def place(self) -> str:
        """See :meth:`S3ParquetIOManager.place`."""
        return place_of("parquet", self.root, self.endpoint_url)
