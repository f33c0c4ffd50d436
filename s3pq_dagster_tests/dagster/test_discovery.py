"""When the bucket is listed, and what stands in when it cannot be."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s3pq_dagster import S3ParquetResource, discover
from s3pq_dagster.errors import AccessDeniedError, CredentialsError, StoreUnreachableError
from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.proxy import Answer
from s3pq_dagster_tests.servers import Identity, free_port, seaweedfs, use_credentials

DENIED = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new `DAGSTER_HOME`."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def found(bucket: Bucket, **spec: object) -> dict[str, int]:
    """Discover the tables and return each one's number of objects."""
    return {t.name: t.objects for t in discover(S3ParquetResource(**bucket.spec | spec))}


def test_the_last_good_result_stands_in_while_s3_is_away(
    bucket: Bucket, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The saved tables have their schemas, and a warning gives the reason."""
    bucket.put("a/1.parquet", numbers(1))
    before = discover(S3ParquetResource(**bucket.spec))
    bucket.proxy.before = lambda _request: DENIED
    after = discover(S3ParquetResource(**bucket.spec))
    assert after == before
    assert after[0].schema is not None
    warning = next(r for r in caplog.records if r.levelno == logging.WARNING)
    assert "discovery_failed" in warning.getMessage()
    assert "access denied" in warning.getMessage()


def test_without_an_earlier_result_the_error_is_raised(bucket: Bucket, home: Path) -> None:
    """The error names the missing permission."""
    bucket.proxy.before = lambda _request: DENIED
    with pytest.raises(AccessDeniedError, match="s3:ListBucket"):
        found(bucket)


def test_one_empty_listing_drops_no_table(
    bucket: Bucket, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning says how to forget the saved tables."""
    bucket.put("a/1.parquet", 1)
    found(bucket)
    bucket.delete("a/1.parquet")
    assert found(bucket) == {"a": 1}
    assert "delete it to forget them" in caplog.text


def test_a_prefix_that_is_empty_for_a_while_stays_a_table(
    bucket: Bucket, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """For a week, with its schema and a warning; not once its name is another's, case aside."""
    for key in ("a/1", "b/1", "c/1"):
        bucket.put(f"{key}.parquet", numbers(1))
    found(bucket)
    assert "tables_empty" not in caplog.text
    for key in ("b/1", "c/1"):
        bucket.delete(f"{key}.parquet")
    bucket.put("C/1.parquet", 1)
    assert found(bucket) == {"C": 1, "a": 1, "b": 0}
    assert "tables_empty tables=1 named=b consequence=" in caplog.text
    again = {table.name: table for table in discover(S3ParquetResource(**bucket.spec))}
    assert again["b"].schema is not None
    assert again["b"].missing_since is not None
    (saved,) = (home / "storage" / "s3pq_dagster").iterdir()
    since, week = str(again["b"].missing_since), 7 * 86_400
    saved.write_text(saved.read_text().replace(since, str(again["b"].missing_since - week)))
    assert found(bucket) == {"C": 1, "a": 1}
    bucket.put("b/1.parquet", 1)
    assert found(bucket) == {"C": 1, "a": 1, "b": 1}


def test_tables_of_the_layout_of_before_are_named(
    bucket: Bucket, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once; another selection of the bucket, and files that are none, are not asked."""
    for day in ("2024/01/01", "2024/01/02"):
        bucket.put(f"a/{day}/p.parquet", 1)
    bucket.put("b/1.parquet", 1)
    found(bucket, skip_tables=["b"])
    (home / "storage" / "s3pq_dagster" / f"{bucket.name}-x.json").write_text("[")
    assert found(bucket) == {"a_2024_01_01": 1, "a_2024_01_02": 1, "b": 1}
    assert "tables_dropped" not in caplog.text
    assert found(bucket, layout="dated") == {"a": 2, "b": 1}
    assert 'tables_dropped tables=2 named="a_2024_01_01 a_2024_01_02" ' in caplog.text
    caplog.clear()
    found(bucket, layout="dated")
    assert "tables_dropped" not in caplog.text


def test_another_selection_is_saved_apart(bucket: Bucket, home: Path) -> None:
    """Two code locations over one bucket have different files."""
    bucket.put("a/1.parquet", 1)
    bucket.put("b/1.parquet", 1)
    assert found(bucket, tables=["a"]) == {"a": 1}
    assert found(bucket, skip_tables=["a"]) == {"b": 1}
    assert len(list((home / "storage" / "s3pq_dagster").iterdir())) == 2


def test_a_malformed_object_does_not_stop_discovery(bucket: Bucket, home: Path) -> None:
    """The schema comes from the next readable object."""
    bucket.put("a/1.parquet", b"not parquet, but long enough")
    bucket.put("a/2.parquet", numbers(1))
    table = discover(S3ParquetResource(**bucket.spec))[0]
    assert (table.objects, table.schema_key) == (2, "a/2.parquet")


def test_a_changed_first_object_gives_the_new_schema(bucket: Bucket, home: Path) -> None:
    """A footer is known by key and e_tag."""
    bucket.put("a/1.parquet", numbers(1))
    found(bucket)
    bucket.put("a/1.parquet", numbers(1).rename_columns(["number", "text"]))
    schema = discover(S3ParquetResource(**bucket.spec))[0].schema
    assert schema is not None
    assert schema.names == ["number", "text"]


def test_a_folder_that_cannot_be_written_is_a_warning(
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Discovery goes on without saving its result."""
    (tmp_path / "storage").write_text("a file where a folder should be")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    bucket.put("a/1.parquet", 1)
    assert found(bucket) == {"a": 1}
    assert "catalog_not_saved" in caplog.text


def test_a_bucket_of_the_longest_name_is_saved(
    bucket: Bucket, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file's name has part of the bucket's name, and nothing of the prefix."""
    name = "l" * 255
    page = (
        f"<ListBucketResult><Name>{name}</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
    )
    bucket.proxy.before = lambda _request: Answer(200, page.encode())
    spec = bucket.spec | {"bucket": name, "path_prefix": "../../x"}
    assert discover(S3ParquetResource(**spec)) == []
    assert "catalog_not_saved" not in caplog.text
    (saved,) = (home / "storage" / "s3pq_dagster").iterdir()
    assert re.fullmatch(r"l{63}-[0-9a-f]{16}\.json", saved.name)


def test_an_unreachable_server_is_named_within_its_time(home: Path) -> None:
    """The error names the endpoint, where nothing listens."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    source = S3ParquetResource(bucket="lake", region="us-east-1", endpoint_url=endpoint)
    with pytest.raises(StoreUnreachableError, match=endpoint):
        discover(source)


@contextmanager
def credentials(identity: Identity) -> Iterator[None]:
    """Use other credentials for a while."""
    before = Identity(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    use_credentials(identity)
    try:
        yield
    finally:
        use_credentials(before)


def test_wrong_credentials_and_denied_access_are_different_errors(
    tmp_path: Path, home: Path
) -> None:
    """A server that checks signatures answers differently, and so does the error."""
    reader = Identity("reader", "reader-secret", ("Read:other", "List:other"))
    with seaweedfs(tmp_path / "weed", reader) as endpoint:
        from s3pq_dagster_tests.servers import admin_client  # noqa: PLC0415 - needs the server

        client = admin_client(endpoint)
        client.create_bucket(Bucket="lake")
        source = S3ParquetResource(bucket="lake", region="us-east-1", endpoint_url=endpoint)
        with (
            credentials(Identity("reader", "wrong")),
            pytest.raises(CredentialsError, match="lake"),
        ):
            discover(source)
        with (
            credentials(Identity("nobody", "wrong")),
            pytest.raises(CredentialsError, match="lake"),
        ):
            discover(source)
        with credentials(reader), pytest.raises(AccessDeniedError, match="s3:ListBucket"):
            discover(source)


@pytest.mark.thorough
def test_a_step_process_reads_the_saved_result(bucket: Bucket, home: Path) -> None:
    """Under the multiprocess executor no step lists the bucket for the definitions."""
    bucket.put("a/1.parquet", 1)
    bucket.put("b/1.parquet", 1)
    script = home / "multi.py"
    script.write_text(
        "import dagster as dg\n"
        "from s3pq_dagster import S3ParquetResource, build_s3_parquet_definitions\n"
        f"source = S3ParquetResource(**{bucket.spec!r})\n"
        "@dg.definitions\n"
        "def defs():\n"
        f"    url = 'duckdb:///{home}/x.duckdb'\n"
        "    built = build_s3_parquet_definitions(source, destination=url)\n"
        "    return dg.Definitions(\n"
        "        built.assets, resources=built.resources, executor=dg.multiprocess_executor\n"
        "    )\n"
    )
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-f", str(script)]
    bucket.proxy.forget()
    done = subprocess.run(
        [*command, "--select", "*"],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = [listing.query["prefix"][0] for listing in bucket.proxy.listings]
    assert sorted(listed) == ["", "a/", "b/"]


def test_a_table_whose_footer_cannot_be_read_is_a_table(
    bucket: Bucket, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the store fails after the listing, tables have no schema until the next start."""
    for name in "ab":
        bucket.put(f"{name}/1.parquet", 1)
    bucket.proxy.before = lambda request: Answer(501) if request.is_object else None
    assert found(bucket) == {"a": 1, "b": 1}
    assert "schema_skipped" in caplog.text
    bucket.proxy.before = lambda _request: None
    assert all(table.schema for table in discover(S3ParquetResource(**bucket.spec)))


def test_a_footer_that_cannot_be_read_leaves_the_saved_schema(bucket: Bucket, home: Path) -> None:
    """The next start reads the footer again."""
    bucket.put("a/1.parquet", 1)
    (before,) = discover(S3ParquetResource(**bucket.spec))
    bucket.put("a/1.parquet", numbers(1).rename_columns(["number", "text"]))
    bucket.proxy.before = lambda request: Answer(501) if request.is_object else None
    (after,) = discover(S3ParquetResource(**bucket.spec))
    assert (after.schema, after.schema_version) == (before.schema, before.schema_version)
    bucket.proxy.before = lambda _request: None
    (later,) = discover(S3ParquetResource(**bucket.spec))
    assert later.schema is not None
    assert later.schema.names == ["number", "text"]
