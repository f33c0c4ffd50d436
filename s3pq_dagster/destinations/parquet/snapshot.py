"""A table's manifest and files at one moment, read while a writer may be at work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from s3pq_dagster.destinations.ledger_rows import OBJECTS
from s3pq_dagster.destinations.parquet.failures import damaged_file_named, first_line
from s3pq_dagster.destinations.parquet.manifest import Manifest, decoded
from s3pq_dagster.destinations.parquet.paths import (
    SUFFIX,
    final_path,
    is_file_name_of,
    manifest_path,
    report_path,
    schemas_path,
    staged_folder,
    staged_path,
)
from s3pq_dagster.destinations.parquet.rows_file import open_parquet, read_mark
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_errors import not_managed
from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.errors import DestinationError, TableNotManagedError

_TRIES = 20

T = TypeVar("T")


class ManifestReplacedError(DestinationError):
    """A writer replaced the manifest while the table was being read."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table's manifest, and the files that existed while it was the current one."""

    manifest: Manifest
    staged: set[str]
    """Ids of the files that are written but not moved yet, committed or not."""
    inside: set[str]
    """Names of the files in the table's folder."""

    @property
    def files(self) -> pl.DataFrame:
        """The manifest's files: ``is_staged`` if not moved yet, ``is_there`` if it exists."""
        is_staged = pl.col("file_id").is_in(list(self.staged))
        is_there = is_staged | pl.col("file").is_in(list(self.inside))
        return self.manifest.files.with_columns(is_staged=is_staged, is_there=is_there)

    @property
    def unlisted(self) -> list[str]:
        """Names of the files in the table's folder that the manifest does not name."""
        return sorted(self.inside - set(self.manifest.files["file"]))

    @property
    def state(self) -> TableState:
        """The state that :meth:`Destination.state` returns."""
        facts = self.manifest.facts
        return TableState(
            self.manifest.ledger,
            exists=facts.schema is not None,
            schema=facts.schema,
            schema_key=facts.schema_key,
            rows=int(self.files.filter("is_there")["rows"].sum()),
        )


def read_consistently(storage: Storage, table: str, read: Callable[[Snapshot | None], T]) -> T:
    """Call a function with a snapshot, again with the next one if a writer replaced the manifest.

    Args:
        storage: The open root.
        table: The table's name.
        read: Gets ``None`` for a table that was never loaded. It raises
            :class:`ManifestReplacedError` to be called again.

    Returns:
        What ``read`` returned.

    Raises:
        TableNotManagedError: Files and manifest contradict each other, and no writer is at work.
        DestinationError: The table is replaced faster than it can be read.
    """
    return Retrying(
        retry=retry_if_exception_type(ManifestReplacedError),
        stop=stop_after_attempt(_TRIES),
        wait=wait_random(0, 0.2),
        reraise=True,
    )(lambda: read(_read(storage, table)))


def check_current(storage: Storage, manifest: Manifest) -> None:
    """Raise if a manifest is not the current one any more.

    Raises:
        ManifestReplacedError: A writer replaced it.
    """
    found = storage.stat(manifest_path(manifest.table))
    if (None if found is None else found.version) != manifest.version:
        msg = (
            f"table {manifest.table!r} was changed while it was being read. Read it again; in one "
            f"go it is not mixed with what was there before."
        )
        raise ManifestReplacedError(msg)


def open_file(
    storage: Storage, table: str, file: str, file_id: str, *, is_staged: bool
) -> pq.ParquetFile:
    """Open one of a manifest's files, where it was staged or in the table's folder.

    Raises:
        FileNotFoundError: It is in neither place; another file may have its name.
        DestinationError: It is damaged.
    """
    # A writer moves a file from the first place to the second, never back: whoever looks in this
    # order finds it, however late. An older version of the object may still have its name, so the
    # file is recognized by the id inside.
    paths = [staged_path(table, file_id)] if is_staged else []
    for path in [*paths, final_path(table, file)]:
        try:
            with damaged_file_named(path, table):
                found = open_parquet(storage, path)
        except FileNotFoundError:
            continue
        mark = read_mark(found)
        if mark is not None and mark.file_id == file_id:
            return found
        found.close(force=True)
    raise FileNotFoundError(final_path(table, file))


def check_snapshot(snapshot: Snapshot, storage: Storage, owner: Owner | None) -> Snapshot:
    """Return a snapshot if the table is the owner's, and its files and manifest fit together.

    Raises:
        TableOwnedElsewhereError: The table belongs to another bucket or prefix.
        TableNotManagedError: Files and manifest contradict each other.
    """
    manifest = snapshot.manifest
    if owner is not None:
        owner.check(manifest.facts.bucket, manifest.facts.prefix, manifest.facts.layout)
    try:
        files = snapshot.files
        if files.height and not files["is_there"].any():
            raise _not_managed(manifest.table, f"its objects are in {OBJECTS} but no file is there")
        for name in snapshot.unlisted:
            if not _is_ours(storage, manifest.table, name):
                raise _foreign(manifest.table, name)
    except TableNotManagedError:
        check_current(storage, manifest)
        raise
    return snapshot


def staged_ids(storage: Storage, table: str) -> set[str]:
    """List the ids of the files that are written but not moved, committed or not."""
    return {name.removesuffix(SUFFIX) for name in storage.names(staged_folder(table))}


def _read(storage: Storage, table: str) -> Snapshot | None:
    manifest = _manifest(storage, table)
    # Listed in this order, since files move from the first folder to the second: none is missed.
    staged = staged_ids(storage, table)
    inside = {name for name in storage.names(table) if name.endswith(SUFFIX)}
    if manifest is not None:
        return Snapshot(manifest, staged, inside)
    reported = storage.stat(report_path(table)) is not None
    if not inside and not reported:
        return None
    if storage.stat(manifest_path(table)) is not None:
        raise ManifestReplacedError(
            f"table {table!r} is being loaded for the first time: read it again"
        )
    found = f"{len(inside)} files in {table}/" if inside else f"{report_path(table)}"
    raise _not_managed(table, f"there is {found} but no {manifest_path(table)}")


def _manifest(storage: Storage, table: str) -> Manifest | None:
    path = manifest_path(table)
    found = storage.get(path)
    if found is None:
        return None
    try:
        return decoded(table, found.content, found.version)
    except (
        ValueError,
        KeyError,
        TypeError,
        OSError,
        pa.ArrowException,
        pl.exceptions.PolarsError,
    ) as error:
        raise _not_managed(table, f"{path} cannot be read: {first_line(error)}") from error


def _is_ours(storage: Storage, table: str, name: str) -> bool:
    """Return whether a commit replaced or removed this file; the next writer deletes it then."""
    try:
        file = open_parquet(storage, final_path(table, name))
    except FileNotFoundError:
        return True  # by now it is gone
    except (OSError, pa.ArrowException):
        return False
    with file:
        mark = read_mark(file)
    file.close(force=True)
    return mark is not None and mark.table == table and is_file_name_of(name, mark.key)


def _foreign(table: str, name: str) -> TableNotManagedError:
    return TableNotManagedError(
        f"{table}/{name} is not a file of ours, but every engine that reads table {table!r} by "
        f"{table}/*{SUFFIX} reads it too. Move it away, then run again."
    )


def _not_managed(table: str, found: str) -> TableNotManagedError:
    beside = f"{manifest_path(table)}, {report_path(table)} and {schemas_path(table)}"
    remedy = f"delete the directory {table}, {beside}"
    return not_managed(table, found, remedy)
