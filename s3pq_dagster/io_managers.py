"""A destination each: its IO manager, and the URL that stands for it."""

import logging
from importlib import import_module
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import Field

from s3pq_dagster.destinations import Destination
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster.io_manager import S3ParquetIOManager

DEFAULT_DESTINATION = "duckdb:///s3pq.duckdb"
_URLS = """\
duckdb:///lake.duckdb (three slashes: relative to the working directory; four: absolute), \
delta:///lake (likewise), delta+s3://bucket/prefix (with ?endpoint_url=… and region=…, profile=…)"""
_DELTA_OPTIONS = {"endpoint_url", "region", "profile"}


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
    profile: str | None = Field(
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

        _check_root(self.root)
        return DeltaDestination(
            self.root,
            partition_by=self.partition_by,
            target_file_bytes=self.target_file_bytes,
            endpoint_url=self.endpoint_url,
            region=self.region,
            profile=self.profile,
            lock_timeout_seconds=self.lock_timeout_seconds,
            log=log,
        )

    def check_installed(self) -> None:
        """See :meth:`S3ParquetIOManager.check_installed`."""
        _check_installed("Delta Lake", "s3pq_dagster.destinations.delta", "delta")

    def storage_kind(self) -> str:
        """See :meth:`S3ParquetIOManager.storage_kind`."""
        return "deltalake"

    def table_name(self, table: str) -> str:
        """See :meth:`S3ParquetIOManager.table_name`."""
        return f"{self.root.rstrip('/')}/{table}"


def build_io_manager(url: str) -> S3ParquetIOManager:
    """Make the IO manager a destination URL stands for.

    Args:
        url: ``duckdb:///lake.duckdb`` is relative to the working directory,
            ``duckdb:////data/lake.duckdb`` absolute; ``delta:///lake`` and
            ``delta+s3://bucket/prefix?endpoint_url=http://localhost:9000`` are Delta tables.

    Raises:
        ConfigurationError: The URL is of no known kind.
    """
    parts = urlsplit(url)
    if parts.scheme == "duckdb" and not parts.netloc and len(parts.path) > 1:
        return S3ParquetDuckDBIOManager(database=parts.path[1:])
    if parts.scheme == "delta" and not parts.netloc and len(parts.path) > 1:
        return S3ParquetDeltaIOManager(root=parts.path[1:])
    if parts.scheme == "delta+s3" and parts.netloc:
        options = _options(parts, _DELTA_OPTIONS)
        return S3ParquetDeltaIOManager(root=f"s3://{parts.netloc}{parts.path}", **options)
    msg = f"destination {_shown(parts)!r} is not one this release knows. Use {_URLS}."
    raise ConfigurationError(msg)


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
