"""The IO manager of a PostgreSQL database."""

import logging

import dagster as dg
from pydantic import Field

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers.urls import check_installed
from s3pq_dagster.destinations.postgres import url as postgres_url
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import ConfigurationError


class S3ParquetPostgresIOManager(S3ParquetIOManager):
    """Keeps tables and ledger in a PostgreSQL database."""

    url: str = Field(
        repr=False,
        description="URL of the database for libpq: `postgresql://user@host:5432/database`. "
        "The UI shows this field, so it must not have a password: set PGPASSWORD or `~/.pgpass`, "
        "or let the whole URL be a `dg.EnvVar`.",
    )
    namespace: str = Field(default="public", description="PostgreSQL schema of tables and ledger.")
    lock_timeout_seconds: float = Field(
        default=300, description="How long to wait while another process writes the table."
    )

    def destination(self, log: logging.Logger) -> Destination:
        """Return the destination, which logs to ``log``."""
        self._check_driver()
        from s3pq_dagster.destinations.postgres.destination import (  # noqa: PLC0415 - an extra
            PostgresDestination,
        )

        return PostgresDestination(
            self.url,
            namespace=self.namespace,
            lock_timeout_seconds=self.lock_timeout_seconds,
            log=log,
        )

    def check_installed(self) -> None:
        """Check that the destination's packages are installed.

        Raises:
            ConfigurationError: The driver is not installed, or the URL cannot be used.
        """
        self._check_driver()
        is_reference = isinstance(self.url, dg.EnvVar)
        url = self.url.get_value() if isinstance(self.url, dg.EnvVar) else self.url
        if url is not None and postgres_url.parsed(url).secrets and not is_reference:
            msg = (
                "the destination's URL has a password in it, which would be shown in Dagster's UI. "
                "Leave it out and set PGPASSWORD or ~/.pgpass, put the URL into S3PQ_DESTINATION, "
                'or give it as S3ParquetPostgresIOManager(url=dg.EnvVar("…")), in YAML as '
                '"{{ env.… }}".'
            )
            raise ConfigurationError(msg)

    def storage_kind(self) -> str:
        """Return the destination's kind, as Dagster names it."""
        return "postgres"

    def table_name(self, table: str) -> str:
        """Return a table's name as its users write it."""
        from s3pq_dagster.destinations.postgres.names import (  # noqa: PLC0415 - an extra
            stored_name,
        )

        return f"{self.namespace}.{stored_name(table)}"

    def place(self) -> str:
        """Name where the tables are, without secrets."""
        return f"{postgres_url.parsed(self.url).shown}#{self.namespace}"

    @staticmethod
    def _check_driver() -> None:
        check_installed("PostgreSQL", "s3pq_dagster.destinations.postgres.destination", "postgres")
