"""The URLs that stand for Delta tables, and the IO manager they make."""

import logging
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster import (
    S3ParquetDeltaIOManager,
    S3ParquetResource,
    build_io_manager,
    build_s3_parquet_definitions,
)
from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster_tests.buckets import Bucket, numbers


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("delta:///lake", {"root": "lake"}),
        ("delta:////data/lake", {"root": "/data/lake"}),
        ("delta+s3://bucket", {"root": "s3://bucket"}),
        ("delta+s3://bucket/a/b", {"root": "s3://bucket/a/b"}),
        (
            "delta+s3://bucket/a?endpoint_url=http://localhost:9000&region=eu-west-1&local_profile=me",
            {
                "root": "s3://bucket/a",
                "endpoint_url": "http://localhost:9000",
                "region": "eu-west-1",
                "local_profile": "me",
            },
        ),
    ],
)
def test_a_url_names_a_root(url: str, fields: dict[str, str]) -> None:
    """Three slashes are relative to the working directory, four absolute."""
    made = build_io_manager(url)
    assert isinstance(made, S3ParquetDeltaIOManager)
    assert {name: getattr(made, name) for name in fields} == fields
    assert isinstance(made.destination(logging.getLogger()), DeltaDestination)
    assert made.storage_kind() == "deltalake"
    assert made.table_name("orders") == f"{fields['root']}/orders"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("delta://lake", "has to be delta:///lake"),
        ("delta:///", "has to be delta:///lake"),
        ("delta+s3:///lake", "has to be delta\\+s3://bucket/prefix"),
        ("delta+gs://bucket/a", "Use .*delta\\+s3://bucket/prefix"),
        ("delta+s3://key:top-secret@bucket/a", "without credentials"),
        (
            "delta+s3://bucket/a?secret=top-secret",
            "endpoint_url, region, local_profile.*found 'secret'",
        ),
        ("delta+s3://bucket/a?region=eu&region=us", "each once and with a value"),
        ("delta+s3://bucket/a?region=", "each once and with a value"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error(url: str, said: str) -> None:
    """What is wrong with it, and what may be there; nothing secret is shown."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        build_io_manager(url)
    assert "top-secret" not in str(caught.value)


@pytest.mark.parametrize("root", ["", "gs://bucket/a", "file:///lake", "s3:///a"])
def test_a_root_that_is_neither_path_nor_s3_is_an_error(root: str) -> None:
    """When the destination is made, since an `EnvVar` is known no earlier."""
    with pytest.raises(ConfigurationError, match=r"a directory or s3://bucket/prefix"):
        S3ParquetDeltaIOManager(root=root).destination(logging.getLogger())


def test_a_secret_in_a_root_is_not_shown() -> None:
    """It does not belong there."""
    manager = S3ParquetDeltaIOManager(root="s3://key:top-secret@bucket/a")
    with pytest.raises(ConfigurationError, match="credentials do not belong") as caught:
        manager.destination(logging.getLogger())
    assert "top-secret" not in str(caught.value)


@pytest.mark.thorough
def test_an_asset_is_loaded_and_read_downstream(
    bucket: Bucket, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the root from an `EnvVar`; the table's name and kind are on the asset."""
    monkeypatch.setenv("LAKE", str(tmp_path / "lake"))
    bucket.put("a/1.parquet", numbers(3))
    bucket.put("a/2.parquet", numbers(2, start=3))
    got: list[pa.Table] = []

    @dg.asset(ins={"table": dg.AssetIn(dg.AssetKey([bucket.name, "a"]))})
    def child(table: pa.Table) -> None:
        got.append(table)

    definitions = dg.Definitions.merge(
        build_s3_parquet_definitions(
            S3ParquetResource(**bucket.spec),
            destination=S3ParquetDeltaIOManager(root=dg.EnvVar("LAKE")),
        ),
        dg.Definitions([child]),
    )
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    assert "deltalake" in specs[dg.AssetKey([bucket.name, "a"])].kinds
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance)
    (event,) = result.asset_materializations_for_node("load_a")
    assert event.metadata["dagster/table_name"].value == f"{tmp_path / 'lake'}/a"
    (table,) = got
    assert sorted(table["id"].to_pylist()) == [0, 1, 2, 3, 4]
    assert table.schema.field("_cq_id").type == pa.uuid()
