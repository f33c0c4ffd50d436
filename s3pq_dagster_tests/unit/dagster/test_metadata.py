"""Metadata keys, and the values under them."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster.dagster.metadata import column_schema, report_metadata, table_metadata
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
