"""Discovered tables come back from their file as they were, or not at all."""

import logging
from pathlib import Path

import pyarrow as pa
import pytest

from s3pq_dagster.dagster.saved_tables import DiscoveredTable, SavedTables

LOG = logging.getLogger(__name__)
TABLES = [
    DiscoveredTable("lake", "a", "a/", 2, 20, pa.schema([("id", pa.int64())]), "a/1.parquet", "v1"),
    DiscoveredTable("lake", "b", "b/", 1, 10),
]


def test_tables_are_read_as_they_were_saved(tmp_path: Path) -> None:
    """Schemas are saved too, and a table may have none."""
    saved = SavedTables("key", tmp_path / "folder" / "lake.json")
    saved.save(TABLES, LOG)
    assert saved.load() == TABLES
    assert SavedTables("key", tmp_path / "other.json").load(str(saved.path)) == TABLES


@pytest.mark.parametrize("text", [None, "", "[]", '{"format": 99, "tables": []}', '{"format": 1}'])
def test_a_file_that_cannot_be_read_counts_as_missing(tmp_path: Path, text: str | None) -> None:
    """Discovery then lists the bucket, as if nothing had been saved."""
    path = tmp_path / "lake.json"
    if text is not None:
        path.write_text(text)
    assert SavedTables("key", path).load() is None


def test_saving_leaves_no_other_file(tmp_path: Path) -> None:
    """A temporary file is renamed, so a reader never sees half of it."""
    saved = SavedTables("key", tmp_path / "lake.json")
    saved.save(TABLES, LOG)
    saved.save(TABLES[:1], LOG)
    assert [path.name for path in tmp_path.iterdir()] == ["lake.json"]
    assert saved.load() == TABLES[:1]
