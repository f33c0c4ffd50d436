"""Putting files where the manifest says, and taking away what it does not: any number of times."""

import polars as pl

from s3pq_dagster.destinations.parquet.manifest import Manifest
from s3pq_dagster.destinations.parquet.paths import final_path, staged_path
from s3pq_dagster.destinations.parquet.snapshot import Look
from s3pq_dagster.destinations.storage.protocol import Storage


def settle(storage: Storage, look: Look) -> None:
    """Finish what the manifest says, after whatever broke off; only who has the turn may.

    What is staged and in no manifest was never committed. What is at its place, ours and in no
    manifest was replaced or removed.
    """
    table, files = look.manifest.table, look.files
    known = set(files["file_id"])
    storage.delete(staged_path(table, file_id) for file_id in look.staged - known)
    storage.delete(final_path(table, name) for name in look.strangers)
    storage.move(_moves(table, files.filter("is_staged")))


def put_in_place(storage: Storage, before: Manifest, after: Manifest) -> None:
    """Do so for what a single commit changed.

    What goes is deleted first, so that a glob never finds the rows of an object twice.
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
