"""A directory of Delta tables, and a prefix on S3."""

import functools
import hashlib
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import deltalake
import polars as pl
import pyarrow as pa
from moto.server import ThreadedMotoServer

from s3pq_dagster.destinations import Destination
from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster_tests.servers import ACCESS_KEY, REGION, SECRET_KEY, admin_client

_HOLD_LOCK = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


class DeltaPlace:
    """A directory of Delta tables."""

    takes_turns = True
    readers_wait = False

    def __init__(self, directory: Path) -> None:
        self.root = directory / "delta"
        self.url = f"delta:///{self.root}"

    def open(
        self, *, log: logging.Logger | None = None, lock_timeout_seconds: float = 5
    ) -> Destination:
        return DeltaDestination(str(self.root), log=log, lock_timeout_seconds=lock_timeout_seconds)

    def drop_table(self, table: str) -> None:
        shutil.rmtree(self.root / table)

    def delete_rows(self, table: str, key: str) -> None:
        self._table(table).delete(f"_s3_key = '{key}'")

    def drop_ledger(self, *, whole: bool) -> None:
        self.drop_table("_s3pq_objects")
        if whole:
            self.drop_table("_s3pq_tables")

    def set_format_version(self, version: int) -> None:
        self._table("_s3pq_tables").update({"format_version": str(version)})

    def held(self, table: str) -> Iterator[Callable[[], None]]:
        lock = self.root / "_s3pq_locks" / f"{table}.lock"
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD_LOCK, str(lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield lambda: self._let_go(process)
        finally:
            self._let_go(process)

    @staticmethod
    def _let_go(process: subprocess.Popen[bytes]) -> None:
        process.communicate(timeout=20) if process.returncode is None else None

    def tables(self) -> set[str]:
        return {log.parent.name for log in self.root.glob("*/_delta_log")}

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        return pl.read_delta(str(self.root / table), columns=list(columns)).rows()

    def stored_type(self, table: str, column: str) -> str:
        (found,) = (f.type for f in self._table(table).schema().fields if f.name == column)
        return _named(found)

    def copied_to(self, directory: Path) -> Self:
        return type(self)(directory)

    def discard(self) -> None:
        """Everything is in the directory."""

    def _table(self, table: str) -> deltalake.DeltaTable:
        return deltalake.DeltaTable(self.root / table)


class DeltaOnS3Place:
    """A prefix of a bucket on a server that is started once and ends with the process."""

    takes_turns = False
    readers_wait = False
    bucket = "delta-lake"

    def __init__(self, directory: Path) -> None:
        self.prefix = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
        self._root = f"s3://{self.bucket}/{self.prefix}"
        self.endpoint = _endpoint()
        self.url = f"delta+{self._root}?endpoint_url={self.endpoint}&region={REGION}"

    def open(
        self, *, log: logging.Logger | None = None, lock_timeout_seconds: float = 5
    ) -> Destination:
        return DeltaDestination(
            self._root,
            endpoint_url=self.endpoint,
            region=REGION,
            log=log,
            lock_timeout_seconds=lock_timeout_seconds,
        )

    def drop_table(self, table: str) -> None:
        self._delete(f"{self.prefix}/{table}/")

    def delete_rows(self, table: str, key: str) -> None:
        self._table(table).delete(f"_s3_key = '{key}'")

    def drop_ledger(self, *, whole: bool) -> None:
        self.drop_table("_s3pq_objects")
        if whole:
            self.drop_table("_s3pq_tables")

    def set_format_version(self, version: int) -> None:
        self._table("_s3pq_tables").update({"format_version": str(version)})

    def held(self, table: str) -> Iterator[Callable[[], None]]:
        msg = f"nobody can hold {table}: writers do not take turns"
        raise NotImplementedError(msg)

    def tables(self) -> set[str]:
        keys = [key.removeprefix(f"{self.prefix}/").split("/") for key in self.keys()]
        return {parts[0] for parts in keys if len(parts) > 1 and parts[1] == "_delta_log"}

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        # Not by what polars and pyarrow do: that keeps the server, a thread of ours, from running.
        found = pa.table(self._table(table).scan(columns=list(columns))).select(list(columns))
        return [tuple(row.values()) for row in found.to_pylist()]

    def stored_type(self, table: str, column: str) -> str:
        (found,) = (f.type for f in self._table(table).schema().fields if f.name == column)
        return _named(found)

    def copied_to(self, directory: Path) -> Self:
        copy = type(self)(directory)
        for key in self.keys():
            admin_client(self.endpoint).copy_object(
                Bucket=self.bucket,
                Key=key.replace(self.prefix, copy.prefix, 1),
                CopySource={"Bucket": self.bucket, "Key": key},
            )
        return copy

    def discard(self) -> None:
        self._delete(f"{self.prefix}/")

    def keys(self) -> list[str]:
        """Name every object that is there."""
        pages = (
            admin_client(self.endpoint)
            .get_paginator("list_objects_v2")
            .paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        )
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def _delete(self, prefix: str) -> None:
        for key in [key for key in self.keys() if key.startswith(prefix)]:
            admin_client(self.endpoint).delete_object(Bucket=self.bucket, Key=key)

    def _table(self, table: str) -> deltalake.DeltaTable:
        options = {
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "aws_region": REGION,
            "aws_conditional_put": "etag",
            "endpoint_url": self.endpoint,
            "allow_http": "true",
        }
        return deltalake.DeltaTable(f"{self._root}/{table}", storage_options=options)


@functools.cache
def _endpoint() -> str:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    admin_client(endpoint).create_bucket(Bucket=DeltaOnS3Place.bucket)
    return endpoint


def _named(kind: Any) -> str:
    """Name a type as Delta Lake's SQL does."""
    if isinstance(kind, deltalake.schema.ArrayType):
        return f"array<{_named(kind.element_type)}>"
    if isinstance(kind, deltalake.schema.MapType):
        return f"map<{_named(kind.key_type)}, {_named(kind.value_type)}>"
    if isinstance(kind, deltalake.schema.StructType):
        return f"struct<{', '.join(f'{f.name}: {_named(f.type)}' for f in kind.fields)}>"
    return str(kind.type)
