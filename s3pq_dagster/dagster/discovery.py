"""The tables of a bucket, found when a code location starts and saved for the rest."""

import base64
import hashlib
import json
import logging
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.dagster.processes import (
    is_code_server_start,
    is_worker_process,
    remember_for_runs,
    remembered,
)
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.errors import StoreError
from s3pq_dagster.logs import line
from s3pq_dagster.reading.footers import MOST_AT_A_TIME, table_schema
from s3pq_dagster.source.catalog import TableListing, tables_in

LOGGER = "s3pq_dagster"
"""Under Dagster's own, where what is logged outside runs goes."""
_FORMAT = 1
_MOST_OF_NAME = 63
_found_here: dict[str, list["DiscoveredTable"]] = {}
"""What this process found, by :attr:`_Saved.key`."""


@dataclass(frozen=True, slots=True)
class DiscoveredTable:
    """A table as it was when the bucket was last looked at."""

    bucket: str
    name: str
    prefix: str
    objects: int
    bytes: int
    schema: pa.Schema | None = None
    """Canonical, the files' own columns; ``None`` when no footer could be read."""
    schema_key: str | None = None
    schema_version: str | None = None
    """Which version of ``schema_key`` the schema was read from."""

    @property
    def uri(self) -> str:
        """Where the objects are."""
        return f"s3://{self.bucket}/{self.prefix}"


def discover(source: S3ParquetResource, log: logging.Logger | None = None) -> list[DiscoveredTable]:
    """Find the tables of a bucket.

    Where a code location starts, the bucket is listed and the result saved, under ``DAGSTER_HOME``
    or the user's cache folder. Where a run or a step rebuilds the definitions, the saved result is
    read. When S3 fails, the last saved result stands in, with a warning; an empty listing does not
    drop the tables of a saved result either.

    Args:
        source: The bucket; environment variables are read now.
        log: Where to say what was found; by default Dagster's console log.

    Returns:
        The tables, sorted by name.

    Raises:
        StoreError: The bucket cannot be listed, and nothing is saved.
        TableNameError: A prefix gives no name.
        TableNameCollisionError: Prefixes give one name.
    """
    log = log or dg.get_dagster_logger(LOGGER)
    with source.process_config_and_initialize_cm() as opened:
        saved = _Saved.of(opened)
        if (tables := _rebuilt(saved)) is not None:
            return tables
        known = saved.load() or []
        try:
            tables = _look(opened, known, log)
        except StoreError as error:
            if not known:
                raise
            log.warning(
                line(
                    "discovery_failed",
                    using=f"{len(known)} tables saved in {saved.path}",
                    reason=error,
                )
            )
            tables = known
        else:
            tables = _kept(tables, known, saved, opened, log)
            saved.save(tables, log)
        remember_for_runs(saved.key, str(saved.path))
        _found_here[saved.key] = tables
        return tables


def _rebuilt(saved: "_Saved") -> list[DiscoveredTable] | None:
    """Give what was found before, where definitions are only rebuilt.

    A process that Dagster started for a run or a step reads the saved result. The command line
    builds the same definitions several times in one process; the first time counts.
    """
    if is_code_server_start():
        return None
    if (path := remembered(saved.key)) is not None or is_worker_process():
        return saved.load(path)
    return _found_here.get(saved.key)


def _look(
    source: S3ParquetResource, known: list[DiscoveredTable], log: logging.Logger
) -> list[DiscoveredTable]:
    grouping = source.list_tables(log)
    found = tables_in(grouping, tables=source.tables, skip_tables=source.skip_tables)
    schemas_of = _Schemas(source, {table.name: table for table in known}, log)
    with ThreadPoolExecutor(MOST_AT_A_TIME, thread_name_prefix="s3pq-footer") as pool:
        tables = list(pool.map(schemas_of.described, found))
    log.info(line("discovery_complete", bucket=source.bucket, tables=len(tables)))
    for table in tables:
        log.info(line("table_found", table=table.name, prefix=table.prefix, objects=table.objects))
    return tables


