"""Reading a table by its manifest: all rows of whole checkpoints, or an error."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.destinations.column_rules import check_chosen
from s3pq_dagster.destinations.ledger_rows import NO_ENTRIES, OBJECT_COLUMNS
from s3pq_dagster.destinations.parquet.conforming import conforming, held_columns
from s3pq_dagster.destinations.parquet.failures import damaged_file_named
from s3pq_dagster.destinations.parquet.paths import final_path
from s3pq_dagster.destinations.parquet.rows_file import open_parquet, rows_by_key
from s3pq_dagster.destinations.parquet.schema_versions import version_rows
from s3pq_dagster.destinations.parquet.snapshot import (
    Snapshot,
    check_current,
    check_snapshot,
    open_file,
)
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_look import TableLook, runs_of
from s3pq_dagster.destinations.table_state import ChooseKeys, Owner, TableAudit, TableState
from s3pq_dagster.errors import DestinationError

_OPEN_FILES = 100
"""Files opened before the first batch: a table of no more is read to its end in any case, since
open files stay readable when a writer replaces them."""
_WORKERS = 8
_FILES_AT_ONCE = 4096
_BATCH_ROWS = 65_536


class _File(NamedTuple):
    key: str
    rows: int
    file: str
    file_id: str
    is_staged: bool
    is_there: bool


class TableReader:
    """The rows of a table; its files are opened early, in other threads."""

    def __init__(
        self,
        storage: Storage,
        snapshot: Snapshot,
        columns: Sequence[str] | None,
        wanted: ChooseKeys | None = None,
    ) -> None:
        """Open the first files.

        Raises:
            ManifestReplacedError: A writer replaced the manifest meanwhile.
            DestinationError: The table was never loaded, lacks a column, or a file is missing.
        """
        self._storage, self._manifest = storage, snapshot.manifest
        schema = snapshot.manifest.facts.schema
        if schema is None:
            raise not_loaded(snapshot.manifest.table)
        if columns is not None:
            check_chosen(snapshot.manifest.table, columns, schema.names)
            there = {schemas.folded(field.name): field for field in schema}
            schema = pa.schema([there[schemas.folded(name)] for name in columns])
        self._schema = schema
        files = snapshot.files
        if wanted is not None:
            files = files.filter(pl.col("key").is_in(wanted(files["key"].unique().to_list())))
        self._files = map(_File._make, files.iter_rows())
        self._pool = ThreadPoolExecutor(_WORKERS, "s3pq-read")
        self._open: deque[tuple[_File, Future[pq.ParquetFile]]] = deque()
        self._open_more(_OPEN_FILES)
        try:
            for _, opening in self._open:
                opening.result()
        except BaseException:
            self.close()
            raise

    def batches(self) -> pa.RecordBatchReader:
        """Stream the rows, file by file, in the table's schema, whichever the file has."""
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def close(self) -> None:
        """Close all files that are open."""
        self._pool.shutdown()
        while self._open:
            _, opening = self._open.popleft()
            if opening.exception() is None:
                opening.result().close(force=True)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while self._open:
            wanted, opening = self._open.popleft()
            file = opening.result()
            try:
                yield from self._rows_of(wanted, file)
            except FileNotFoundError as error:  # in S3, a file may be deleted while it is read
                raise self._missing(wanted) from error
            finally:
                file.close(force=True)
            self._open_more(1)

    def _open_more(self, count: int) -> None:
        for wanted in islice(self._files, count):
            self._open.append((wanted, self._pool.submit(self._opened, wanted)))

    def _rows_of(self, wanted: _File, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
        table, held = self._manifest.table, held_columns(file.schema_arrow, self._schema)
        found = file.iter_batches(_BATCH_ROWS, columns=held)
        typed = map(conforming(file.schema_arrow, self._schema), found)
        while True:
            with damaged_file_named(final_path(table, wanted.file), table):
                batch = next(typed, None)
            if batch is None:
                return
            yield batch

    def _opened(self, wanted: _File) -> pq.ParquetFile:
        table = self._manifest.table
        try:
            return open_file(
                self._storage, table, wanted.file, wanted.file_id, is_staged=wanted.is_staged
            )
        except FileNotFoundError as error:
            raise self._missing(wanted) from error

    def _missing(self, wanted: _File) -> DestinationError:
        """Return the error for a missing file, unless a writer replaced the manifest.

        Raises:
            ManifestReplacedError: One did.
        """
        check_current(self._storage, self._manifest)
        table = self._manifest.table
        return DestinationError(
            f"the file of object {wanted.key!r}, {final_path(table, wanted.file)}, is gone or was "
            f"replaced by somebody else. Put it back, or run table {table!r} with full_refresh: "
            f"true."
        )


def state_of(storage: Storage, owner: Owner, snapshot: Snapshot | None) -> TableState:
    """See :meth:`Destination.state`."""
    return (
        TableState.empty() if snapshot is None else check_snapshot(snapshot, storage, owner).state
    )


def look_of(storage: Storage, owner: Owner, snapshot: Snapshot | None) -> TableLook:
    """See :meth:`Destination.look`."""
    if snapshot is None:
        return TableLook.empty()
    manifest = check_snapshot(snapshot, storage, owner).manifest
    versions = version_rows(owner.table, manifest.facts.versions).to_dicts()
    return TableLook.of(snapshot.state, runs_of(manifest.frame), versions)


def entries_of(storage: Storage, owner: Owner, snapshot: Snapshot | None) -> pl.DataFrame:
    """See :meth:`Destination.entries`."""
    if snapshot is None:
        return NO_ENTRIES
    return check_snapshot(snapshot, storage, owner).manifest.frame.select(*OBJECT_COLUMNS)


def audit_of(storage: Storage, owner: Owner, snapshot: Snapshot | None) -> TableAudit:
    """See :meth:`Destination.audit`: rows are counted in the files themselves."""
    if snapshot is None:
        return TableAudit.of(TableState.empty(), [])
    check_snapshot(snapshot, storage, owner)
    counts: dict[str | None, int] = {}
    with ThreadPoolExecutor(_WORKERS, "s3pq-audit") as pool:
        files = map(_File._make, snapshot.files.iter_rows())
        while some := list(islice(files, _FILES_AT_ONCE)):
            for found in pool.map(lambda wanted: _counted(storage, snapshot, wanted), some):
                for key, rows in found.items():
                    counts[key] = counts.get(key, 0) + rows
    return TableAudit.of(snapshot.state, list(counts.items()))


def not_loaded(table: str) -> DestinationError:
    """Return the error for a table that was never loaded."""
    return DestinationError(f"table {table!r} is not there yet: materialize it first")


def _counted(storage: Storage, snapshot: Snapshot, wanted: _File) -> dict[str | None, int]:
    """Count a file's rows by key: none if it is gone; the other file's if it was replaced."""
    table = snapshot.manifest.table
    try:
        return _counts_of(
            open_file(storage, table, wanted.file, wanted.file_id, is_staged=wanted.is_staged),
            wanted,
            table,
        )
    except FileNotFoundError:
        check_current(storage, snapshot.manifest)
    try:
        return _counts_of(open_parquet(storage, final_path(table, wanted.file)), wanted, table)
    except FileNotFoundError:
        return {}


def _counts_of(file: pq.ParquetFile, wanted: _File, table: str) -> dict[str | None, int]:
    try:
        with damaged_file_named(final_path(table, wanted.file), table):
            return rows_by_key(file)
    finally:
        file.close(force=True)
