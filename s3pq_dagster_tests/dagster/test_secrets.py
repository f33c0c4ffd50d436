"""Credentials appear nowhere: everything written is searched for planted canaries."""

import subprocess
import sys
import traceback
from pathlib import Path

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from s3pq_dagster import S3ParquetResource, discover
from s3pq_dagster.errors import S3ParquetError
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import headless_sync
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.proxy import Answer

CANARIES = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYKEY0000001",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+0123456789abcdefABCDEF",
    "AWS_SESSION_TOKEN": "canary//session+token==0123456789",
}
EXPIRED = Answer(400, b"<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>")
DENIED = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")


@pytest.fixture
def _canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant the canaries where the AWS chain looks (moto accepts any credentials)."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)


def assert_clean(*texts: str) -> None:
    """Assert that no canary is in any of these."""
    for text in texts:
        assert not [name for name, canary in CANARIES.items() if canary in text]


@pytest.mark.thorough
@pytest.mark.usefixtures("_canaries")
def test_no_secret_is_written_by_a_sync_that_works_or_fails(bucket: Bucket, tmp_path: Path) -> None:
    """Output, event log, run storage, compute logs, saved tables and DuckDB have no canary."""
    bucket.put("a/1.parquet", 1)
    bucket.put("b/1.parquet", b"malformed")
    bucket.put("b/2.parquet", 1)
    worked = headless_sync(bucket, tmp_path)
    assert worked.returncode == 0, worked.stderr
    bucket.put("a/2.parquet", 1)
    bucket.proxy.before = lambda request: DENIED if request.key == "a/2.parquet" else None
    denied = headless_sync(bucket, tmp_path)
    bucket.proxy.before = lambda _request: EXPIRED
    expired = headless_sync(bucket, tmp_path)
    assert (denied.returncode, expired.returncode) == (1, 1)
    assert "ExpiredToken" in expired.stderr
    assert_clean(
        *(text for done in (worked, denied, expired) for text in (done.stdout, done.stderr))
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert any(path.name == "lake.duckdb" for path in files)
    assert_clean(*(path.read_bytes().decode("latin-1") for path in files))


@pytest.mark.first_case
@pytest.mark.usefixtures("_canaries")
@pytest.mark.parametrize("answer", [EXPIRED, DENIED, Answer(500), Answer(200, b"<html>")])
def test_no_secret_is_in_an_exception(
    bucket: Bucket, answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, causes and traceback of an exception have no canary."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    bucket.proxy.before = lambda _request: answer
    with pytest.raises(S3ParquetError) as caught:
        discover(S3ParquetResource(**bucket.spec))
    assert_clean("".join(traceback.format_exception(caught.value)), repr(caught.value))


# Dagster calls its own deprecated property when a resource is nested in another.
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated")
def test_a_resource_with_credentials_of_dagster_aws_prints_none(lake: Lake) -> None:
    """The resource loads with them; repr, str and the run do not show them."""
    inner = S3Resource(
        aws_access_key_id=CANARIES["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CANARIES["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=CANARIES["AWS_SESSION_TOKEN"],
    )
    lake.bucket.put("a/1.parquet", 1)
    source = S3ParquetResource(**lake.bucket.spec, s3=inner)
    with source.process_config_and_initialize_cm() as opened:
        assert_clean(repr(source), str(source), repr(opened), str(opened), repr(opened.store))
    lake.spec = {"s3": inner}
    result = lake.run()
    assert result.success
    assert_clean(*(dg.serialize_value(entry) for entry in lake.instance.all_logs(result.run_id)))
    assert_clean(str(lake.instance.get_run_by_id(result.run_id)))


def test_an_endpoint_with_a_password_is_refused_without_showing_it() -> None:
    """Endpoints are printed and logged, so a password in one is refused."""
    url = "https://me:canary-password@s3.example.com"
    with pytest.raises(ValueError, match="must not carry a user name, password") as caught:
        S3ParquetResource(bucket="b", region="r", endpoint_url=url)
    shown = "; ".join(error["msg"] for error in caught.value.errors())  # type: ignore[attr-defined]
    assert "canary-password" not in shown


@pytest.mark.thorough
def test_importing_the_package_imports_no_destination_and_no_dagster_aws() -> None:
    """`import s3pq_dagster` imports nothing optional."""
    heavy = ("duckdb", "adbc_driver_postgresql", "psycopg", "pgpq", "dagster_aws")
    code = f"import sys, s3pq_dagster; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert dg.__version__
