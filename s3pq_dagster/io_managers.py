"""A destination each: its IO manager, and the URL that stands for it."""

import logging
from importlib import import_module
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from s3pq_dagster.destinations import Destination
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster.io_manager import S3ParquetIOManager

DEFAULT_DESTINATION = "duckdb:///s3pq.duckdb"
_URLS = """\
duckdb:///lake.duckdb (three slashes: relative to the working directory; four: absolute)"""


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


def build_io_manager(url: str) -> S3ParquetIOManager:
    """Make the IO manager a destination URL stands for.

    Args:
        url: ``duckdb:///lake.duckdb`` is relative to the working directory,
            ``duckdb:////data/lake.duckdb`` absolute.

    Raises:
        ConfigurationError: The URL is of no known kind.
    """
    parts = urlsplit(url)
    if parts.scheme == "duckdb" and not parts.netloc and len(parts.path) > 1:
        return S3ParquetDuckDBIOManager(database=parts.path[1:])
    msg = f"destination {_shown(parts)!r} is not one this release knows. Use {_URLS}."
    raise ConfigurationError(msg)


def _shown(parts: SplitResult) -> str:
    """Leave user and password out of a URL."""
    return parts._replace(netloc=parts.hostname or "").geturl() if parts.netloc else parts.geturl()


def _check_installed(destination: str, module: str, extra: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        msg = f"the {destination} destination needs more: pip install 's3pq-dagster[{extra}]'"
        raise ConfigurationError(msg) from error