@dataclass(slots=True)
class _Schemas:
    """Where the schemas of listed tables come from: the saved result, or a footer."""

    source: S3ParquetResource
    known: dict[str, DiscoveredTable]
    log: logging.Logger
    failed: bool = False
    """The store failed, retries included: it is not asked once more for each table."""

    def described(self, found: TableListing) -> DiscoveredTable:
        """Make a table of its listing; it is one, whether or not its schema can be had."""
        listing = found.listing.in_reading_order()
        table = DiscoveredTable(
            self.source.bucket, found.name, found.prefix, len(listing), listing.total_bytes
        )
        if (saved := self.known.get(found.name)) is not None:
            table = replace(
                table,
                schema=saved.schema,
                schema_key=saved.schema_key,
                schema_version=saved.schema_version,
            )
        first = next(iter(listing))
        if self.failed or (table.schema_key, table.schema_version) == (first.key, first.version):
            return table
        try:
            read = table_schema(self.source.store, table.name, listing, self.log)
        except StoreError as error:
            self.failed = True
            self.log.warning(line("schema_skipped", table=table.name, reason=error))
            return table
        schema, origin = read or (None, None)
        key, version = (None, None) if origin is None else (origin.key, origin.version)
        return replace(table, schema=schema, schema_key=key, schema_version=version)


def _kept(
    tables: list[DiscoveredTable],
    known: list[DiscoveredTable],
    saved: "_Saved",
    source: S3ParquetResource,
    log: logging.Logger,
) -> list[DiscoveredTable]:
    """Keep what is saved when nothing at all is listed."""
    where = f"s3://{source.bucket}/{source.path_prefix}"
    if tables:
        return tables
    if known:
        log.warning(
            line(
                "empty_listing",
                looked_in=where,
                found="no Parquet objects",
                using=f"{len(known)} tables saved in {saved.path}; delete it to forget them",
            )
        )
        return known
    log.warning(
        line(
            "empty_bucket",
            looked_in=where,
            found="no Parquet objects",
            next="check bucket, path_prefix, tables and skip_tables; reload once there are some",
        )
    )
    return []


@dataclass(frozen=True, slots=True)
class _Saved:
    """The file the last good result is in."""

    key: str
    path: Path

    @classmethod
    def of(cls, source: S3ParquetResource) -> "_Saved":
        facts = [
            source.endpoint_url,
            source.region,
            source.bucket,
            source.path_prefix,
            source.tables,
            source.skip_tables,
        ]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        # Part of a path: the spec has checked it, but names of 255 characters are too long for one.
        name = f"{source.bucket[:_MOST_OF_NAME]}-{digest}"
        return cls(f"s3pq/catalog/{name}", _state_directory() / f"{name}.json")

    def load(self, path: str | None = None) -> list[DiscoveredTable] | None:
        """Read the file; ``None`` when it is not there or not readable."""
        try:
            state = json.loads(Path(path or self.path).read_text(encoding="utf-8"))
            if state["format"] != _FORMAT:
                return None
            return [_from_json(table) for table in state["tables"]]
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid):
            return None

    def save(self, tables: list[DiscoveredTable], log: logging.Logger) -> None:
        """Write the file whole or not at all."""
        state = {"format": _FORMAT, "tables": [_to_json(table) for table in tables]}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self.path.parent, delete=False, encoding="utf-8"
            ) as file:
                try:
                    json.dump(state, file)
                    file.flush()
                    Path(file.name).replace(self.path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            log.warning(
                line(
                    "catalog_not_saved",
                    path=self.path,
                    reason=error,
                    consequence="runs list the bucket again to rebuild the definitions",
                )
            )


def _state_directory() -> Path:
    if home := os.environ.get("DAGSTER_HOME"):
        return Path(home) / "storage" / "s3pq_dagster"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "s3pq_dagster"


def _to_json(table: DiscoveredTable) -> dict[str, Any]:
    schema = None if table.schema is None else schemas.to_bytes(table.schema)
    return {
        "bucket": table.bucket,
        "name": table.name,
        "prefix": table.prefix,
        "objects": table.objects,
        "bytes": table.bytes,
        "schema": None if schema is None else base64.b64encode(schema).decode(),
        "schema_key": table.schema_key,
        "schema_version": table.schema_version,
    }


def _from_json(state: dict[str, Any]) -> DiscoveredTable:
    data = state.pop("schema")
    schema = None if data is None else schemas.from_bytes(base64.b64decode(data))
    return DiscoveredTable(**state, schema=schema)
