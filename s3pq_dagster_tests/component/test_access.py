"""The component's attribute `s3`, by which it gets at the bucket."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster.components.testing import DefsFolderSandbox

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.component.project import (
    Project,
    attributes_of,
    definitions,
    sandbox,
    write,
)
from s3pq_dagster_tests.component.test_component import run, told
from s3pq_dagster_tests.levels import first_of

pytestmark = pytest.mark.filterwarnings(  # of Dagster about itself
    "ignore:.parse_obj_as. is deprecated",
    "ignore::dagster.BetaWarning",
    "ignore:InitResourceContext.dagster_run is deprecated",
)

KEYS = {"aws_access_key_id": "THEIRS", "aws_secret_access_key": "{{ env.THEIR_SECRET }}"}
MODULE = """\
import dagster as dg
from dagster_aws.s3 import S3Resource


@dg.definitions
def resources():
    secret = dg.EnvVar("THEIR_SECRET")
    theirs = S3Resource(aws_access_key_id="THEIRS", aws_secret_access_key=secret)
    return dg.Definitions(resources={"s3": theirs, "five": 5})
"""
BY_KEY = "{{ context.build_defs('resources.py').resources['%s'] }}"
UNUSABLE: list[tuple[Any, str]] = [
    (KEYS | {"aws_secret_access_key": "s3cret"}, "s3: aws_secret_access_key is written out"),
    ({"aws_session_token": "s3cret"}, "s3: aws_session_token is written out"),
    ({"secret": "s3cret"}, "s3: secret is not used; it takes aws_access_key_id, "),
    ({"region_name": "r"}, "s3: region_name is not used: it is the attribute 'region'"),
    ({"use_unsigned_session": [1]}, "s3: use_unsigned_session: Input should be a valid boolean"),
    ({"aws_session_token": "{{ env.UNSET }}"}, "aws_session_token: the environment variable UNSET"),
    ("s3", "s3 is text: give the fields of an S3Resource"),
    (BY_KEY % "five", "s3 must be a dagster_aws.s3.S3Resource, got builtins.int"),
]
"""Values of the attribute, and what is said of them."""


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[DefsFolderSandbox]:
    """A project with a module of resources, that refreshes its state when it is loaded."""
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    monkeypatch.setenv("THEIR_SECRET", "s3cret")
    with sandbox() as made:
        (made.defs_folder_path / "resources.py").write_text(MODULE)
        yield made


@pytest.mark.first_case
@pytest.mark.parametrize("given", [KEYS, BY_KEY % "s3"])
def test_the_attribute_signs_every_request(
    project: DefsFolderSandbox,
    bucket: Bucket,
    database: Path,
    instance: dg.DagsterInstance,
    given: Any,
) -> None:
    """Fields, or the resource under a key, sign discovery, runs and ticks; nothing shows them."""
    bucket.put("orders/1.parquet", 3)
    write(project, attributes_of(bucket, database, s3=given))
    bucket.proxy.forget()
    defs = definitions(project)
    result = run(defs, instance)
    assert result.success
    sensor = defs.get_repository_def().get_sensor_def("s3_parquet_sensor")
    with dg.build_sensor_context(instance=instance) as context:
        sensor.evaluate_tick(context)
    assert len(bucket.proxy.requests) > 3
    for request in bucket.proxy.requests:
        assert "Credential=THEIRS/" in str(request.authorization)
    shown = repr(defs.resources), *(str(event) for event in instance.all_logs(result.run_id))
    assert "s3cret" not in "\n".join(shown)


@pytest.mark.parametrize(("given", "expected"), first_of(UNUSABLE))
def test_what_cannot_be_used_is_named_without_its_value(
    project: DefsFolderSandbox, bucket: Bucket, given: Any, expected: str
) -> None:
    """An error has the field's name and what to write, and no secret."""
    bucket.put("orders/1.parquet", 3)
    write(project, bucket.spec | {"s3": given})
    error = told(project)
    assert expected in error
    assert "s3cret" not in error


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_dg_checks_lists_and_launches_with_it(bucket: Bucket, tmp_path: Path) -> None:
    """The commands work with a variable, and refuse a secret that is written out, unseen."""
    bucket.put("orders/1.parquet", 3)
    project = Project.make(tmp_path / "my_project")
    attributes = (
        f"  bucket: {bucket.name}\n  region: us-east-1\n"
        f"  endpoint_url: {bucket.proxy.endpoint}\n  destination: duckdb:///lake.duckdb\n"
        '  s3:\n    aws_access_key_id: THEIRS\n    aws_secret_access_key: "{{ env.THEIRS }}"\n'
    )
    path = project.write(attributes)
    for command in (("check", "defs"), ("list", "defs"), ("launch", "--assets", "*")):
        done = project.dg(*command, THEIRS="s3cret")
        assert done.returncode == 0, done.stdout
        assert "s3cret" not in done.stdout
    with duckdb.connect(str(project.root / "lake.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(3,)]
    shutil.rmtree(path.parent)
    project.write(attributes.replace("{{ env.THEIRS }}", "s3cret"))
    for command in (("check", "defs"), ("list", "defs")):
        done = project.dg(*command)
        assert done.returncode != 0
        assert "aws_secret_access_key is written out" in done.stdout
        assert "s3cret" not in done.stdout
