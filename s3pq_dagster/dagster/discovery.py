"""When the bucket is listed for its tables, and when the saved tables stand in."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import pyarrow as pa

from s3pq_dagster.dagster.findings import log_dropped, log_missing, log_rules, log_tables
from s3pq_dagster.dagster.opening import opened_resource
from s3pq_dagster.dagster.processes import (
    is_code_server_start,
    is_worker_process,
    remember_for_runs,
    remembered,
)
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.saved_tables import DiscoveredTable, SavedTables
from s3pq_dagster.errors import StoreError
from s3pq_dagster.layout.key_columns import KeyColumnError, missing_in, with_columns
from s3pq_dagster.layout.key_partitions import first_partitions
from s3pq_dagster.layout.key_reader import KeyReader
from s3pq_dagster.layout.table_rule import rule_of
from s3pq_dagster.logs import line
from s3pq_dagster.reading.footers import MOST_AT_A_TIME, table_schema
from s3pq_dagster.source.catalog import TableListing, tables_in

LOGGER = "s3pq_dagster"
"""The logger of everything outside a run, a child of Dagster's own."""
_KEPT_SECONDS = 7 * 86_400
"""How long a table of which nothing is listed any more is still one."""
_looking: ContextVar[bool] = ContextVar("looking", default=False)
_found_here: dict[str, list[DiscoveredTable]] = {}
"""The tables that this process discovered, by :attr:`SavedTables.key`."""


@contextmanager
def looking() -> Iterator[None]:
    """Let definitions be built in this context without saving what :func:`discover` finds."""
    token = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(token)


def is_looking() -> bool:
    """Return whether nothing is to be saved."""
    return _looking.get()


def discover(source: S3ParquetResource, log: logging.Logger | None = None) -> list[DiscoveredTable]:
    """Find the tables of a bucket.

    When a code location starts, the bucket is listed and the result is saved, under
    ``DAGSTER_HOME`` or in the user's cache folder. A saved table of which nothing is listed any
    more stays one for a week, with a warning. When a run or a step rebuilds the definitions,
    the saved result is read. If the bucket cannot be listed, or nothing is listed any more, the
    saved result is used, with a warning.

    Args:
        source: The bucket; environment variables are read now.
        log: Gets a line for each table, and the warnings; by default Dagster's console log.

    Returns:
        The tables, sorted by name.

    Raises:
        StoreError: The bucket cannot be listed, and no earlier result is saved.
        TableNameError: No table name can be made of a prefix.
    """
    log = log or dg.get_dagster_logger(LOGGER)
    with opened_resource(source) as opened:
        saved = SavedTables.of(opened)
        if (tables := _rebuilt(saved, log)) is not None:
            return tables
        if is_looking():
            return saved.load(log) or _relisted(opened, saved, log)
        tables = _discovered(opened, saved, log)
        remember_for_runs(saved.key, str(saved.path))
        _found_here[saved.key] = tables
        return tables


def _rebuilt(saved: SavedTables, log: logging.Logger) -> list[DiscoveredTable] | None:
    """Return the tables found before, if the definitions are only being rebuilt.

    A process that Dagster started for a run or a step reads the saved file. The command line
    builds the same definitions several times in one process; it lists the bucket the first time
    only.
    """
    if is_code_server_start():
        return None
    if (path := remembered(saved.key)) is not None or is_worker_process():
        return saved.load(log, path)
    return _found_here.get(saved.key)


def refresh(source: S3ParquetResource, path: Path, log: logging.Logger) -> list[DiscoveredTable]:
    """List the bucket, and write its tables to a file, from which :func:`refreshed` reads them.

    Footers are read only of tables that are new in the file, or whose first object is another one.
    The file is written beside itself, then moved to its place.

    Raises:
        StoreError: The bucket cannot be listed; the file stays as it is.
        TableNameError: No table name can be made of a prefix; the file stays as it is.
        OSError: The file cannot be written; it stays as it is.
    """
    with opened_resource(source) as opened:
        saved = SavedTables.of(opened, path)
        tables = _relisted(opened, saved, log)
        saved.write(tables)
        return tables


def refreshed(
    source: S3ParquetResource, path: Path, log: logging.Logger
) -> list[DiscoveredTable] | None:
    """Read what :func:`refresh` wrote; ``None`` if it is of other settings, or unreadable."""
    return SavedTables.of(source, path).load(log)


def _discovered(
    source: S3ParquetResource, saved: SavedTables, log: logging.Logger
) -> list[DiscoveredTable]:
    """List the bucket and save its tables, or fall back on those saved before."""
    try:
        tables = _relisted(source, saved, log)
    except StoreError as error:
        if not (known := saved.load(log)):
            raise
        used = f"{len(known)} tables saved in {saved.path}"
        log.warning(line("discovery_failed", using=used, reason=error))
        return known
    saved.save(tables, log)
    return tables


