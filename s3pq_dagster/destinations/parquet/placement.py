"""Moving files to where the manifest says, and deleting those that it does not name."""

import polars as pl

from s3pq_dagster.destinations.parquet.manifest import Manifest
from s3pq_dagster.destinations.parquet.paths import final_path, staged_path
from s3pq_dagster.destinations.parquet.snapshot import Snapshot
from s3pq_dagster.destinations.storage.protocol import Storage


def finish_last_commit(storage: Storage, snapshot: Snapshot) -> None:
    """Make the files of a table agree with its manifest, whatever the last writer left undone.

    It can be repeated any number of times. Only the holder of the table's lock may call it.
    """
    # A staged file that the manifest does not name was never committed. A file of ours in the
    # table's folder that it does not name was replaced or removed by a commit.
    table, files = snapshot.manifest.table, snapshot.files
    known = set(files["file_id"])
    storage.delete(staged_path(table, file_id) for file_id in snapshot.staged - known)
    storage.delete(final_path(table, name) for name in snapshot.unlisted)
    storage.move(_moves(table, files.filter("is_staged")))


def place_files(storage: Storage, before: Manifest, after: Manifest) -> None:
    """Delete and move the files that one commit changed.

    Files are deleted first, so that a glob never finds the rows of an object twice.
    """
    old, new = before.files, after.files
    gone = old.join(new, on="file", how="anti")
    storage.delete(final_path(after.table, name) for name in gone["file"])
    storage.move(_moves(after.table, new.join(old, on="file_id", how="anti")))


def _moves(table: str, files: pl.DataFrame) -> dict[str, str]:
    return {
        staged_path(table, file_id): final_path(table, file)
        for file, file_id in files.select("file", "file_id").iter_rows()
    }
