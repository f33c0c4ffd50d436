"""The IO manager of a DuckDB file."""

import logging
from pathlib import Path

from pydantic import Field

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers.urls import check_installed
from s3pq_dagster.dagster.resource import default_bounds
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.memory import engine_limit
from s3pq_dagster.spec import MIB


class S3ParquetDuckDBIOManager(S3ParquetIOManager):
    """Keeps tables and ledger in a DuckDB file."""

    database: str = Field(description="Path of the file; created when first written.")
    namespace: str = Field(default="main", description="DuckDB schema of tables and ledger.")
    memory_limit: str | None = Field(
        default=None,
        description="The most memory DuckDB may use, for example `1GB`; unset: its default, which "
        "is 80 % of the memory there is, or what a run leaves of it if that is less.",
    )
    lock_timeout_seconds: float = Field(
        default=300, description="How long to wait while another process has the file open."
    )

    def destination(self, log: logging.Logger) -> Destination:
        """Return the destination, which logs to ``log``."""
        self.check_installed()
        from s3pq_dagster.destinations.duckdb import DuckDBDestination  # noqa: PLC0415 - an extra

        return DuckDBDestination(
            self.database,
            namespace=self.namespace,
            memory_limit=self.memory_limit or _default_limit(),
            lock_timeout_seconds=self.lock_timeout_seconds,
            log=log,
        )

    def check_installed(self) -> None:
        """Check that the destination's packages are installed."""
        check_installed("DuckDB", "s3pq_dagster.destinations.duckdb", "duckdb")

    def storage_kind(self) -> str:
        """Return the destination's kind, as Dagster names it."""
        return "duckdb"

    def table_name(self, table: str) -> str:
        """Return a table's name as its users write it."""
        return f"{self.namespace}.{table}"

    def place(self) -> str:
        """Name where the tables are, without secrets."""
        return f"duckdb://{Path(self.database).absolute()}#{self.namespace}"


def _default_limit() -> str | None:
    limit = engine_limit(default_bounds())
    return None if limit is None else f"{limit // MIB}MiB"