def _relisted(
    source: S3ParquetResource, saved: SavedTables, log: logging.Logger
) -> list[DiscoveredTable]:
    """List the bucket; a saved table of which nothing is listed any more stays for a while."""
    of_this_layout = saved.load(log)
    known = of_this_layout or []
    listed = _listed(source, known, log)
    if not listed:
        _warn_of_nothing(source, known, saved, log)
    kept = _kept(known, listed) if listed else known
    if listed and kept:
        log_missing(kept, saved.path, log)
    if listed and of_this_layout is None:
        log_dropped(listed, saved.load_of_other_layout(), log)
    return sorted([*listed, *kept], key=lambda table: table.name)


def _kept(known: list[DiscoveredTable], listed: list[DiscoveredTable]) -> list[DiscoveredTable]:
    """Return the saved tables that stay, although nothing of them is listed.

    A prefix is empty while Spark overwrites it, between the deletion and the first new object.
    """
    names, now = {table.name.casefold() for table in listed}, time.time()
    return [
        replace(table, objects=0, bytes=0, missing_since=table.missing_since or now)
        for table in known
        if table.name.casefold() not in names
        and table.collision is None
        and now - (table.missing_since or now) < _KEPT_SECONDS
    ]


def _listed(
    source: S3ParquetResource, known: list[DiscoveredTable], log: logging.Logger
) -> list[DiscoveredTable]:
    grouping = source.list_tables(log)
    found = tables_in(
        grouping,
        bucket=source.bucket,
        tables=source.tables,
        skip_tables=source.skip_tables,
    )
    described = _Schemas(source, {table.name: table for table in known}, log).described
    with ThreadPoolExecutor(MOST_AT_A_TIME, thread_name_prefix="s3pq-footer") as pool:
        tables = list(pool.map(described, found))
    log.info(line("discovery_complete", bucket=source.bucket, tables=len(tables)))
    log_rules(grouping, source.bucket, log)
    log_tables(tables, log)
    return tables


@dataclass(slots=True)
class _Schemas:
    """Where the schemas of listed tables come from: the saved result, or a footer."""

    source: S3ParquetResource
    known: dict[str, DiscoveredTable]
    """Saved tables by name."""
    log: logging.Logger
    failed: bool = False
    """Whether the store failed, retries included; no further footer is then asked for."""

    def described(self, found: TableListing) -> DiscoveredTable:
        """Describe a listed table, without a schema if none can be read."""
        listing = found.listing.in_reading_order()
        table = DiscoveredTable(
            self.source.bucket,
            found.name,
            found.pattern,
            len(listing),
            listing.total_bytes,
            partitions=self._partitions(found),
        )
        if (saved := self.known.get(found.name)) is not None:
            table = replace(
                table,
                schema=saved.schema,
                schema_key=saved.schema_key,
                schema_version=saved.schema_version,
            )
        if found.collision is not None:  # it is not loaded
            return replace(table, collision=found.collision)
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
        if schema is not None and key is not None:
            schema = self._with_key_columns(schema, key)
        return replace(table, schema=schema, schema_key=key, schema_version=version)

    def _partitions(self, found: TableListing) -> list[str] | None:
        rule = rule_of(self.source.key_layout, found.pattern)
        if rule is None or rule.partitioning is None:
            return None
        names = first_partitions(rule, found.listing.frame["key"])
        if self.source.for_table(found.pattern).write_mode == "mirror":
            # Rows of objects that are deleted are still to go, so their partitions stay.
            known = self.known.get(found.name)
            names = sorted({*names, *((known and known.partitions) or ())})
        return names

    def _with_key_columns(self, schema: pa.Schema, key: str) -> pa.Schema:
        """Append the columns that a key makes; a run says what is wrong with the key, if so."""
        try:
            columns = KeyReader(self.source.key_layout).columns(key)
        except KeyColumnError:
            return schema
        return with_columns(schema, missing_in(schema, columns))


def _warn_of_nothing(
    source: S3ParquetResource,
    known: list[DiscoveredTable],
    saved: SavedTables,
    log: logging.Logger,
) -> None:
    """Warn that no table was listed, and say what follows."""
    facts = {
        "looked_in": f"s3://{source.bucket}/{source.path_prefix}",
        "found": "no Parquet objects",
    }
    if known:
        used = f"{len(known)} tables saved in {saved.path}; delete it to forget them"
        log.warning(line("empty_listing", **facts, using=used))
    else:
        advice = "check bucket, path_prefix, tables and skip_tables; reload once there are some"
        log.warning(line("empty_bucket", **facts, next=advice))
