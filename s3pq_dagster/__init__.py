"""Parquet out of S3 into a warehouse, under Dagster, exactly once."""

from dagster_shared.libraries import DagsterLibraryRegistry as _Registry

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

_Registry.register("s3pq-dagster", __version__, is_dagster_package=False)
