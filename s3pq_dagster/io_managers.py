"""A destination each: its IO manager, and the URL that stands for it."""

import logging
from importlib import import_module
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import Field

from s3pq_dagster.destinations import Destination
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster.io_manager import S3ParquetIOManager

DEFAULT_DESTINATION = "duckdb:///s3pq.duckdb"
_URLS = """\
duckdb:///lake.duckdb (three slashes: relative to the working directory; four: absolute), \
parquet:///lake (likewise), parquet+s3://bucket/prefix (with ?endpoint_url=… and region=…, \
local_profile=…)"""
_PARQUET_OPTIONS = {"endpoint_url", "region", "local_profile"}


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

        _check_root(self.root)
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
            ``parquet+s3://bucket/prefix?endpoint_url=http://localhost:9000`` is in S3.

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
    options = _options(parts, _PARQUET_OPTIONS if parts.scheme == "parquet+s3" else set())
    if parts.scheme == "parquet+s3":
        if not parts.netloc:
            msg = f"destination {_shown(parts)!r} names no bucket: use parquet+s3://bucket/prefix."
            raise ConfigurationError(msg)
        return S3ParquetParquetIOManager(root=f"s3://{parts.netloc}{parts.path}", **options)
    if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
        msg = (
            f"destination {_shown(parts)!r} names no directory: use parquet:///lake (three "
            f"slashes: relative to the working directory) or parquet:////data/lake (four: "
            f"absolute)."
        )
        raise ConfigurationError(msg)
    return S3ParquetParquetIOManager(root=parts.path[1:])


def _options(parts: SplitResult, known: set[str]) -> dict[str, Any]:
    """Read what is behind the ``?`` of a URL.

    Raises:
        ConfigurationError: It is none of what is known, or comes twice, or user and password are
            in the URL.
    """
    if "@" in parts.netloc:
        msg = (
            f"destination {_shown(parts)!r}: credentials do not belong into its URL. Leave them "
            f"out: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, are used."
        )
        raise ConfigurationError(msg)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options: dict[str, Any] = dict(pairs)
    if len(options) < len(pairs) or not options.keys() <= known or "" in options.values():
        msg = (
            f"destination {_shown(parts._replace(query=''))!r}: behind the `?` may be "
            f"{', '.join(sorted(known))}, each once and with a value; found "
            f"{', '.join(repr(name) for name, _ in pairs)}."
        )
        raise ConfigurationError(msg)
    return options


def _check_root(root: str) -> None:
    """Refuse a root that is neither a path nor a prefix on S3.

    Raises:
        ConfigurationError: It says which of the two is meant, perhaps.
    """
    parts = urlsplit(root)
    if not root or (parts.scheme and "//" in root and (parts.scheme != "s3" or not parts.netloc)):
        msg = (
            f"`root` is a directory or s3://bucket/prefix, got {_shown(parts)!r}. Other object "
            f"stores are not supported."
        )
        raise ConfigurationError(msg)
    if parts.scheme == "s3" and "@" in parts.netloc:
        msg = f"`root` {_shown(parts)!r}: credentials do not belong into it, leave them out"
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
