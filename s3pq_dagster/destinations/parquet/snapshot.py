"""Looking at a table while others may write it: by one manifest, or again by the next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from s3pq_dagster.destinations.ledger_rows import OBJECTS
from s3pq_dagster.destinations.parquet.failures import damage_told, first_line
from s3pq_dagster.destinations.parquet.manifest import Manifest, decoded
from s3pq_dagster.destinations.parquet.paths import (
    SUFFIX,
    final_path,
    is_file_name_of,
    manifest_path,
    report_path,
    staged_folder,
    staged_path,
)
from s3pq_dagster.destinations.parquet.rows_file import mark_of, opened
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_errors import not_managed
from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.errors import DestinationError, TableNotManagedError

_TRIES = 20

T = TypeVar("T")


class MovedOnError(DestinationError):
    """A writer replaced the manifest by which the table was looked at."""


@dataclass(frozen=True, slots=True)
class Look:
    """A table's manifest, and the files that were there when it was the current one."""

    manifest: Manifest
    staged: set[str]
    """Ids of the files that are committed or under way, and not at their place yet."""
    inside: set[str]
    """Names of the files at their place."""

    @property
    def files(self) -> pl.DataFrame:
        """Give the manifest's files; ``is_staged`` and ``is_there`` say where each is."""
        is_staged = pl.col("file_id").is_in(list(self.staged))
        is_there = is_staged | pl.col("file").is_in(list(self.inside))
        return self.manifest.files.with_columns(is_staged=is_staged, is_there=is_there)

    @property
    def strangers(self) -> list[str]:
        """Name the files at their place that the manifest does not."""
        return sorted(self.inside - set(self.manifest.files["file"]))

    @property
    def state(self) -> TableState:
        """Give what every destination's state is."""
        facts = self.manifest.facts
        return TableState(
            self.manifest.ledger,
            exists=facts.schema is not None,
            schema=facts.schema,
            schema_key=facts.schema_key,
            rows=int(self.files.filter("is_there")["rows"].sum()),
        )


def consistently(storage: Storage, table: str, once: Callable[[Look | None], T]) -> T:
    """Do something by a look; once more if a writer moved on meanwhile.

    Args:
        storage: Where.
        table: Its name.
        once: Gets ``None`` for a table that was never loaded. It may raise
            :class:`MovedOnError` to be done again.

    Raises:
        TableNotManagedError: Files and manifest contradict each other, and nobody is at it.
        DestinationError: The table changes faster than it can be looked at.
    """
    return Retrying(
        retry=retry_if_exception_type(MovedOnError),
        stop=stop_after_attempt(_TRIES),
        wait=wait_random(0, 0.2),
        reraise=True,
    )(lambda: once(_look(storage, table)))


def check_still(storage: Storage, manifest: Manifest) -> None:
    """See that a manifest is the current one.

    Raises:
        MovedOnError: It is not.
    """
    found = storage.stat(manifest_path(manifest.table))
    if (None if found is None else found.version) != manifest.version:
        msg = (
            f"table {manifest.table!r} was changed while it was being read. Read it again; in one "
            f"go it is not mixed with what was there before."
        )
        raise MovedOnError(msg)


def open_file(
    storage: Storage, table: str, file: str, file_id: str, *, is_staged: bool
) -> pq.ParquetFile:
    """Open one of a manifest's files, staged or at its place.

    Raises:
        FileNotFoundError: It is at neither; something else may be.
        DestinationError: It is damaged.
    """
    paths = [staged_path(table, file_id)] if is_staged else []
    for path in [*paths, final_path(table, file)]:
        try:
            with damage_told(path, table):
                found = opened(storage, path)
        except FileNotFoundError:
            continue
        mark = mark_of(found)
        if mark is not None and mark.file_id == file_id:
            return found
        found.close(force=True)
    raise FileNotFoundError(final_path(table, file))


def checked(look: Look, storage: Storage, owner: Owner | None) -> Look:
    """See that a table is ours, and that its files and manifest belong together.

    Raises:
        TableOwnedElsewhereError: It is another's.
        TableNotManagedError: They do not.
    """
    manifest = look.manifest
    if owner is not None:
        owner.check(manifest.facts.bucket, manifest.facts.prefix)
    try:
        files = look.files
        if files.height and not files["is_there"].any():
            raise _not_managed(manifest.table, f"its objects are in {OBJECTS} but no file is there")
        for name in look.strangers:
            if not _is_ours(storage, manifest.table, name):
                raise _foreign(manifest.table, name)
    except TableNotManagedError:
        check_still(storage, manifest)
        raise
    return look


def staged_ids(storage: Storage, table: str) -> set[str]:
    """Give the ids of the files that are not at their place, or not yet."""
    return {name.removesuffix(SUFFIX) for name in storage.names(staged_folder(table))}


def _look(storage: Storage, table: str) -> Look | None:
    manifest = _manifest(storage, table)
    # In this order: a file moves from the first to the second.
    staged = staged_ids(storage, table)
    inside = {name for name in storage.names(table) if name.endswith(SUFFIX)}
    if manifest is not None:
        return Look(manifest, staged, inside)
    reported = storage.stat(report_path(table)) is not None
    if not inside and not reported:
        return None
    if storage.stat(manifest_path(table)) is not None:
        raise MovedOnError(f"table {table!r} is being loaded for the first time; look again")
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
    """Tell whether a file is left from what was replaced or removed: the next writer deletes it."""
    try:
        file = opened(storage, final_path(table, name))
    except FileNotFoundError:
        return True  # by now it is gone
    except (OSError, pa.ArrowException):
        return False
    with file:
        mark = mark_of(file)
    file.close(force=True)
    return mark is not None and mark.table == table and is_file_name_of(name, mark.key)


def _foreign(table: str, name: str) -> TableNotManagedError:
    return TableNotManagedError(
        f"{table}/{name} is not a file of ours, but every engine that reads table {table!r} by "
        f"{table}/*{SUFFIX} reads it too. Move it away, then run again."
    )


def _not_managed(table: str, found: str) -> TableNotManagedError:
    remedy = f"delete the directory {table}, {manifest_path(table)} and {report_path(table)}"
    return not_managed(table, found, remedy)
