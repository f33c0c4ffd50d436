"""The default code location on the command line."""

from pathlib import Path

import duckdb
import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import dagster, environment, headless_sync
from s3pq_dagster_tests.proxy import Answer

MODULE = ("-m", "s3pq_dagster.definitions")
SYNC = ("asset", "materialize", *MODULE, "--select", "*")


@pytest.mark.nightly
def test_a_headless_sync_loads_everything_and_exits_0(bucket: Bucket, tmp_path: Path) -> None:
    """Standard error has what was found and read; a second sync with nothing new exits 0 too."""
    bucket.put("data/2024/x.parquet", 3)
    done = headless_sync(bucket, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "table_found table=data_2024 prefix=data/2024/ objects=1" in done.stderr
    assert "object_loaded table=data_2024 key=data/2024/x.parquet" in done.stderr
    with duckdb.connect(str(tmp_path / "lake.duckdb")) as connection:
        assert connection.sql("SELECT count(*) FROM data_2024").fetchall() == [(3,)]
    again = headless_sync(bucket, tmp_path)
    assert again.returncode == 0
    assert "nothing_new table=data_2024" in again.stderr


@pytest.mark.nightly
def test_a_headless_sync_exits_1_when_a_table_failed(bucket: Bucket, tmp_path: Path) -> None:
    """The other tables are loaded."""
    bucket.put("a/1.parquet", 1)
    bucket.put("b/1.parquet", 1)
    denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    bucket.proxy.before = lambda r: denied if r.key == "a/1.parquet" and not r.range else None
    done = headless_sync(bucket, tmp_path)
    assert done.returncode == 1
    assert "s3:GetObject" in done.stderr
    with duckdb.connect(str(tmp_path / "lake.duckdb")) as connection:
        assert connection.sql("SELECT count(*) FROM b").fetchall() == [(1,)]


@pytest.mark.thorough
def test_an_empty_bucket_exits_0_and_warns(bucket: Bucket, tmp_path: Path) -> None:
    """The warning says where it looked."""
    done = headless_sync(bucket, tmp_path, S3PQ_PATH_PREFIX="raw/")
    assert done.returncode == 0, done.stderr
    assert f"looked_in=s3://{bucket.name}/raw/" in done.stderr
    assert "no Parquet objects" in done.stderr


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({"S3PQ_BUCKET": ""}, "S3PQ_BUCKET not set", marks=pytest.mark.nightly),
        pytest.param({"S3PQ_REGION": ""}, "S3PQ_REGION not set", marks=pytest.mark.nightly),
        pytest.param(
            {"S3PQ_FILETYPE": "csv"},
            "filetype 'csv' is not supported; supported: parquet",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            {"S3PQ_CONCURRENCY": "0"},
            "concurrency must be at least 1, or negative",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            {"S3PQ_CONCURRENCY": "many"},
            "S3PQ_CONCURRENCY: concurrency: Input should be a valid integer",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            {"S3PQ_BUKCET": "x"}, "unknown variable S3PQ_BUKCET", marks=pytest.mark.nightly
        ),
        pytest.param(
            {"S3PQ_DESTINATION": "mysql://host/db"},
            "duckdb:///lake.duckdb",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            {"S3PQ_PATH_PREFIX": "/raw/"},
            "S3PQ_PATH_PREFIX: path_prefix must not start with a slash, as keys in S3 have none in "
            "front, got '/raw/'. Give 'raw/'.",
            marks=pytest.mark.thorough,
        ),
        ({"S3PQ_BUCKET": "no-such-bucket"}, "bucket 'no-such-bucket' not found"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_1(
    bucket: Bucket, tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    """An error in the configuration prints one line instead of a traceback."""
    done = dagster(*SYNC, cwd=tmp_path, environ=environment(bucket, tmp_path, **variables))
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error: ")]) == 1


@pytest.mark.thorough
def test_every_field_has_a_variable(bucket: Bucket, tmp_path: Path) -> None:
    """Lists are separated by commas; an empty variable counts as unset."""
    for table in ("a", "b", "c"):
        bucket.put(f"raw/{table}/1.parquet", 2)
    variables = {
        "S3PQ_PATH_PREFIX": "raw/",
        "S3PQ_FILETYPE": "parquet",
        "S3PQ_ROWS_PER_RECORD": "1",
        "S3PQ_CONCURRENCY": "-1",
        "S3PQ_TABLES": "raw_a, raw_b",
        "S3PQ_SKIP_TABLES": "*_b",
        "S3PQ_WRITE_MODE": "append",
        "S3PQ_INCREMENTAL": "false",
        "S3PQ_ADD_CQ_IDS": "false",
        "S3PQ_LOCAL_PROFILE": "",
    }
    done = headless_sync(bucket, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    with duckdb.connect(str(tmp_path / "lake.duckdb")) as connection:
        found = connection.sql("SELECT table_name, column_name FROM duckdb_columns()").fetchall()
    assert [name for table, name in found if table == "raw_a"] == ["id", "text", "_s3_key"]
    assert not [name for table, name in found if table in ("raw_b", "raw_c")]


@pytest.mark.thorough
def test_the_definitions_validate(bucket: Bucket, tmp_path: Path) -> None:
    """`dagster definitions validate` accepts the code location."""
    bucket.put("a/1.parquet", 1)
    environ = environment(bucket, tmp_path)
    done = dagster("definitions", "validate", *MODULE, cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
