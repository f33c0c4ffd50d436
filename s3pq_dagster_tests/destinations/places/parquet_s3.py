"""Parquet files below a prefix in S3."""

import functools
import itertools
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.places.parquet import ParquetPlace
from s3pq_dagster_tests.moto_server import start_moto
from s3pq_dagster_tests.servers import REGION, admin_client

BUCKET = "parquet-lake"
_HOLD = """
import sys
from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster.destinations.table_state import Owner
root, endpoint, region, table = sys.argv[1:]
destination = ParquetDestination(root, endpoint_url=endpoint, region=region)
owner = Owner(table, "lake", f"{table}/")
with destination.write(owner, run_id="holder", append=False, refresh=False):
    print("held", flush=True)
    sys.stdin.read()
"""
_numbers = itertools.count(1)


@functools.cache
def server() -> str:
    """Start one server per process, with a bucket, and return its endpoint URL."""
    return start_moto(BUCKET)


class ParquetS3Place:
    """Parquet files below a prefix in S3, changed and read by way of a local copy."""

    takes_turns = True
    readers_wait = False

    def __init__(self, directory: Path, endpoint: str | None = None, bucket: str = BUCKET) -> None:
        self.endpoint = endpoint or server()
        self.bucket = bucket
        self.prefix = f"lake-{next(_numbers)}"
        self.root = f"s3://{bucket}/{self.prefix}"
        self.url = f"parquet+{self.root}?endpoint_url={self.endpoint}&region={REGION}"
        self.copy = ParquetPlace(directory)

    def open(
        self,
        *,
        log: logging.Logger | None = None,
        lock_timeout_seconds: float = 5,
        lease_seconds: float = 60,
    ) -> Destination:
        return ParquetDestination(
            self.root,
            endpoint_url=self.endpoint,
            region=REGION,
            log=log,
            lock_timeout_seconds=lock_timeout_seconds,
            lease_seconds=lease_seconds,
        )

    def drop_table(self, table: str) -> None:
        self._spoil(lambda: self.copy.drop_table(table))

    def delete_rows(self, table: str, key: str) -> None:
        self._spoil(lambda: self.copy.delete_rows(table, key))

    def drop_ledger(self, *, whole: bool) -> None:
        self._spoil(lambda: self.copy.drop_ledger(whole=whole))

    def set_format_version(self, version: int) -> None:
        self._spoil(lambda: self.copy.set_format_version(version))

    def holder(self, table: str) -> list[str]:
        return [_HOLD, self.root, self.endpoint, REGION, table]

    def tables(self) -> set[str]:
        self._copy()
        return self.copy.tables()

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        self._copy()
        return self.copy.select(table, columns)

    def stored_type(self, table: str, column: str) -> str:
        self._copy()
        return self.copy.stored_type(table, column)

    def copied_to(self, directory: Path) -> Self:
        self._copy()
        other = type(self)(directory, self.endpoint, self.bucket)
        shutil.copytree(self.copy.path, other.copy.path, dirs_exist_ok=True)
        other.upload()
        return other

    def discard(self) -> None:
        self._delete(self.keys())

    def keys(self) -> set[str]:
        """Return all keys below the prefix, relative to it."""
        client = admin_client(self.endpoint)
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.prefix}/"
        )
        found = {o["Key"] for page in pages for o in page.get("Contents", ())}
        client.close()
        return {key.removeprefix(f"{self.prefix}/") for key in found}

    def upload(self) -> None:
        """Upload the local copy and delete all other objects below the prefix."""
        client = admin_client(self.endpoint)
        files = [path for path in self.copy.path.rglob("*") if path.is_file()]
        names = {str(path.relative_to(self.copy.path)) for path in files}
        for name in names:
            body = (self.copy.path / name).read_bytes()
            client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=body)
        client.close()
        self._delete(self.keys() - names)

    def _delete(self, names: set[str]) -> None:
        client = admin_client(self.endpoint)
        for name in names:
            client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")
        client.close()

    def _copy(self) -> None:
        """Download everything below the prefix into the local copy."""
        shutil.rmtree(self.copy.path, ignore_errors=True)
        client = admin_client(self.endpoint)
        for name in self.keys():
            path = self.copy.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")["Body"] as body:
                path.write_bytes(body.read())
        client.close()

    def _spoil(self, spoil: Callable[[], None]) -> None:
        self._copy()
        spoil()
        self.upload()
