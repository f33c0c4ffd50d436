"""The objects to load, in a bucket and on the local disk; created once and kept."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.store import S3Store

from bench.rows import mixed
from s3pq_dagster_tests.servers import ACCESS_KEY, REGION, SECRET_KEY, admin_client

_UPLOADS = 16
_HOURS = 24
_WIDE = 2_000


@dataclass(frozen=True, slots=True)
class Workload:
    """Objects of one bucket, distributed over tables."""

    name: str
    tables: int
    objects: int
    """The number of objects in all tables."""
    rows: int
    """The number of rows in an object."""
    make: Callable[[np.random.Generator, int, int], pa.RecordBatch] = mixed
    row_group_rows: int = 131_072
    partitions: int = 0
    """The number of Hive partitions of all tables, a day and an hour each; none if 0."""

    @property
    def glob(self) -> str:
        """Match all objects of a table, behind its name."""
        return "**/*.parquet" if self.partitions else "*.parquet"

    @property
    def bucket(self) -> str:
        return f"bench-{self.name}"

    @property
    def table_names(self) -> list[str]:
        return [f"t{number:03}" for number in range(self.tables)]

    @property
    def all_rows(self) -> int:
        return self.objects * self.rows

    def keys(self) -> Iterator[str]:
        """Return each object's key, table by table."""
        for table in self.table_names:
            for number in range(self.objects // self.tables):
                yield f"{table}/{self._partition(number)}{number:06}.parquet"

    def _partition(self, number: int) -> str:
        """Return the folder of a table's object: every partition has as many of them."""
        if not self.partitions:
            return ""
        day, hour = divmod(number % (self.partitions // self.tables), _HOURS)
        return f"day={date(2024, 1, 1) + timedelta(day)}/hour={hour:02}/"

    def prepare(self, directory: Path, endpoint: str) -> Path:
        """Create the files and put them into the bucket, unless an earlier run did.

        Returns:
            The directory of the files, laid out as the bucket is.
        """
        files, made = directory / self.name, directory / f"{self.name}.made"
        if made.exists():
            return files
        shutil.rmtree(files, ignore_errors=True)
        drawn = np.random.default_rng(1)
        for number, key in enumerate(self.keys()):
            path = files / key
            path.parent.mkdir(parents=True, exist_ok=True)
            batch = self.make(drawn, number * self.rows, self.rows)
            pq.write_table(pa.table(batch), path, row_group_size=self.row_group_rows)
        self._upload(files, endpoint)
        made.write_text(f"{sum(f.stat().st_size for f in files.rglob('*.parquet'))}")
        return files

    def size(self, directory: Path) -> int:
        """Return the total size of all objects, once they are created."""
        return int((directory / f"{self.name}.made").read_text())

    def _upload(self, files: Path, endpoint: str) -> None:
        bucket = open_bucket(endpoint, self.bucket)
        with ThreadPoolExecutor(_UPLOADS) as pool:
            done = pool.map(lambda key: obstore.put(bucket, key, files / key), self.keys())
            for _ in done:
                pass


def open_bucket(endpoint: str, name: str) -> S3Store:
    """Open a bucket for writing, and create it if needed."""
    client = admin_client(endpoint)
    if name not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=name)
    client.close()
    return S3Store(
        name,
        endpoint=endpoint,
        region=REGION,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True},
    )


def _wide(drawn: np.random.Generator, start: int, count: int) -> pa.RecordBatch:
    """Make rows of very many columns."""
    columns = {f"c{number:04}": pa.array(drawn.random(count)) for number in range(_WIDE - 1)}
    return pa.record_batch({"id": pa.array(np.arange(count) + start), **columns})


BIG = Workload("big", tables=1, objects=8, rows=1_000_000)
SMALL = Workload("small", tables=20, objects=2_000, rows=1_000)
TINY = Workload("tiny", tables=200, objects=20_000, rows=10)
HIVE = Workload("hive", tables=10, objects=20_000, rows=10, partitions=2_000)
WIDE = Workload("wide", tables=1, objects=1, rows=100_000, make=_wide, row_group_rows=10_000)
