"""`--module` and `--component`: the command line finds what a project loads."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3pq_dagster_tests.cli.conftest import CommandLine
from s3pq_dagster_tests.component.project import Project

pytestmark = pytest.mark.filterwarnings(  # of Dagster about itself
    "ignore:.parse_obj_as. is deprecated",
    "ignore::dagster.BetaWarning",
    "ignore:InitResourceContext.dagster_run is deprecated",
)

DEFINITIONS = """
import dagster as dg
from s3pq_dagster import (
    S3ParquetResource,
    build_s3_parquet_definitions,
    merge_s3_parquet_definitions,
)

def built(name, prefix):
    source = S3ParquetResource(
        bucket=dg.EnvVar("LAKE"), region="us-east-1", endpoint_url={endpoint!r}, path_prefix=prefix
    )
    url = f"duckdb:///{{name}}.duckdb"
    return build_s3_parquet_definitions(source, destination=url, name=name)

defs = merge_s3_parquet_definitions(built("eu", "eu/"), built("us", "us/"))
"""
ATTRIBUTES = """\
  bucket: {bucket}
  region: us-east-1
  endpoint_url: {endpoint}
  destination: parquet:///tables
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Forget the modules that a test imports, of which the next one has others."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("lake_definitions", "broken", "empty", "my_project"):
            del sys.modules[name]


@pytest.fixture
def module(s3pq: CommandLine, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module with the definitions of two sources."""
    monkeypatch.setenv("LAKE", s3pq.bucket.name)
    text = DEFINITIONS.format(endpoint=s3pq.bucket.proxy.endpoint)
    Path("lake_definitions.py").write_text(text)
    for key in ("eu/orders/a.parquet", "us/users/b.parquet"):
        s3pq.bucket.put(key, 1)
    return "lake_definitions"


def test_the_sources_of_a_module_are_found(s3pq: CommandLine, module: str) -> None:
    """All of them, each with its destination; nothing is written, not even the tables found."""
    before = s3pq.files()
    said = s3pq("plan", "--module", module, "--json", S3PQ_BUCKET="")
    assert said.code == 2
    eu, us = said.json["sources"]
    assert (eu["source"], us["source"]) == ("eu", "us")
    assert [table["table"] for table in eu["tables"]] == ["eu_orders"]
    assert eu["destination"].endswith("/eu.duckdb#main")
    assert us["destination"].endswith("/us.duckdb#main")
    assert s3pq.files() == before


def test_one_of_several_sources_is_chosen(s3pq: CommandLine, module: str) -> None:
    """`--source` takes its name; another name is an error that tells those there are."""
    said = s3pq("tables", "-m", module, "--source", "us")
    assert said.out.startswith(f"us: s3://{s3pq.bucket.name}/us/\n")
    assert "eu_orders" not in said.out
    wrong = s3pq("tables", "-m", module, "--source", "asia")
    assert wrong.code == 1
    assert (
        wrong.err == "error: ConfigurationError: there is no source 'asia'; there is 'eu', 'us'\n"
    )


def test_doctor_looks_for_a_table_in_all_sources(s3pq: CommandLine, module: str) -> None:
    """A name is right that one of several sources has; one that none has is told once."""
    home = {"DAGSTER_HOME": str(s3pq.directory)}
    assert s3pq("doctor", "-m", module, "--table", "us_users", **home).code == 0
    said = s3pq("doctor", "-m", module, "--table", "users", "--json", **home)
    assert said.code == 1
    (wrong,) = (check for check in said.json["checks"] if not check["ok"])
    assert (wrong["source"], wrong["check"]) == (None, "--table")
    assert wrong["found"].endswith("no table 'users' in the bucket; there is eu_orders, us_users")


def test_a_module_that_cannot_be_used_is_an_error_of_one_line(s3pq: CommandLine) -> None:
    """It is not there, fails while it is imported, or has no definitions."""
    Path("broken.py").write_text("raise RuntimeError('of the user')\n")
    Path("empty.py").write_text("x = 1\n")
    for name, found in {
        "no_such": "ModuleNotFoundError: No module named 'no_such'",
        "broken": "module 'broken' cannot be loaded: RuntimeError: of the user",
        "empty": "'empty' has 0 Definitions",
    }.items():
        said = s3pq("tables", "-m", name)
        assert (said.code, said.err.count("\n")) == (1, 1)
        assert found in said.err


@pytest.fixture
def project(s3pq: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make a dg project with a component, and enter it."""
    made = Project.make(tmp_path / "project")
    made.write(ATTRIBUTES.format(bucket=s3pq.bucket.name, endpoint=s3pq.bucket.proxy.endpoint))
    monkeypatch.chdir(made.root)
    s3pq.bucket.put("orders/a.parquet", 2)
    return made


def test_a_component_is_found_by_its_path(s3pq: CommandLine, project: Project) -> None:
    """Its attributes are source and destination; no state is needed, and nothing is written."""
    before = s3pq.files()
    said = s3pq("plan", "--component", "lake", S3PQ_BUCKET="")
    assert said.code == 2
    assert said.words("orders")[1] == "1"
    assert (
        s3pq("status", "--component", "lake", "--json")
        .json["sources"][0]["destination"]
        .endswith("/project/tables")
    )
    assert s3pq.files() == before


def test_the_definitions_of_a_project_are_found(s3pq: CommandLine, project: Project) -> None:
    """`--module my_project.definitions` loads its components, without a state too."""
    before = s3pq.files()
    said = s3pq("tables", "-m", f"{project.name}.definitions")
    assert said.code == 0
    assert said.words("orders")[1] == "1"
    assert s3pq.files() == before


def test_a_component_that_is_not_there_is_an_error_of_one_line(
    s3pq: CommandLine, project: Project
) -> None:
    """Nor is one outside a project."""
    said = s3pq("plan", "--component", "nothing")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert said.err.startswith("error: ConfigurationError: component 'nothing' cannot be loaded: ")


def test_either_a_module_or_a_component_is_asked_for(s3pq: CommandLine) -> None:
    """Both are one too many."""
    said = s3pq("plan", "-m", "a", "--component", "b")
    assert (said.code, said.err) == (
        1,
        "error: ConfigurationError: give either --module or --component\n",
    )
