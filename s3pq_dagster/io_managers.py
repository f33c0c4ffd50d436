"""A destination each: its IO manager, and the URL that stands for it."""

import logging
from importlib import import_module
from urllib.parse import SplitResult, urlsplit

import dagster as dg
from pydantic import Field

from s3pq_dagster.destinations import Destination
from s3pq_dagster.destinations.postgres import url as postgres_url
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster.io_manager import S3ParquetIOManager

DEFAULT_DESTINATION = "duckdb:///s3pq.duckdb"
_URLS = """\
duckdb:///lake.duckdb (three slashes: relative to the working directory; four: absolute) or \
postgresql://user@host:5432/database"""


class S3ParquetDuckDBIOManager(S3ParquetIOManager):
    """Tables and ledger in a DuckDB file."""

    database: str = Field(description="Path of the file; created when first written.")
    namespace: str = Field(default="main", description="DuckDB schema of tables and ledger.")
    memory_limit: str | None = Field(
        default=None, description="DuckDB's bound on its memory, `1GB` say; unset: DuckDB's own."
    )
    lock_timeout_seconds: float = Field(
        default=300, description="How long to wait while another process has the file open."
    )

    def destination(self, log: logging.Logger) -> Destination:
        """See :meth:`S3ParquetIOManager.destination`."""
        self.check_installed()
        from s3pq_dagster.destinations.duckdb import DuckDBDestination  # noqa: PLC0415 - an extra

        return DuckDBDestination(
            self.database,
            namespace=self.namespace,
            memory_limit=self.memory_limit,
            lock_timeout_seconds=self.lock_timeout_seconds,
            log=log,
        )

    def check_installed(self) -> None:
        """See :meth:`S3ParquetIOManager.check_installed`."""
        _check_installed("DuckDB", "s3pq_dagster.destinations.duckdb", "duckdb")

    def storage_kind(self) -> str:
        """See :meth:`S3ParquetIOManager.storage_kind`."""
        return "duckdb"

    def table_name(self, table: str) -> str:
        """See :meth:`S3ParquetIOManager.table_name`."""
        return f"{self.namespace}.{table}"


class S3ParquetPostgresIOManager(S3ParquetIOManager):
    """Tables and ledger in a PostgreSQL database."""

    url: str = Field(
        repr=False,
        description="URL of the database, `postgresql://user@host:5432/database`, as libpq knows "
        "them. A password is not for this field, which the UI shows: leave it out and set "
        "PGPASSWORD or `~/.pgpass`, or let the whole URL be a `dg.EnvVar`.",
    )
    namespace: str = Field(default="public", description="PostgreSQL schema of tables and ledger.")
    lock_timeout_seconds: float = Field(
        default=300, description="How long to wait while another process writes the table."
    )

    def destination(self, log: logging.Logger) -> Destination:
        """See :meth:`S3ParquetIOManager.destination`."""
        self._check_driver()
        from s3pq_dagster.destinations.postgres.server import (  # noqa: PLC0415 - an extra
            PostgresDestination,
        )

        return PostgresDestination(
            self.url,
            namespace=self.namespace,
            lock_timeout_seconds=self.lock_timeout_seconds,
            log=log,
        )

    def check_installed(self) -> None:
        """See :meth:`S3ParquetIOManager.check_installed`.

        Raises:
            ConfigurationError: The driver is not there, or the URL cannot be used.
        """
        self._check_driver()
        is_reference = isinstance(self.url, dg.EnvVar)
        url = self.url.get_value() if isinstance(self.url, dg.EnvVar) else self.url
        if url is not None and postgres_url.parsed(url).secrets and not is_reference:
            msg = (
                "the destination's URL has a password in it, which would be shown in Dagster's UI. "
                "Leave it out and set PGPASSWORD or ~/.pgpass, put the URL into S3PQ_DESTINATION, "
                'or give it as S3ParquetPostgresIOManager(url=dg.EnvVar("…")).'
            )
            raise ConfigurationError(msg)

    def storage_kind(self) -> str:
        """See :meth:`S3ParquetIOManager.storage_kind`."""
        return "postgres"

    def table_name(self, table: str) -> str:
        """See :meth:`S3ParquetIOManager.table_name`."""
        from s3pq_dagster.destinations.postgres.names import (  # noqa: PLC0415 - an extra
            stored_name,
        )

        return f"{self.namespace}.{stored_name(table)}"

    @staticmethod
    def _check_driver() -> None:
        _check_installed("PostgreSQL", "s3pq_dagster.destinations.postgres.server", "postgres")


def build_io_manager(url: str) -> S3ParquetIOManager:
    """Make the IO manager a destination URL stands for.

    Args:
        url: ``duckdb:///lake.duckdb`` is relative to the working directory,
            ``duckdb:////data/lake.duckdb`` absolute; ``postgresql://user@host:5432/database``. A
            ``dg.EnvVar`` is kept as one where a secret may be in it, so that nothing shows it.

    Raises:
        ConfigurationError: The URL is of no known kind, or cannot be used.
    """
    given = url
    if isinstance(url, dg.EnvVar):
        url = _value_of(url)
    if url.partition("://")[0] in postgres_url.SCHEMES:
        manager = S3ParquetPostgresIOManager(url=given)
        manager.check_installed()
        return manager
    parts = urlsplit(url)
    if parts.scheme == "duckdb" and not parts.netloc and len(parts.path) > 1:
        return S3ParquetDuckDBIOManager(database=parts.path[1:])
    msg = f"destination {_shown(parts)!r} is not one this release knows. Use {_URLS}."
    raise ConfigurationError(msg)


def _value_of(variable: dg.EnvVar) -> str:
    found = variable.get_value()
    if not found:
        msg = f"{variable.env_var_name} is not set: set it to a destination URL, {_URLS}"
        raise ConfigurationError(msg)
    return found


def _shown(parts: SplitResult) -> str:
    """Leave out what may hold a password, which may break a URL into odd parts."""
    url = parts.geturl()
    return f"{parts.scheme}://…" if "@" in url or parts.password else url


def _check_installed(destination: str, module: str, extra: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        msg = f"the {destination} destination needs more: pip install 's3pq-dagster[{extra}]'"
        raise ConfigurationError(msg) from error
