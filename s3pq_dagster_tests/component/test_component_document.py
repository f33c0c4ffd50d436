"""Each example of `docs/component.md` does what the page says."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from s3pq_dagster import S3ParquetComponent
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.component.project import Project, definitions, sandbox
from s3pq_dagster_tests.lake import messages
from s3pq_dagster_tests.levels import first_of

pytestmark = pytest.mark.filterwarnings(  # of Dagster about itself
    "ignore:.parse_obj_as. is deprecated", "ignore::dagster.BetaWarning"
)

PAGE = Path(__file__).parents[2] / "docs" / "component.md"
TEXT = PAGE.read_text(encoding="utf-8")
START, END = "<!-- attributes: ", "<!-- end of attributes -->"


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def table() -> str:
    """Render the table of the attributes that are no fields of the spec."""
    rows = ["| attribute | description |", "|---|---|"]
    for name, field in S3ParquetComponent.model_fields.items():
        if name not in S3ParquetSpec.model_fields:
            rows.append(f"| `{name}` | {field.description} |")
    return "\n".join(rows) + "\n"


def place() -> tuple[int, int]:
    """Find where the page's table starts and ends."""
    return TEXT.index("\n", TEXT.index(START)) + 1, TEXT.index(END)


@pytest.fixture
def lake(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make the bucket ``lake`` with a table, and an empty working directory."""
    named = Bucket("lake", bucket.client, bucket.proxy)
    named.client.create_bucket(Bucket=named.name)
    named.put("orders/1.parquet", 3)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.proxy.endpoint)
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    monkeypatch.setenv("S3PQ_BUCKET", "lake")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    named.delete("orders/1.parquet")
    named.client.delete_bucket(Bucket=named.name)


def test_the_table_of_attributes_is_the_components() -> None:
    """The page lists every attribute with its description."""
    first, last = place()
    assert TEXT[first:last] == table()


@pytest.mark.parametrize("number", first_of(range(len(blocks("yaml")))))
def test_each_yaml_loads_the_bucket(lake: Path, number: int, instance: dg.DagsterInstance) -> None:
    """Every YAML is a component's file, and loads each object's rows."""
    with sandbox() as made:
        path = made.defs_folder_path / "lake" / "defs.yaml"
        path.parent.mkdir()
        path.write_text(blocks("yaml")[number])
        defs = definitions(made)
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance)
    assert result.success
    components = blocks("yaml")[number].count("type: s3pq_dagster")
    assert len(result.get_asset_materialization_events()) == components
    with duckdb.connect(str(lake / "lake.duckdb"), read_only=True) as connection:
        found = connection.execute(
            "SELECT estimated_size FROM duckdb_tables() WHERE table_name = 'orders'"
        )
        assert found.fetchall() == [(3,)]


@pytest.mark.parametrize("text", blocks("python"))
def test_each_subclass_does_what_it_adds(
    lake: Path, text: str, instance: dg.DagsterInstance
) -> None:
    """The class in the snippet changes the tags of an asset, and logs before it is loaded."""
    namespace: dict[str, Any] = {}
    exec(compile(text, str(PAGE), "exec"), namespace)
    attributes = {"bucket": "lake", "region": "eu-central-1"}
    component = namespace["Bronze"].from_attributes_dict(attributes=attributes)
    context = dg.ComponentTree.for_test().load_context
    component.write_state_to_path(lake / "state")
    defs = component.build_defs_from_state(context, lake / "state")
    (spec,) = defs.resolve_all_asset_specs()
    assert spec.tags["tier"] == "bronze"
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    assert "loading lake/orders" in messages(instance, result.run_id)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_the_commands_load_the_bucket(lake: Path) -> None:
    """In a new project the commands succeed one after the other, and load the rows."""
    project = Project.make(lake / "my_project")
    (text,) = blocks("sh")
    for command in text.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "dg"
        done = project.dg(*arguments)
        assert done.returncode == 0, done.stdout
    with duckdb.connect(str(project.root / "s3pq.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(3,)]


if __name__ == "__main__":
    first_line, last_line = place()
    PAGE.write_text(TEXT[:first_line] + table() + TEXT[last_line:], encoding="utf-8")
