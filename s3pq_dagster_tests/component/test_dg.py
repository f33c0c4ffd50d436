"""The component, driven by Dagster's `dg` in a project as `create-dagster` makes one."""

import json
import shutil
from collections.abc import Iterator

import duckdb
import pytest

from s3pq_dagster import S3ParquetComponent
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.component.project import TYPE, Project
from s3pq_dagster_tests.servers import free_port

BUCKET = '  bucket: lake\n  region: us-east-1\n  endpoint_url: "{{ env.S3_ENDPOINT }}"\n'


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project without components, for tests that each write their own."""
    return Project.make(tmp_path_factory.mktemp("project") / "my_project")


@pytest.mark.thorough
def test_the_component_is_listed(project: Project) -> None:
    """`dg list components` names it, as the package's entry point makes it known."""
    done = project.dg("list", "components", "--json")
    assert done.returncode == 0, done.stdout
    found = {each["key"]: each for each in json.loads(done.stdout)["items"]}
    assert TYPE in found, "install the package anew, so that its entry points are known"
    assert found[TYPE]["summary"] == str(S3ParquetComponent.__doc__).splitlines()[0]


MISTAKES = """\
  bucket: lake
  region: us-east-1
  path_prefx: x
  rows_per_record: 0
  max_quarantined_fraction: 2
  write_mode: upsert
  destination:
    type: duckdb
    databse: x
    database: lake.duckdb
  sensor:
    intervall: 1
    stale_run_seconds: 0
"""
TOLD = {
    "attributes.path_prefx": "'path_prefx' was unexpected",
    "attributes.rows_per_record": "0 is less than the minimum of 1",
    "attributes.max_quarantined_fraction": "2 is greater than the maximum of 1",
    "attributes.write_mode": "'upsert' is not one of ['append', 'replace', 'mirror']",
    "attributes.destination.databse": "'databse' was unexpected",
    "attributes.sensor.intervall": "'intervall' was unexpected",
    "attributes.sensor.stale_run_seconds": "0 is less than the minimum of 1",
}
"""The place of each mistake, and what is told of it."""


@pytest.mark.thorough
def test_each_mistake_in_yaml_is_told_at_its_line(project: Project) -> None:
    """`dg check yaml` names a misspelt key, a number out of range and a bad choice."""
    path = project.write(MISTAKES)
    lines = path.read_text().splitlines()
    done = project.dg("check", "yaml")
    shutil.rmtree(path.parent)
    assert done.returncode == 1
    for place, told in TOLD.items():
        key = place.rpartition(".")[2]
        number = next(n for n, text in enumerate(lines, 1) if text.strip().startswith(f"{key}:"))
        (shown,) = [text for text in done.stdout.splitlines() if f"defs.yaml:{number} - " in text]
        assert place in shown
        assert told in shown


@pytest.fixture
def scaffolded(project: Project, bucket: Bucket) -> Iterator[Project]:
    """The project with a component, as the scaffolder writes it, and a bucket of two tables."""
    for table in ("orders", "users"):
        bucket.put(f"{table}/1.parquet", 3)
    done = project.dg(
        *("scaffold", "defs", TYPE, "loaded", "--bucket", bucket.name, "--region", "us-east-1"),
        *("--destination", "duckdb:///lake.duckdb"),
    )
    assert done.returncode == 0, done.stdout
    yield project
    for folder in ("loaded", ".local_defs_state"):
        shutil.rmtree(project.root / "src" / project.name / "defs" / folder)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_scaffolded_component_loads_a_bucket(scaffolded: Project, bucket: Bucket) -> None:
    """What is scaffolded passes both checks, is listed, and loads every row when launched.

    Where each table is loaded in a process of its own, none of them lists for the definitions.
    """
    there = {"AWS_ENDPOINT_URL_S3": bucket.proxy.endpoint}
    checked = scaffolded.dg("check", "defs", **there)
    assert checked.returncode == 0, checked.stdout
    assert "All component YAML validated successfully" in checked.stdout
    listed = scaffolded.dg("list", "defs", "--json", **there)
    assert f"{bucket.name}/orders" in listed.stdout
    path = scaffolded.root / "src" / scaffolded.name / "defs" / "loaded" / "defs.yaml"
    path.write_text(path.read_text() + "  executor: location\n")
    bucket.proxy.forget()
    launched = scaffolded.dg("launch", "--assets", "*", **there)
    assert launched.returncode == 0, launched.stdout
    with duckdb.connect(str(scaffolded.root / "lake.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(3,)]
    of_everything = [each for each in bucket.proxy.listings if each.query["prefix"] == [""]]
    assert len(of_everything) == 1


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_refresh_lists_once_and_one_that_fails_keeps_the_state(
    scaffolded: Project, bucket: Bucket
) -> None:
    """A refresh lists once; one without S3 ends with 1, says why, and leaves the state alone."""
    there = {"AWS_ENDPOINT_URL_S3": bucket.proxy.endpoint}
    bucket.proxy.forget()
    done = scaffolded.dg("utils", "refresh-defs-state", **there)
    assert done.returncode == 0, done.stdout
    assert len(bucket.proxy.listings) == 1
    before = scaffolded.state().read_bytes()
    there = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}"}
    failed = scaffolded.dg("utils", "refresh-defs-state", **there)
    assert failed.returncode == 1
    assert "StoreUnreachableError: cannot reach S3" in failed.stdout
    assert "Traceback" not in failed.stdout
    assert scaffolded.state().read_bytes() == before


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_what_dg_check_defs_finds_is_told_without_secrets(project: Project) -> None:
    """A bad choice, a URL and a variable that is not set: `dg check defs` names the attribute."""
    for attributes, told in (
        (f'{BUCKET}  write_mode: "{{{{ env.MODE }}}}"\n', "write_mode 'upsert' is not supported"),
        (f"{BUCKET}  destination: mysql://me:s3cret@h/lake\n", "is not one this release knows"),
        (BUCKET.replace("us-east-1", '"{{ env.NOWHERE }}"'), "region: the environment variable"),
    ):
        path = project.write(attributes)
        done = project.dg("check", "defs", MODE="upsert", S3_ENDPOINT="http://127.0.0.1:1")
        shutil.rmtree(path.parent)
        assert done.returncode == 1
        assert told in done.stdout
        assert "s3cret" not in done.stdout
