"""Metadata keys, and the values under them."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster.dagster.column_schemas import column_schema, key_types
from s3pq_dagster.dagster.metadata import report_metadata, table_metadata
from s3pq_dagster.layout.rules import Layout, Rule
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster_tests.unit.made import NOON

NUMERIC = {
    "s3pq/rows",
    "s3pq/objects",
    "s3pq/bytes",
    "s3pq/seconds",
    "s3pq/rows_per_second",
    "s3pq/objects_loaded",
    "s3pq/ledger_rows",
    "s3pq/objects_quarantined",
    "s3pq/objects_removed",
    "s3pq/objects_missing",
}


def report(**fields: Any) -> LoadReport:
    """Make a report of a load that did nothing but what is given."""
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "rows",
            "objects",
            "bytes",
            "removed",
            "missing",
            "table_rows",
            "objects_loaded",
            "ledger_rows",
            "objects_quarantined",
        ),
        0,
    )
    nothing |= {"seconds": 0.0, "table_schema": None, "quarantined_keys": [], "cursor": None}
    return LoadReport(**(nothing | {"fingerprint": "f"} | fields))


def test_numeric_keys_are_always_there() -> None:
    """Every load has the same keys, since the UI plots numbers over time."""
    metadata = report_metadata(report(), bucket="lake", table="t")
    assert set(metadata) == NUMERIC
    assert all(isinstance(value, int | float) for value in metadata.values())


def test_a_rate_follows_from_rows_and_seconds() -> None:
    """Rows per second is rows divided by seconds."""
    metadata = report_metadata(report(rows=10, seconds=4.0), bucket="lake", table="t")
    assert metadata["s3pq/rows_per_second"] == 2.5


def test_the_cursor_has_its_own_key() -> None:
    """The cursor is under CloudQuery's key, as RFC 3339."""
    metadata = report_metadata(report(cursor=NOON), bucket="lake", table="t")
    assert metadata["s3/lake/t/last_modified_cursor"] == "2024-02-14T12:00:00Z"
    assert metadata["s3pq/last_modified"] == dg.MetadataValue.timestamp(NOON)


def test_quarantined_keys_are_listed() -> None:
    """The keys that this load quarantined are named."""
    metadata = report_metadata(report(quarantined_keys=["a", "b"]), bucket="lake", table="t")
    assert metadata["s3pq/quarantined_keys"].value == ["a", "b"]


def test_a_column_schema_says_names_and_types() -> None:
    """The UI shows each column with its Arrow type."""
    made = column_schema(pa.schema([("a", pa.int64()), ("b", pa.timestamp("us", "UTC"))]))
    assert [(column.name, column.type) for column in made.columns] == [
        ("a", "int64"),
        ("b", "timestamp[us, tz=UTC]"),
    ]


def marks(made: dg.TableSchema) -> dict[str, str]:
    """Return where each marked column comes from; each says it in words, too."""
    tagged = [column for column in made.columns if column.tags]
    assert all(column.description for column in tagged)
    return {column.name: column.tags["s3pq/from"] for column in tagged}


def test_columns_that_are_not_from_files_are_marked() -> None:
    """Those of keys, in any case of letters, and those that a load adds."""
    layout = Layout(rules=[Rule(match="t/{hive}/*.parquet", types={"n": "int"})])
    made = key_types(layout, "t/dt=2024/N=5/x.parquet")
    uuids = [(name, pa.uuid()) for name in ("_cq_id", "_cq_parent_id")]
    texts = [(name, pa.string()) for name in ("dt", "_s3_key")]
    rest = [("id", pa.int64()), ("n", made["N"]), ("_s3pq_rescued", pa.json_())]
    assert marks(column_schema(pa.schema([*rest, *texts, *uuids]), made)) == {
        "n": "key",
        "dt": "key",
        "_s3pq_rescued": "load",
        "_s3_key": "load",
        "_cq_id": "load",
        "_cq_parent_id": "load",
    }


def test_columns_of_files_are_not_marked() -> None:
    """Columns of a name of ours, or of a key's, are a file's own if their type is another."""
    made = key_types(Layout(unmatched="hive"), "t/dt=2024/x.parquet")
    schema = pa.schema([("dt", pa.date32()), ("_cq_id", pa.string()), ("id", pa.int64())])
    assert marks(column_schema(schema, made)) == {}


@pytest.mark.parametrize("key", [None, "t/n=five/x.parquet"])
def test_a_key_that_makes_no_columns_marks_none(key: str | None) -> None:
    """A table without a readable object is described all the same."""
    layout = Layout(rules=[Rule(match="t/{hive}/*.parquet", types={"n": "int"})])
    assert key_types(layout, key) == {}


@pytest.mark.parametrize("rows", [None, 0, 5])
def test_a_table_has_dagsters_own_keys(rows: int | None) -> None:
    """Table name, kind, columns and row count are under the keys that Dagster shows."""
    schema = pa.schema([("a", pa.int64())])
    metadata = table_metadata(
        source="s3://lake/a/", storage_kind="duckdb", table_name="main.a", schema=schema, rows=rows
    )
    assert metadata["dagster/table_name"] == "main.a"
    assert metadata["dagster/storage_kind"] == "duckdb"
    assert metadata["s3pq/source"] == "s3://lake/a/"
    assert metadata["dagster/column_schema"] == dg.TableSchema([dg.TableColumn("a", "int64")])
    assert metadata.get("dagster/row_count") == rows
