"""A DuckDB file of ledger format 1 is read as it is, and taken over by the first write."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.ledger import FORMAT_VERSION
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load
from s3pq_dagster_tests.destinations.tables import check_undo_is_refused, rows

FORMAT_1 = """
    CREATE TABLE _s3pq_objects (
        table_name VARCHAR NOT NULL, bucket VARCHAR NOT NULL, key VARCHAR NOT NULL, e_tag VARCHAR,
        size BIGINT NOT NULL, last_modified TIMESTAMPTZ NOT NULL, "rows" BIGINT NOT NULL,
        status VARCHAR NOT NULL, reason VARCHAR, run_id VARCHAR NOT NULL,
        loaded_at TIMESTAMPTZ NOT NULL
    );
    CREATE TABLE _s3pq_tables (
        table_name VARCHAR NOT NULL, bucket VARCHAR NOT NULL, prefix VARCHAR NOT NULL,
        arrow_schema BLOB, schema_key VARCHAR, fingerprint VARCHAR, "cursor" TIMESTAMPTZ,
        updated_at TIMESTAMPTZ NOT NULL, format_version INTEGER NOT NULL
    );
    CREATE TABLE t (id INTEGER, _cq_id UUID, _cq_parent_id UUID, _s3_key VARCHAR);
    INSERT INTO t VALUES (1, NULL, NULL, 't/1');
"""
SCHEMA = pa.schema(
    [
        ("id", pa.int32()),
        ("_cq_id", pa.uuid()),
        ("_cq_parent_id", pa.uuid()),
        ("_s3_key", pa.string()),
    ]
)


@pytest.fixture
def database(bucket: Bucket, tmp_path: Path) -> Path:
    """Make a file as the release before wrote it, with one object of the bucket loaded."""
    bucket.put("t/1", pa.table({"id": pa.array([1], pa.int32())}))
    head = bucket.client.head_object(Bucket=bucket.name, Key="t/1")
    now = datetime.now(UTC)
    entry = ["t", bucket.name, "t/1", head["ETag"].strip('"'), head["ContentLength"], now, 1]
    path = tmp_path / "lake.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(FORMAT_1)
        connection.execute(
            "INSERT INTO _s3pq_objects VALUES (?, ?, ?, ?, ?, ?, ?, 'loaded', NULL, 'old', now())",
            entry,
        )
        connection.execute(
            "INSERT INTO _s3pq_tables VALUES ('t', ?, 't/', ?, 't/1', 'f', now(), now(), 1)",
            [bucket.name, schemas.to_bytes(SCHEMA)],
        )
    return path


def test_it_is_read_without_being_written(bucket: Bucket, database: Path) -> None:
    """State and rows are there, and not a byte of the file is another."""
    before = database.read_bytes()
    destination = DuckDBDestination(str(database))
    state = destination.state(Owner("t", bucket.name, "t/", layout="any"))
    assert (state.schema, state.schema_key, state.rows) == (SCHEMA, "t/1", 1)
    assert [row["id"] for row in rows(destination, "t", ["id"])] == [1]
    check_undo_is_refused(destination, Owner("t", bucket.name, "t/"), "old")
    assert database.read_bytes() == before


def test_the_first_write_takes_it_over(bucket: Bucket, database: Path) -> None:
    """Nothing is loaded again; the schema is version 1, and what drifts is the next."""
    destination = DuckDBDestination(str(database))
    bucket.put("t/2", pa.table({"id": [2**40], "new": ["x"]}))
    report = load(bucket, destination, schema_mode="evolve")
    assert (report.objects, report.columns_added) == (1, ["new"])
    found = sorted((row["id"], row["new"]) for row in rows(destination, "t", ["id", "new"]))
    assert found == [(1, None), (2**40, "x")]
    with duckdb.connect(str(database), read_only=True) as connection:
        versions = connection.execute(
            "SELECT version, since_key FROM _s3pq_schemas ORDER BY 1"
        ).fetchall()
        formats = connection.execute("SELECT format_version FROM _s3pq_tables").fetchall()
    assert versions == [(1, "t/1"), (2, "t/2")]
    assert formats == [(FORMAT_VERSION,)]
    assert load(bucket, destination, schema_mode="evolve").bytes == 0
    check_undo_is_refused(destination, Owner("t", bucket.name, "t/"), "old")
