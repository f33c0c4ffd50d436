"""The IO manager of each destination, and the URL that stands for it."""

from urllib.parse import urlsplit

import dagster as dg

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers.delta import S3ParquetDeltaIOManager
from s3pq_dagster.dagster.io_managers.duckdb import S3ParquetDuckDBIOManager
from s3pq_dagster.dagster.io_managers.parquet import S3ParquetParquetIOManager
from s3pq_dagster.dagster.io_managers.postgres import S3ParquetPostgresIOManager
from s3pq_dagster.dagster.io_managers.urls import root_of, shown
from s3pq_dagster.destinations.postgres import url as postgres_url
from s3pq_dagster.errors import ConfigurationError

__all__ = [
    "DEFAULT_DESTINATION",
    "S3ParquetDeltaIOManager",
    "S3ParquetDuckDBIOManager",
    "S3ParquetParquetIOManager",
    "S3ParquetPostgresIOManager",
    "build_io_manager",
]

DEFAULT_DESTINATION = "duckdb:///s3pq.duckdb"
_URLS = """\
duckdb:///lake.duckdb, delta:///lake or parquet:///lake (three slashes: relative to the working \
directory; four: absolute), delta+s3://bucket/prefix, parquet+s3://bucket/prefix or \
postgresql://user@host:5432/database"""


def build_io_manager(url: str) -> S3ParquetIOManager:
    """Return the IO manager that a destination URL stands for.

    Args:
        url: ``duckdb:///lake.duckdb``, ``delta:///lake`` and ``parquet:///lake`` are relative to
            the working directory, with four slashes absolute. ``delta+s3://bucket/prefix`` and
            ``parquet+s3://bucket/prefix`` are in S3, and may be followed by
            ``?endpoint_url=…&region=…&local_profile=…``. PostgreSQL has
            ``postgresql://user@host:5432/database``. A ``dg.EnvVar`` that may hold a secret stays
            one, so that nothing shows its value.

    Raises:
        ConfigurationError: The URL is of no known kind, or cannot be used.
    """
    text = _value_of(url) if isinstance(url, dg.EnvVar) else url
    if text.partition("://")[0] in postgres_url.SCHEMES:
        manager = S3ParquetPostgresIOManager(url=url)
        manager.check_installed()
        return manager
    parts = urlsplit(text)
    if parts.scheme == "duckdb" and not parts.netloc and parts.path[1:] and parts.path[0] == "/":
        return S3ParquetDuckDBIOManager(database=parts.path[1:])
    if parts.scheme in {"delta", "delta+s3"}:
        return S3ParquetDeltaIOManager(**root_of(parts))
    if parts.scheme in {"parquet", "parquet+s3"}:
        return S3ParquetParquetIOManager(**root_of(parts))
    msg = f"destination {shown(parts)!r} is not one this release knows. Use {_URLS}."
    raise ConfigurationError(msg)


def _value_of(variable: dg.EnvVar) -> str:
    found = variable.get_value()
    if not found:
        msg = f"{variable.env_var_name} is not set: set it to a destination URL, {_URLS}"
        raise ConfigurationError(msg)
    return found
