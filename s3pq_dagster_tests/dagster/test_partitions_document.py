"""Each example of `docs/partitions.md` is as the page says."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from s3pq_dagster.layout.key_partitions import partitions_of
from s3pq_dagster.layout.rules import Layout
from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.command_line import dagster, environment
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.pages import DOCS

PAGE = (DOCS / "partitions.md").read_text("utf-8")
_YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RULES: dict[str, Any] = yaml.safe_load(_YAML.findall(PAGE)[0])
PARTITIONS = dict(re.findall(r"^\| `(\S+\.parquet)` \| `?([^`|]+?)`? \|$", PAGE, re.MULTILINE))
COMMANDS = re.findall(r"^dagster (.*)$", PAGE, re.MULTILINE)


@pytest.fixture
def named(bucket: Bucket) -> Iterator[Bucket]:
    """Make the bucket ``lake`` with the objects of the page, and a table without partitions."""
    lake = Bucket("lake", bucket.client, bucket.proxy)
    lake.client.create_bucket(Bucket=lake.name)
    keys = [*PARTITIONS, "plain/a.parquet"]
    for key in keys:
        lake.put(key, numbers(1))
    yield lake
    for key in keys:
        lake.delete(key)
    lake.client.delete_bucket(Bucket=lake.name)


def test_each_object_has_the_partition_of_the_page() -> None:
    """The first rule that takes a key says what its partition is."""
    assert len(PARTITIONS) == 5
    layout = Layout.of(RULES)
    for key, expected in PARTITIONS.items():
        found = [partitions_of(rule, pl.Series("key", [key]))[0] for rule in layout.rules]
        assert ([name for name in found if name] or ["none"]) == [expected]


def test_the_rules_of_the_page_make_these_definitions(
    named: Bucket, instance: dg.DagsterInstance, database: Path
) -> None:
    """The first partition is that of `start`, or the least that the bucket has."""
    defined = Lake(named, instance, database, spec={"layout": RULES}).definitions()
    firsts = {
        spec.key.path[-1]: spec.partitions_def and spec.partitions_def.get_first_partition_key()
        for spec in defined.resolve_all_asset_specs()
    }
    assert firsts == {
        "bills": "2024-01-01",
        "clicks": "2024-01-01-00:00",
        "events": "2024-01-05",
        "plain": None,
        "stock": "fr",
    }


@pytest.mark.nightly
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_loads_its_table(named: Bucket, tmp_path: Path, command: str) -> None:
    """It exits with 0."""
    layout = tmp_path / "layout.yaml"
    layout.write_text(yaml.safe_dump(RULES), encoding="utf-8")
    environ = environment(named, tmp_path, S3PQ_LAYOUT=str(layout))
    done = dagster(*shlex.split(command), cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
    assert "checkpoint_committed" in done.stderr


@pytest.mark.nightly
def test_all_tables_together_are_an_error_of_dagster(named: Bucket, tmp_path: Path) -> None:
    """The page says why the tables are selected; once this passes it need not."""
    layout = tmp_path / "layout.yaml"
    layout.write_text(yaml.safe_dump(RULES), encoding="utf-8")
    environ = environment(named, tmp_path, S3PQ_LAYOUT=str(layout))
    words = ("asset", "materialize", "-m", "s3pq_dagster.definitions", "--select", "*")
    assert dagster(*words, cwd=tmp_path, environ=environ).returncode == 1
