"""Delta tables below a prefix in S3."""

import functools
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import deltalake
import pyarrow as pa

from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.places.delta import named
from s3pq_dagster_tests.moto_server import start_moto
from s3pq_dagster_tests.servers import ACCESS_KEY, REGION, SECRET_KEY, admin_client


class DeltaOnS3Place:
    """Delta tables below a prefix, on a server that runs as long as the process.

    No table can be locked: a writer that commits second fails and is retried.
    """

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

    def tables(self) -> set[str]:
        keys = [key.removeprefix(f"{self.prefix}/").split("/") for key in self.keys()]
        return {parts[0] for parts in keys if len(parts) > 1 and parts[1] == "_delta_log"}

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        # Not by what polars and pyarrow do: that keeps the server, a thread of ours, from running.
        found = pa.table(self._table(table).scan(columns=list(columns))).select(list(columns))
        return [tuple(row.values()) for row in found.to_pylist()]

    def stored_type(self, table: str, column: str) -> str:
        (found,) = (f.type for f in self._table(table).schema().fields if f.name == column)
        return named(found)

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
        """Return the keys of all objects below the prefix."""
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
    return start_moto(DeltaOnS3Place.bucket)
