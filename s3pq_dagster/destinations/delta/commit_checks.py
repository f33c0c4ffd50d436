"""What must hold before a change is committed, since rows would be lost or doubled otherwise."""

from collections.abc import Sequence

import polars as pl

from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.stage import OURS
from s3pq_dagster.destinations.delta.version import DataFile
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_errors import not_managed, unaccounted_rows
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.ledger import Status


def check_no_strays(
    table: str,
    keys: Sequence[str],
    entries: pl.DataFrame,
    reading: DataFiles,
    files: Sequence[DataFile],
) -> None:
    """Raise if the table has rows of some objects that no ledger entry accounts for.

    Somebody deleted the entry, so the object is pending again and its rows would be doubled. To
    find them takes reading the key column, so it is done only where the table has more rows than
    the ledger says.

    Args:
        table: Its name.
        keys: The objects whose rows are to be added.
        entries: All ledger entries of the table.
        reading: Reads the files.
        files: The table's data files.

    Raises:
        TableNotManagedError: There are such rows.
    """
    loaded = entries.filter(pl.col("status") == Status.LOADED)
    if not keys or sum(map(reading.rows, files)) <= int(loaded["rows"].sum()):
        return
    said = dict(loaded.group_by("key").agg(pl.col("rows").sum()).rows())
    found = reading.rows_by_key(files, keys)
    strays = sorted((str(k), n, said.get(k, 0)) for k, n in found if n > said.get(k, 0))
    if strays:
        raise unaccounted_rows(table, strays)


def check_directory_is_free(storage: Storage, table: str) -> None:
    """Raise if a table that is to be created would share its directory with foreign files.

    Raises:
        TableNotManagedError: Files are there that are not data files of ours.
    """
    names = storage.names(table, recursive=True)
    foreign = [name for name in names if not name.rpartition("/")[2].startswith(OURS)]
    if foreign:
        raise not_managed(
            table,
            f"{storage.root}/{table} is there, with {foreign[0]!r} in it, but is no Delta table",
            "move that directory away",
        )


def check_files_exist(storage: Storage, table: str, files: Sequence[DataFile]) -> None:
    """Raise if data files that are to be committed were deleted since they were written.

    Raises:
        DestinationError: A vacuum of everything that no version has deleted one.
    """
    for file in files:
        found = storage.stat(f"{table}/{file.path}")
        if found is None or found.size != file.size:
            msg = (
                f"{storage.root}/{table}/{file.path} is gone before it was committed: somebody "
                f"deletes files that are in no version of the table. Vacuum with a retention "
                f"longer than a load takes, and run again."
            )
            raise DestinationError(msg)
