"""Metadata keys, and the values under them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from s3pq_dagster.dagster.column_schemas import (
    NO_KEY_COLUMNS,
    KeyTypes,
    column_lineage,
    column_schema,
)
from s3pq_dagster.ledger import cursor_key, format_cursor
from s3pq_dagster.loading.report import LoadReport

TABLE = "s3pq/table"
PREFIX = "s3pq/prefix"
COLLISION = "s3pq/collision"
PARTITIONED_BY = "s3pq/partitioned_by"
TOO_MANY_PARTITIONS = "s3pq/too_many_partitions"
SOURCE = "s3pq/source"
SOURCE_ASSET = "s3pq/source_asset"
DESTINATION = "s3pq/destination"
OBJECTS = "s3pq/objects"
OBJECTS_LISTED = "s3pq/objects_listed"
BYTES = "s3pq/bytes"
ROWS = "s3pq/rows"
ROWS_PER_SECOND = "s3pq/rows_per_second"
SECONDS = "s3pq/seconds"
PARTITIONS = "s3pq/partitions"
OBJECTS_LOADED = "s3pq/objects_loaded"
OBJECTS_QUARANTINED = "s3pq/objects_quarantined"
OBJECTS_REMOVED = "s3pq/objects_removed"
OBJECTS_MISSING = "s3pq/objects_missing"
OBJECTS_PENDING = "s3pq/objects_pending"
BYTES_PENDING = "s3pq/bytes_pending"
SECONDS_PENDING = "s3pq/seconds_pending"
OBJECTS_TO_REMOVE = "s3pq/objects_to_remove"
OBJECTS_ELSEWHERE = "s3pq/objects_elsewhere"
OBJECTS_UNRECONCILED = "s3pq/objects_unreconciled"
LAST_MODIFIED = "s3pq/last_modified"
LEDGER_ROWS = "s3pq/ledger_rows"
TABLE_ROWS = "s3pq/table_rows"
FOOTERS_READ = "s3pq/footers_read"
SAMPLE = "s3pq/sample"
QUARANTINED_KEYS = "s3pq/quarantined_keys"
COLUMNS_ADDED = "s3pq/columns_added"
COLUMNS_RETYPED = "s3pq/columns_retyped"
ERROR = "s3pq/error"
AT_FAULT = "s3pq/objects_at_fault"
LASTING = "s3pq/fails_until_changed"
FAILED_LISTING = "s3pq/failed_listing"
FAILED_SETTINGS = "s3pq/failed_settings"
SOURCE_TAG = "s3pq/source"
"""Tag of every table's asset; its value is the bucket, with the source's name if it has one, unless
no tag can hold that."""
FULL_REFRESH_TAG = "s3pq/full_refresh"
# Keys that Dagster defines, and shows in particular places of its UI.
COLUMN_SCHEMA = "dagster/column_schema"
COLUMN_LINEAGE = "dagster/column_lineage"
ROW_COUNT = "dagster/row_count"
STORAGE_KIND = "dagster/storage_kind"
TABLE_NAME = "dagster/table_name"
URI = "dagster/uri"
PARTITION_ROW_COUNT = "dagster/partition_row_count"
DATA_VERSION_TAG = "dagster/data_version"
_MOST_RECORDS = 50


def table_metadata(
    *,
    source: str,
    storage_kind: str,
    table_name: str,
    schema: pa.Schema | None,
    of_key: KeyTypes = NO_KEY_COLUMNS,
    rows: int | None = None,
    known: object = None,
    source_asset: dg.AssetKey | None = None,
) -> dict[str, Any]:
    """Return the metadata that every table has, under Dagster's own keys where it has some.

    ``source`` is not under ``dagster/uri``, which Dagster shows as the place where a table is
    stored. ``of_key`` are the columns that keys make, ``known`` the columns as they were shown
    before, ``source_asset`` what the table is loaded from, if that is an asset.
    """
    metadata: dict[str, Any] = {TABLE_NAME: table_name, STORAGE_KIND: storage_kind, SOURCE: source}
    if schema is not None:
        columns = metadata[COLUMN_SCHEMA] = column_schema(schema, of_key, known=known)
        if source_asset is not None:
            metadata[COLUMN_LINEAGE] = column_lineage(columns, source_asset)
    if rows is not None:
        metadata[ROW_COUNT] = rows
    return metadata


def report_metadata(report: LoadReport, *, bucket: str, table: str) -> dict[str, Any]:
    """Return a load's numbers; every load has the same keys, so that the UI can plot them."""
    metadata: dict[str, Any] = {
        ROWS: report.rows,
        OBJECTS: report.objects,
        BYTES: report.bytes,
        SECONDS: round(report.seconds, 3),
        ROWS_PER_SECOND: round(report.rows / report.seconds, 1) if report.seconds else 0.0,
        **ledger_metadata(bucket, table, report.objects_loaded, report.ledger_rows, report.cursor),
        OBJECTS_QUARANTINED: report.objects_quarantined,
        OBJECTS_REMOVED: report.removed,
        OBJECTS_MISSING: report.missing,
    }
    lists = {
        QUARANTINED_KEYS: report.quarantined_keys,
        COLUMNS_ADDED: report.columns_added,
        COLUMNS_RETYPED: report.columns_retyped,
    }
    for name, values in lists.items():
        if values:
            metadata[name] = dg.MetadataValue.json(list(values))
    return metadata


def ledger_metadata(
    bucket: str, table: str, objects: int, rows: int, cursor: datetime | None
) -> dict[str, Any]:
    """Return how many objects and rows of a table are loaded, and the cursor if there is one."""
    loaded = {OBJECTS_LOADED: objects, LEDGER_ROWS: rows}
    return loaded | ({} if cursor is None else _cursor_metadata(bucket, table, cursor))


def _cursor_metadata(bucket: str, table: str, cursor: datetime) -> dict[str, Any]:
    """Return the cursor as cq-source-s3 writes it, and as a time that the UI shows as one."""
    return {
        cursor_key(bucket, table): format_cursor(cursor),
        LAST_MODIFIED: dg.MetadataValue.timestamp(cursor),
    }


def agrees(event: dg.EventLogEntry | None, known: Mapping[str, Any]) -> bool:
    """Return whether a materialization agrees with ``known``; missing keys count as agreeing."""
    if event is None or event.asset_materialization is None:
        return False
    metadata = event.asset_materialization.metadata
    told = {key: getattr(value, "value", value) for key, value in known.items()}
    return all(key not in metadata or metadata[key].value == told[key] for key in told)


def records(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first 50 rows as a table under ``name``; no entry if there are no rows."""
    shown = [dg.TableRecord(dict(row)) for row in rows[:_MOST_RECORDS]]
    if not shown:
        return {}
    columns = dict.fromkeys(name for record in shown for name in record.data)
    schema = dg.TableSchema(columns=[dg.TableColumn(column, "any") for column in columns])
    return {name: dg.MetadataValue.table(shown, schema)}
