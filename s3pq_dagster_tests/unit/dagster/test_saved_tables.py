"""Discovered tables come back from their file as they were, or not at all."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3pq_dagster.dagster.saved_tables import DiscoveredTable, SavedTables
from s3pq_dagster_tests.examples import ANY_JSON, examples
from s3pq_dagster_tests.unit.made import Lines, logger

FIELDS = ["bucket", "name", "prefix", "objects", "bytes", "schema", "schema_key"]
LOG = logging.getLogger(__name__)
TABLES = [
    DiscoveredTable("lake", "a", "a/", 2, 20, pa.schema([("id", pa.int64())]), "a/1.parquet", "v1"),
    DiscoveredTable("lake", "b", "b/", 0, 0, missing_since=1.5),
    DiscoveredTable("lake", "c_d", "c-d/", 2, 20, collision=("c_d", ["c-d/", "c_d/"])),
    DiscoveredTable("lake", "e", "e/{day}/*", 2, 20, partitions=["2024-01-05"]),
]


def test_tables_are_read_as_they_were_saved(tmp_path: Path) -> None:
    """Schemas are saved too, and a table may have none."""
    saved = SavedTables("key", tmp_path / "folder" / "lake.json", "lake-1")
    saved.save(TABLES, LOG)
    assert saved.load(LOG) == TABLES
    assert (
        SavedTables("key", tmp_path / "other.json", "lake-1").load(LOG, str(saved.path)) == TABLES
    )


def test_a_missing_file_is_no_news(tmp_path: Path) -> None:
    """The first start of a code location finds none."""
    lines = Lines()
    assert SavedTables("key", tmp_path / "lake.json", "lake-1").load(logger(lines)) is None
    assert not lines.texts


def loads(path: Path, text: str) -> bool:
    """Return whether a file's text is read as tables; if not, that its warning names the file."""
    path.write_text(text)
    lines = Lines()
    found = SavedTables("key", path, "lake-1").load(logger(lines))
    assert (found is None) is bool(lines.of("catalog_ignored"))
    assert all(f"path={path}" in text for text in lines.texts)
    return found is not None


def saved_with(**fields: Any) -> str:
    """Return the text of a file with one table, some of whose fields are others."""
    table = {
        "bucket": "lake",
        "name": "a",
        "prefix": "a/",
        "objects": 2,
        "bytes": 20,
        "schema": None,
        "schema_key": None,
        "schema_version": None,
    }
    return json.dumps({"format": 1, "tables": [table | fields]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"format": 99, "tables": []}',
        '{"format": 1}',
        '{"format": 1, "tables": ["a"]}',
        '{"format": 1, "tables": {"a": 1}}',
        saved_with(name="a b"),
        saved_with(name="\ud800"),
        saved_with(objects=-1),
        saved_with(bytes="20"),
        saved_with(prefix=5),
        saved_with(schema="no base64"),
        saved_with(schema="AAAA"),
        saved_with(schema_key=[]),
        saved_with(more=1),
    ],
)
def test_a_file_of_another_shape_counts_as_missing(tmp_path: Path, text: str) -> None:
    """Discovery then lists the bucket, as if nothing had been saved, and warns."""
    assert not loads(tmp_path / "lake.json", text)


def test_a_file_of_the_right_shape_is_read(tmp_path: Path) -> None:
    """The texts of the test before are refused for what they change in it."""
    assert loads(tmp_path / "lake.json", saved_with())


@settings(max_examples=examples(200))
@given(
    text=st.one_of(
        ANY_JSON.map(json.dumps),
        st.dictionaries(st.sampled_from(["format", "tables"]), ANY_JSON).map(json.dumps),
        st.tuples(st.sampled_from(FIELDS), ANY_JSON).map(lambda f: saved_with(**{f[0]: f[1]})),
    )
)
def test_any_json_is_tables_or_a_warning(tmp_path_factory: Any, text: str) -> None:
    """Whatever JSON is in the file, reading it raises nothing."""
    loads(tmp_path_factory.mktemp("saved") / "lake.json", text)


def test_saving_leaves_no_other_file(tmp_path: Path) -> None:
    """A temporary file is renamed, so a reader never sees half of it."""
    saved = SavedTables("key", tmp_path / "lake.json", "lake-1")
    saved.save(TABLES, LOG)
    saved.save(TABLES[:1], LOG)
    assert [path.name for path in tmp_path.iterdir()] == ["lake.json"]
    assert saved.load(LOG) == TABLES[:1]
