"""The IO manager of Delta tables."""

import logging

from pydantic import Field

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers.urls import check_installed, check_root, place_of
from s3pq_dagster.destinations.protocol import Destination


class S3ParquetDeltaIOManager(S3ParquetIOManager):
    """Tables and ledger as Delta tables in a directory, or under a prefix on S3."""

    root: str = Field(
        description="Directory, or `s3://bucket/prefix`; each table is a Delta table below it."
    )
    partition_by: list[str] = Field(
        default=[], description="Columns to partition every table by; each table must have them."
    )
    target_file_bytes: int = Field(
        default=128 * 1024 * 1024, gt=0, description="A data file is ended once it is so large."
    )
    endpoint_url: str | None = Field(
        default=None,
        description="Of an S3 that is not AWS's; unset: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or "
        "the profile's.",
    )
    region: str | None = Field(
        default=None, description="Of the bucket; unset: AWS_DEFAULT_REGION or the profile's."
    )
    local_profile: str | None = Field(
        default=None, description="Of the AWS credentials; unset: the usual AWS chain."
    )
    lock_timeout_seconds: float = Field(
        default=300,
        description="How long to wait for another writer of a table; on S3 nobody waits: the "
        "commit that comes second fails and its step runs again.",
    )

    def destination(self, log: logging.Logger) -> Destination:
        """See :meth:`S3ParquetIOManager.destination`."""
        self.check_installed()
        from s3pq_dagster.destinations.delta import DeltaDestination  # noqa: PLC0415 - an extra

        check_root(self.root)
        return DeltaDestination(
            self.root,
            partition_by=self.partition_by,
            target_file_bytes=self.target_file_bytes,
            endpoint_url=self.endpoint_url,
            region=self.region,
            profile=self.local_profile,
            lock_timeout_seconds=self.lock_timeout_seconds,
            log=log,
        )

    def check_installed(self) -> None:
        """See :meth:`S3ParquetIOManager.check_installed`."""
        check_installed("Delta Lake", "s3pq_dagster.destinations.delta", "delta")

    def storage_kind(self) -> str:
        """See :meth:`S3ParquetIOManager.storage_kind`."""
        return "deltalake"

    def table_name(self, table: str) -> str:
        """See :meth:`S3ParquetIOManager.table_name`."""
        return f"{self.root.rstrip('/')}/{table}"

    def place(self) -> str:
        """See :meth:`S3ParquetIOManager.place`."""
        return place_of("delta", self.root, self.endpoint_url)
