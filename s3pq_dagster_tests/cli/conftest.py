"""Fixtures for the command line: a directory, variables, and what runs a command."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from s3pq_dagster.cli import main
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.levels import first_of


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def words(self, first: str) -> list[str]:
        """Return the words of the line that begins with one."""
        (found,) = (line.split() for line in self.out.splitlines() if line.startswith(f"{first} "))
        return found


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs commands in this process, as a shell would with variables for a bucket."""

    bucket: Bucket
    directory: Path

    def __call__(self, *words: str, **variables: str) -> Said:
        """Run a command; the destination is a DuckDB file in the working directory."""
        found = CliRunner().invoke(main, words, prog_name="s3pq", env=self.environment | variables)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Said(found.exit_code, found.stdout, found.stderr)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "S3PQ_BUCKET": self.bucket.name,
            "S3PQ_REGION": "us-east-1",
            "S3PQ_ENDPOINT_URL": self.bucket.proxy.endpoint,
            "S3PQ_DESTINATION": f"duckdb:///{self.directory}/lake.duckdb",
        }

    def files(self) -> dict[str, tuple[int, int]]:
        """Return each file below the directory and the home, with its size and time of change."""
        found = [path for top in self._watched() for path in top.rglob("*")]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    def _watched(self) -> Sequence[Path]:
        return [self.directory, Path.home()]


@pytest.fixture
def s3pq(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Return what runs a command in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(bucket, tmp_path)


@pytest.fixture(params=first_of(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Make an empty place, once for each destination."""
    found = PLACES[request.param](tmp_path)
    yield found
    found.discard()
