"""Parquet out of S3 into a warehouse, under Dagster, exactly once."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from dagster_shared.libraries import DagsterLibraryRegistry as _Registry

if _TYPE_CHECKING:
    from s3pq_dagster.dagster.assets import build_s3_parquet_assets
    from s3pq_dagster.dagster.component.s3_parquet import S3ParquetComponent
    from s3pq_dagster.dagster.discovery import discover
    from s3pq_dagster.dagster.factory import build_s3_parquet_definitions
    from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
    from s3pq_dagster.dagster.io_managers import (
        S3ParquetDeltaIOManager,
        S3ParquetDuckDBIOManager,
        S3ParquetParquetIOManager,
        S3ParquetPostgresIOManager,
        build_io_manager,
    )
    from s3pq_dagster.dagster.merging import merge_s3_parquet_definitions
    from s3pq_dagster.dagster.resource import S3ParquetResource
    from s3pq_dagster.dagster.run_config import LoadConfig
    from s3pq_dagster.dagster.saved_tables import DiscoveredTable
    from s3pq_dagster.dagster.sensor import build_s3_parquet_sensor
    from s3pq_dagster.dagster.table_run import TableRun
    from s3pq_dagster.dagster.translator import S3ParquetTableProps, S3ParquetTranslator
    from s3pq_dagster.layout.rules import Layout, Rule
    from s3pq_dagster.spec import S3ParquetSpec

__all__ = [
    "DiscoveredTable",
    "Layout",
    "LoadConfig",
    "Rule",
    "S3ParquetComponent",
    "S3ParquetDeltaIOManager",
    "S3ParquetDuckDBIOManager",
    "S3ParquetIOManager",
    "S3ParquetParquetIOManager",
    "S3ParquetPostgresIOManager",
    "S3ParquetResource",
    "S3ParquetSpec",
    "S3ParquetTableProps",
    "S3ParquetTranslator",
    "TableRun",
    "build_io_manager",
    "build_s3_parquet_assets",
    "build_s3_parquet_definitions",
    "build_s3_parquet_sensor",
    "discover",
    "merge_s3_parquet_definitions",
]

__version__ = "0.1.0"

_PLACES = {
    "DiscoveredTable": "dagster.saved_tables",
    "Layout": "layout.rules",
    "LoadConfig": "dagster.run_config",
    "Rule": "layout.rules",
    "S3ParquetComponent": "dagster.component.s3_parquet",
    "S3ParquetDeltaIOManager": "dagster.io_managers",
    "S3ParquetDuckDBIOManager": "dagster.io_managers",
    "S3ParquetIOManager": "dagster.io_manager",
    "S3ParquetParquetIOManager": "dagster.io_managers",
    "S3ParquetPostgresIOManager": "dagster.io_managers",
    "S3ParquetResource": "dagster.resource",
    "S3ParquetSpec": "spec",
    "S3ParquetTableProps": "dagster.translator",
    "S3ParquetTranslator": "dagster.translator",
    "TableRun": "dagster.table_run",
    "build_io_manager": "dagster.io_managers",
    "build_s3_parquet_assets": "dagster.assets",
    "build_s3_parquet_definitions": "dagster.factory",
    "build_s3_parquet_sensor": "dagster.sensor",
    "discover": "dagster.discovery",
    "merge_s3_parquet_definitions": "dagster.merging",
}
"""The module of each public name, which is imported when the name is first asked for: all of them
together take seconds, which the command line has not where it only prints its help."""

if not _TYPE_CHECKING:  # a checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(_import_module(f"{__name__}.{_PLACES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """Name what is public, too, so that it is found by whoever looks for components."""
        return sorted({*globals(), *_PLACES})


_Registry.register("s3pq-dagster", __version__, is_dagster_package=False)
