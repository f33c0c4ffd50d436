"""Parquet files as a destination, through Dagster."""

import logging
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from s3pq_dagster import (
    S3ParquetParquetIOManager,
    S3ParquetResource,
    build_io_manager,
    build_s3_parquet_definitions,
)
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.lake import checked, materialized, values


def definitions(bucket: Bucket, destination: str | S3ParquetParquetIOManager) -> dg.Definitions:
    """Build definitions of a bucket with an asset downstream of table a."""
    source = S3ParquetResource(**bucket.spec)
    built = build_s3_parquet_definitions(source, destination=destination, retry_policy=None)
    key = dg.AssetKey([bucket.name, "a"])

    @dg.asset(ins={"table": dg.AssetIn(key, metadata={"columns": ["text", "id"]})})
    def child(table: pa.Table) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"rows": table.num_rows, "names": table.column_names})

    return dg.Definitions.merge(built, dg.Definitions([child]))


def run(found: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Materialize everything."""
    job = found.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance)


@pytest.mark.parametrize("place", ["directory", pytest.param("S3", marks=pytest.mark.thorough)])
def test_a_table_is_loaded_checked_and_read_downstream(
    bucket: Bucket,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """A URL names the destination, and the asset shows the glob to read a table by."""
    bucket.client.create_bucket(Bucket=f"{bucket.name}-out")
    root = f"s3://{bucket.name}-out/lake" if place == "S3" else str(tmp_path / "lake")
    url = root.replace("s3://", "parquet+s3://") if place == "S3" else f"parquet:///{root}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.proxy.endpoint)
    bucket.put("a/1.parquet", numbers(3))
    bucket.put("a/2.parquet", numbers(2, start=3))
    result = run(definitions(bucket, url), instance)
    events = materialized(result)
    said = values(events["a"])
    assert said["dagster/table_name"] == f"{root}/a/*.parquet"
    assert said["dagster/row_count"] == 5
    assert values(events["child"])["rows"] == 5
    assert values(events["child"])["names"] == ["text", "id"]
    assert all(check.passed for check in checked(result).values())
    assert not materialized(run(definitions(bucket, url), instance)).keys() & {"a"}


def test_engines_read_what_was_loaded(
    bucket: Bucket, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Engines read the glob that the asset shows."""
    bucket.put("a/1.parquet", numbers(3))
    manager = S3ParquetParquetIOManager(root=str(tmp_path / "lake"), compression="snappy")
    run(definitions(bucket, manager), instance)
    assert sorted(pl.read_parquet(manager.table_name("a"))["id"]) == [0, 1, 2]


def test_fields_may_come_from_the_environment(
    bucket: Bucket, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields take an `EnvVar`, as those of any resource."""
    monkeypatch.setenv("LAKE", str(tmp_path / "lake"))
    bucket.put("a/1.parquet", numbers(3))
    manager = S3ParquetParquetIOManager(root=dg.EnvVar("LAKE"))
    assert run(definitions(bucket, manager), instance).success
    assert len(list(tmp_path.glob("lake/a/*.parquet"))) == 1


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("parquet:///lake", "lake"),
        ("parquet:////data/lake", "/data/lake"),
        ("parquet+s3://bucket", "s3://bucket"),
        ("parquet+s3://bucket/a/b", "s3://bucket/a/b"),
    ],
)
def test_a_url_names_the_root(url: str, root: str) -> None:
    """Three slashes are relative to the working directory, four absolute."""
    manager = build_io_manager(url)
    assert isinstance(manager, S3ParquetParquetIOManager)
    assert manager.root == root


def test_a_url_says_where_its_s3_is() -> None:
    """The URL may have endpoint, region and profile."""
    url = "parquet+s3://bucket/x?endpoint_url=http://127.0.0.1:9&region=r&local_profile=p"
    manager = build_io_manager(url)
    assert isinstance(manager, S3ParquetParquetIOManager)
    found = (manager.endpoint_url, manager.region, manager.local_profile)
    assert found == ("http://127.0.0.1:9", "r", "p")


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("", "`root` is a directory or s3://bucket/prefix"),
        ("gs://bucket/x", "`root` is a directory or s3://bucket/prefix"),
        ("s3://", "`root` is a directory or s3://bucket/prefix"),
        ("s3://key:canary@bucket/x", "credentials do not belong"),
    ],
)
def test_a_root_that_is_none_is_refused(root: str, said: str) -> None:
    """A URL as the root would make a directory of an odd name."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        S3ParquetParquetIOManager(root=root).destination(logging.getLogger())
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("parquet://lake", "has to be parquet:///lake"),
        ("parquet:///", "has to be parquet:///lake"),
        ("parquet://", "has to be parquet:///lake"),
        ("parquet:lake", "has to be parquet:///lake"),
        ("parquet+s3://", "has to be parquet\\+s3://bucket/prefix"),
        ("parquet+s3:///prefix", "has to be parquet\\+s3://bucket/prefix"),
        ("parquet+s3://key:canary@bucket/x", "without credentials"),
        ("parquet:///lake?compression=zstd", "and nothing else"),
        ("parquet+s3://bucket/x#y", "behind the `\\?` may be"),
        ("parquet+s3://bucket/x?region=a&region=b", "each once"),
        ("parquet+s3://bucket/x?compression=zstd", "'compression'"),
        ("parquet+gs://bucket/x", "parquet\\+s3://bucket/prefix"),
    ],
)
def test_a_url_that_names_none_says_how_it_should_be(url: str, said: str) -> None:
    """Each mistake has its own message, without credentials."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        build_io_manager(url)
    assert "canary" not in str(caught.value)
