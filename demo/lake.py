"""The demo's bucket, Dagster home and destination, all under one directory."""

import fcntl
import io
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.servers import ACCESS_KEY, REGION, SECRET_KEY, seaweedfs

BUCKET = "nyc"
DIRECTORY = Path(".demo")
_DAGSTER_YAML = "telemetry: {enabled: false}\nnux: {enabled: false}\n"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What the destination holds of a table."""

    name: str
    rows: int
    objects: int
    cursor: datetime


@dataclass(frozen=True)
class Lake:
    """Where the demo keeps its bucket, its Dagster home and its destination."""

    directory: Path
    kind: str = "duckdb"
    """The kind of destination, a name in ``PLACES``."""

    @cached_property
    def place(self) -> Place:
        """The destination, opened as its users would."""
        directory = self.directory / self.kind
        directory.mkdir(parents=True, exist_ok=True)
        place: Place = PLACES[self.kind](directory)
        return place

    @property
    def log(self) -> Path:
        """The file with Dagster's output."""
        return self.directory / "dagster.log"

    @property
    def endpoint(self) -> Path:
        """The file with the S3 server's URL while `make dev` runs."""
        return self.directory / "endpoint"

    @property
    def dagster_home(self) -> Path:
        """The directory of Dagster's runs, events and settings."""
        return self.directory / "dagster_home"

    @contextmanager
    def opened(self, *, fresh: bool) -> Iterator[str]:
        """Run the S3 server over the directory; yields its endpoint URL.

        Args:
            fresh: Whether to remove first what an earlier demo left.

        Raises:
            BlockingIOError: Another demo is using the directory.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fresh:
                self._clear()
            self.dagster_home.mkdir(exist_ok=True)
            (self.dagster_home / "dagster.yaml").write_text(_DAGSTER_YAML, encoding="utf-8")
            with seaweedfs(self.directory / "s3") as endpoint:
                yield endpoint

    def environment(self, endpoint: str) -> dict[str, str]:
        """Return the environment that a user would export before typing `dagster dev`."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "S3PQ_"))}
        return inherited | {
            "S3PQ_BUCKET": BUCKET,
            "S3PQ_REGION": REGION,
            "S3PQ_ENDPOINT_URL": endpoint,
            "S3PQ_DESTINATION": self.place.url,
            "S3PQ_SCHEMA_MODE": "evolve",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "DAGSTER_HOME": str(self.dagster_home.absolute()),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }

    def tables(self) -> list[TableFacts]:
        """Count each table's rows and its objects in the ledger."""
        objects = Counter(name for name, *_ in self._loaded())
        cursors = {n: max(t for m, _, t, _ in self._loaded() if m == n) for n in objects}
        return [
            TableFacts(name, len(self.place.select(name, ["_s3_key"])), number, cursors[name])
            for name, number in sorted(objects.items())
        ]

    def rows_by_key(self) -> dict[str, int]:
        """Count the rows in all tables by the object they came from."""
        names = {name for name, *_ in self._loaded()}
        return Counter(key for name in names for (key,) in self.place.select(name, ["_s3_key"]))

    def run_of(self, key: str) -> str:
        """Name the run that loaded an object."""
        (run_id,) = (run_id for _, found, _, run_id in self._loaded() if found == key)
        return run_id

    def _loaded(self) -> list[tuple[str, str, datetime, str]]:
        """Return table, key, time and run of each loaded object."""
        columns = ["table_name", "key", "last_modified", "run_id", "status"]
        rows = self.place.select("_s3pq_objects", columns)
        return [
            (name, key, time, run) for name, key, time, run, status in rows if status == "loaded"
        ]

    def _clear(self) -> None:
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()


def put(client: Any, key: str, rows: pa.Table) -> None:
    """Put rows into the bucket as one Parquet object."""
    body = io.BytesIO()
    pq.write_table(rows, body)
    client.put_object(Bucket=BUCKET, Key=key, Body=body.getvalue())
