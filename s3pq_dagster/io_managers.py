"""A destination each: its IO manager, and the URL that stands for it."""

import logging
from importlib import import_module
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from s3pq_dagster.destinations import Destination
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster.io_manager import S3ParquetIOManager

DEFAULT_DESTINATION = "duckdb:///s3pq.duckdb"
_URLS = """\
duckdb:///lake.duckdb (three slashes: relative to the working directory; four: absolute), \
parquet:///lake (likewise), parquet+s3://bucket/prefix"""


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
        _check_installed("Parquet", "s3pq_dagster.destinations.parquet", "parquet")

    def storage_kind(self) -> str:
        """See :meth:`S3ParquetIOManager.storage_kind`."""
        return "parquet"

    def table_name(self, table: str) -> str:
        """Give what engines read a table by; see :meth:`S3ParquetIOManager.table_name`."""
        return f"{self.root.rstrip('/')}/{table}/*.parquet"


def build_io_manager(url: str) -> S3ParquetIOManager:
    """Make the IO manager a destination URL stands for.

    Args:
        url: ``duckdb:///lake.duckdb`` is relative to the working directory,
            ``duckdb:////data/lake.duckdb`` absolute; ``parquet:///lake`` likewise.
            ``parquet+s3://bucket/prefix`` is in S3.

    Raises:
        ConfigurationError: The URL is of no known kind, or lacks or has too much of something.
    """
    parts = urlsplit(url)
    if parts.scheme in {"parquet", "parquet+s3"}:
        return _parquet(parts)
    if parts.scheme == "duckdb" and not parts.netloc and len(parts.path) > 1:
        return S3ParquetDuckDBIOManager(database=parts.path[1:])
    msg = f"destination {_shown(parts)!r} is not one this release knows. Use {_URLS}."
    raise ConfigurationError(msg)


def _parquet(parts: SplitResult) -> S3ParquetParquetIOManager:
    """Make the IO manager of ``parquet:///lake`` or ``parquet+s3://bucket/prefix``.

    Raises:
        ConfigurationError: It says what is wrong with the URL.
    """
    shown = _shown(parts)
    if parts.query or parts.fragment:
        msg = (
            f"destination {shown!r} has something behind a '?' or '#', of which nothing is used. "
            f"Leave it out; what else there is are fields of S3ParquetParquetIOManager."
        )
        raise ConfigurationError(msg)
    if parts.scheme == "parquet":
        if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
            msg = (
                f"destination {shown!r} names no directory: use parquet:///lake (three slashes: "
                f"relative to the working directory) or parquet:////data/lake (four: absolute)."
            )
            raise ConfigurationError(msg)
        return S3ParquetParquetIOManager(root=parts.path[1:])
    if "@" in parts.netloc or not parts.netloc:
        msg = (
            f"destination {shown!r} has to be parquet+s3://bucket/prefix, with a bucket and "
            f"without credentials: these come from AWS_ACCESS_KEY_ID and its like, or a profile."
        )
        raise ConfigurationError(msg)
    return S3ParquetParquetIOManager(root=f"s3://{parts.netloc}{parts.path}")


def _shown(parts: SplitResult) -> str:
    """Leave user and password out of a URL."""
    return parts._replace(netloc=parts.hostname or "").geturl() if parts.netloc else parts.geturl()


def _check_installed(destination: str, module: str, extra: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        msg = f"the {destination} destination needs more: pip install 's3pq-dagster[{extra}]'"
        raise ConfigurationError(msg) from error
