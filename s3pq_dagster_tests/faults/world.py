"""A bucket behind a faulty proxy, the rows of each version of its objects, and a DuckDB file."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa

from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.faults.proxy import FaultyProxy
from s3pq_dagster_tests.proxy import Request

IN_MEMORY = 16 * 1024
LARGE_ROWS = 2500
RANGES = 4
"""Rows of a large object, and about how many ranges of :data:`IN_MEMORY` bytes it takes."""
TABLES = ("few", "large", "many", "some")
_LEDGER = "SELECT table_name, key, e_tag, rows, status, coalesce(reason, '') FROM _s3pq_objects"


def _drifted(table: pa.Table) -> pa.Table:
    """Return rows in one of a few schemas, by the first of them."""
    first = table["id"][0].as_py()
    kinds = (pa.int64(), pa.int32(), pa.float64())
    table = table.set_column(0, "id", table["id"].cast(kinds[first % len(kinds)]))
    return table if first % 2 else table.append_column("extra", table["text"])


@dataclass
class World:
    """A bucket of four tables whose objects drift, and the rows that a correct load has."""

    bucket: str
    client: Any
    proxy: FaultyProxy
    database: Path
    now: dict[str, range] = field(default_factory=dict)
    """Row ids of each key in the bucket now."""
    versions: dict[tuple[str, str], range] = field(default_factory=dict)
    """Row ids of every version there ever was, by key and e_tag."""
    tables: tuple[str, ...] = TABLES
    small: int = 6
    """Number of objects in a part of the table ``many``."""
    concurrency: int = 8
    elsewhere: str | None = None
    """An endpoint to load from instead of the proxy's."""
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "bucket": self.bucket,
            "region": "us-east-1",
            "endpoint_url": self.elsewhere or self.proxy.endpoint,
            "write_mode": "mirror",
            "schema_mode": "evolve",
            "concurrency": self.concurrency,
            "max_object_bytes_in_memory": IN_MEMORY,
            "checkpoint_bytes": IN_MEMORY,
        }

    def fill(self, part: int) -> None:
        """Put one more part of the objects into each table."""
        for number in range(self.small):
            self.put(f"many/{part}-{number}.parquet", 20 + number)
        self.put(f"many/{part}-multi.parquet", 20, multipart=True)
        for table in sorted({"few", "some"} & set(self.tables)):
            self.put(f"{table}/{part}.parquet", 5)
        self.put(f"large/{part}-plain.parquet", LARGE_ROWS)
        self.put(f"large/{part}-multi.parquet", LARGE_ROWS, multipart=True)

    def put(self, key: str, rows: int, *, multipart: bool = False) -> None:
        """Put an object with unique rows, in one piece or as a multipart upload."""
        with self._lock:
            ids = range(self._next, self._next + rows)
            self._next += rows
            table = _drifted(numbers(rows, start=ids.start))
            body = parquet(table, compression="none", row_group_size=1000, write_page_checksum=True)
            upload = self._put_parts if multipart else self._put_whole
            e_tag = str(upload(key, body)["ETag"]).strip('"')
            self.now[key] = self.versions[key, e_tag] = ids

    def _put_whole(self, key: str, body: bytes) -> Any:
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def _put_parts(self, key: str, body: bytes) -> Any:
        at = {"Bucket": self.bucket, "Key": key}
        at["UploadId"] = self.client.create_multipart_upload(**at)["UploadId"]
        part = self.client.upload_part(**at, PartNumber=1, Body=body)
        parts = [{"ETag": part["ETag"], "PartNumber": 1}]
        return self.client.complete_multipart_upload(**at, MultipartUpload={"Parts": parts})

    def delete(self, key: str) -> None:
        with self._lock:
            self.client.delete_object(Bucket=self.bucket, Key=key)
            self.now.pop(key, None)

    def overwrite(self, request: Request, chance: Random) -> None:
        """Overwrite the requested object or, during a listing, any object."""
        key = request.key or chance.choice(sorted(self.now))
        self.put(key, LARGE_ROWS if key.startswith("large/") else 7)

    def add_and_delete(self, request: Request, chance: Random) -> None:
        """Add an object and delete another between two pages of a listing."""
        if "continuation-token" in request.query:
            self.put(f"many/{chance.randrange(10**6):06d}-between.parquet", 3)
            self.delete(chance.choice([k for k in sorted(self.now) if k.startswith("many/")]))

    def rows(self) -> dict[str, list[int]]:
        """Return the sorted row ids of each key, over all tables of the file."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for table in sorted(set(self.tables) & self._tables()):
            query = f'SELECT _s3_key, id, text FROM "{table}" ORDER BY id'
            for key, number, text in self._query(query):
                found[key].append(int(number) if text == f"row {int(number)}" else -1)
        return dict(found)

    def ledger(self) -> list[tuple[str, str, str, int, str, str]]:
        """Return the ledger's entries: table, key, e_tag, rows, status, reason."""
        return self._query(_LEDGER) if "_s3pq_objects" in self._tables() else []

    def loaded(self) -> set[tuple[str, str]]:
        """Return key and e_tag of the objects that are loaded by the ledger."""
        return {(key, e_tag) for _, key, e_tag, _, status, _ in self.ledger() if status == "loaded"}

    def quarantined(self) -> dict[str, str]:
        """Return the reasons of quarantined objects by key."""
        return {key: why for _, key, _, _, status, why in self.ledger() if status == "quarantined"}

    def disagreements(self) -> list[str]:
        """Describe where rows and ledger differ, or are not those of any version."""
        rows, wrong = self.rows(), []
        loaded = {
            key: (e_tag, n) for _, key, e_tag, n, status, _ in self.ledger() if status == "loaded"
        }
        for key in sorted(set(rows) | set(loaded)):
            e_tag, count = loaded.get(key, ("", 0))
            right = list(self.versions.get((key, e_tag), range(0)))
            if rows.get(key, []) != right or count != len(right):
                found = len(rows.get(key, []))
                wrong.append(f"{key}: {found} rows, ledger {count}, version {len(right)}")
        return wrong

    def is_right(self) -> bool:
        """Return whether every row of the current bucket is loaded exactly once."""
        return self.rows() == {key: list(ids) for key, ids in self.now.items()}

    def _tables(self) -> set[str]:
        if not self.database.exists():
            return set()
        return {name for (name,) in self._query("SELECT table_name FROM duckdb_tables()")}

    def _query(self, sql: str) -> list[Any]:
        with duckdb.connect(str(self.database)) as connection:
            return connection.execute(sql).fetchall()
