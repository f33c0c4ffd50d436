"""Directories and files that the user may not write or search: a line that says what to allow."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from s3pq_dagster_tests.access_rights import run_with_rights
from s3pq_dagster_tests.cli.conftest import CommandLine
from s3pq_dagster_tests.cli.loads import load
from s3pq_dagster_tests.levels import first_of

SHUT, READ_ONLY, FILE_READ_ONLY = 0o000, 0o555, 0o444


@contextmanager
def with_mode(path: Path, mode: int) -> Iterator[None]:
    """Change the rights of a file or directory for a while."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.fixture
def as_user(s3pq: CommandLine) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs a command as somebody who is not root."""
    home = s3pq.directory / "home"
    home.mkdir()

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, **s3pq.environment, "DAGSTER_HOME": str(home), **variables}
        return run_with_rights("-m", "s3pq_dagster.cli", *words, env=environ, cwd=s3pq.directory)

    return run


def failing(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return what is found by the checks of `doctor` that are not ok, by name."""
    assert (done.returncode, done.stderr) == (1, "")
    return {
        each["check"]: each["found"] for each in json.loads(done.stdout)["checks"] if not each["ok"]
    }


@pytest.mark.parametrize(
    "url", first_of(["duckdb:///lake/x", "delta:///lake/x", "parquet:///lake/x"])
)
def test_a_directory_that_may_not_be_written_is_told(
    s3pq: CommandLine, as_user: Any, url: str
) -> None:
    """Where a first load would create the destination; nothing else is wrong."""
    s3pq.bucket.put("orders/a.parquet", 1)
    lake = s3pq.directory / "lake"
    lake.mkdir()
    with with_mode(lake, READ_ONLY):
        said = as_user("doctor", "--json", S3PQ_DESTINATION=url)
    assert failing(said) == {
        "writable": f"{lake} is not writable for this user: allow it, or name another place"
    }


@pytest.mark.thorough
@pytest.mark.parametrize(
    "url", first_of(["duckdb:///lake/x/y", "delta:///lake/x", "parquet:///lake/x"])
)
def test_a_directory_that_may_not_be_searched_is_told(
    s3pq: CommandLine, as_user: Any, url: str
) -> None:
    """`doctor` names it, and goes on to what else there is; the others have an error of a line."""
    s3pq.bucket.put("orders/a.parquet", 1)
    s3pq.bucket.put("users/a.parquet", 1)
    lake = s3pq.directory / "lake"
    lake.mkdir()
    with with_mode(lake, SHUT):
        said = as_user("doctor", "--json", S3PQ_DESTINATION=url, DAGSTER_HOME=str(lake / "home"))
        failed = as_user("plan", S3PQ_DESTINATION=url)
    found = failing(said)
    assert found.keys() == {"writable", "tables", "DAGSTER_HOME"}
    refusal = f"{lake} is not writable for this user: allow it, or name another place"
    assert found["writable"] == refusal
    assert found["DAGSTER_HOME"] == f"{lake}/home cannot be used: {refusal}"
    assert "DestinationDeniedError: " in found["tables"]
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: DestinationDeniedError: cannot ")
    assert failed.stderr.count("\n") == 1
    assert "llow" in failed.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("mode", [SHUT, FILE_READ_ONLY])
def test_a_duckdb_file_of_somebody_else_is_told(s3pq: CommandLine, as_user: Any, mode: int) -> None:
    """One that can be read can be looked at; of one that cannot nobody says that it is damaged."""
    s3pq.bucket.put("orders/a.parquet", 1)
    load(s3pq.bucket, s3pq.environment["S3PQ_DESTINATION"])
    file = s3pq.directory / "lake.duckdb"
    with with_mode(file, mode):
        found = failing(as_user("doctor", "--json"))
    assert found.pop("writable") == f"{file} is not writable for this user: allow it"
    if mode == SHUT:
        assert "Permission denied" in (told := found.pop("tables"))
        assert "Allow this user" in told
        assert "damaged" not in told
    assert found == {}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", first_of(["delta", "parquet"], others=pytest.mark.nightly))
def test_a_tables_directory_that_may_not_be_written_is_told(
    s3pq: CommandLine, as_user: Any, kind: str
) -> None:
    """The root alone does not tell: somebody else may have loaded the table."""
    s3pq.bucket.put("orders/a.parquet", 1)
    url = f"{kind}:///lake"
    load(s3pq.bucket, url)
    table = s3pq.directory / "lake" / "orders"
    with with_mode(table, READ_ONLY):
        found = failing(as_user("doctor", "--json", S3PQ_DESTINATION=url))
    assert found == {
        "writable": f"{table} is not writable for this user: allow it, or name another place"
    }
    assert as_user("doctor", S3PQ_DESTINATION=url).returncode == 0


@pytest.mark.thorough
def test_a_home_that_may_not_be_written_is_told(s3pq: CommandLine, as_user: Any) -> None:
    """Dagster keeps its runs there; a file in its place is no directory."""
    with with_mode(s3pq.directory / "home", READ_ONLY):
        home = failing(as_user("doctor", "--json"))["DAGSTER_HOME"]
    assert home.startswith(f"{s3pq.directory}/home is not writable for this user: allow it")
    (s3pq.directory / "file").touch()
    below = s3pq("doctor", "--json", DAGSTER_HOME=f"{s3pq.directory}/file/home")
    (found,) = (c["found"] for c in below.json["checks"] if c["check"] == "DAGSTER_HOME")
    assert f"{s3pq.directory}/file is a file, not a directory" in found
