"""The IO manager of Delta tables."""

import logging
from typing import Any

from pydantic import Field

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers.urls import check_installed, check_root, place_of
from s3pq_dagster.destinations.protocol import Destination


class S3ParquetDeltaIOManager(S3ParquetIOManager):
    """Keeps tables and ledger as Delta tables in a directory, or under a prefix in S3."""

    root: str = Field(
        description="Directory, or `s3://bucket/prefix`; each table is a Delta table below it."
    )
    partition_by: list[str] = Field(
        default=[], description="Columns to partition every table by; each table must have them."
    )
    target_file_bytes: int = Field(
        default=128 * 1024 * 1024,
        gt=0,
        description="The size at which a data file is closed and the next one begun.",
    )
    endpoint_url: str | None = Field(
        default=None,
        description="URL of an S3 server other than AWS; unset: AWS_ENDPOINT_URL_S3, "
        "AWS_ENDPOINT_URL or the profile's.",
    )
    region: str | None = Field(
        default=None, description="The bucket's region; unset: AWS_DEFAULT_REGION or the profile's."
    )
    local_profile: str | None = Field(
        default=None, description="AWS profile for the credentials; unset: the usual AWS chain."
    )
    lock_timeout_seconds: float = Field(
        default=300,
        description="How long to wait for another writer of a table. In S3 nobody waits: the "
        "second commit fails and its step runs again.",
    )

    def destination(self, log: logging.Logger) -> Destination:
        """Return the destination, which logs to ``log``."""
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
        """Check that the destination's packages are installed."""
        check_installed("Delta Lake", "s3pq_dagster.destinations.delta", "delta")

    def storage_kind(self) -> str:
        """Return the destination's kind, as Dagster names it."""
        return "deltalake"

    def table_name(self, table: str) -> str:
        """Return a table's name as its users write it."""
        return f"{self.root.rstrip('/')}/{table}"

    def place(self) -> str:
        """Name where the tables are, without secrets."""
        return place_of("delta", self.root, self.endpoint_url)

    def table_options(self) -> dict[str, Any]:
        """Return the partition columns, which a table may lack."""
        return {"partition_by": self.partition_by}
