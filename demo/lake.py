"""The demo's bucket, Dagster home and DuckDB file, all under one directory."""

import fcntl
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster_tests.servers import ACCESS_KEY, REGION, SECRET_KEY, seaweedfs

BUCKET = "nyc"
DIRECTORY = Path(".demo")
_DAGSTER_YAML = "telemetry: {enabled: false}\nnux: {enabled: false}\n"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What the DuckDB file says of a table."""

    name: str
    rows: int
    objects: int
    cursor: datetime


@dataclass(frozen=True, slots=True)
class Lake:
    """Where everything is."""

    directory: Path

    @property
    def database(self) -> Path:
        """The destination."""
        return self.directory / "nyc.duckdb"

    @property
    def log(self) -> Path:
        """What Dagster prints."""
        return self.directory / "dagster.log"

    @property
    def endpoint(self) -> Path:
        """Holds the S3 server's URL while `make dev` runs."""
        return self.directory / "endpoint"

    @property
    def dagster_home(self) -> Path:
        """Dagster's runs, events and settings."""
        return self.directory / "dagster_home"

    @contextmanager
    def opened(self, *, fresh: bool) -> Iterator[str]:
        """Run the S3 server over the directory; yields its endpoint URL.

        Args:
            fresh: Whether what an earlier demo left is removed first.

        Raises:
            BlockingIOError: Another demo has the directory.
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
        """Make what a user would export before typing `dagster dev`; the rest is as it is here."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "S3PQ_"))}
        return inherited | {
            "S3PQ_BUCKET": BUCKET,
            "S3PQ_REGION": REGION,
            "S3PQ_ENDPOINT_URL": endpoint,
            "S3PQ_DESTINATION": f"duckdb:///{self.database.absolute()}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "DAGSTER_HOME": str(self.dagster_home.absolute()),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }

    def tables(self) -> list[TableFacts]:
        """Count each table's rows and its objects in the ledger."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            ledger = connection.execute(
                "SELECT table_name, count(*), max(last_modified) FROM _s3pq_objects "
                "WHERE status = 'loaded' GROUP BY 1 ORDER BY 1"
            ).fetchall()
            return [
                TableFacts(name, _count(connection, name), objects, cursor)
                for name, objects, cursor in ledger
            ]

    def rows_by_key(self) -> dict[str, int]:
        """Count the rows in all tables by the object they came from."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            names = connection.execute("SELECT table_name FROM _s3pq_tables").fetchall()
            each = (
                connection.execute(f'SELECT _s3_key, count(*) FROM "{name}" GROUP BY 1').fetchall()
                for (name,) in names
            )
            return {key: rows for found in each for key, rows in found}

    def run_of(self, key: str) -> str:
        """Name the run that loaded an object."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            found = connection.execute(
                "SELECT run_id FROM _s3pq_objects WHERE key = ? AND status = 'loaded'", [key]
            ).fetchall()
        ((run_id,),) = found
        return str(run_id)

    def _clear(self) -> None:
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchall()[0][0])


def put(client: Any, key: str, rows: pa.Table) -> None:
    """Put rows into the bucket as one Parquet object."""
    body = io.BytesIO()
    pq.write_table(rows, body)
    client.put_object(Bucket=BUCKET, Key=key, Body=body.getvalue())
