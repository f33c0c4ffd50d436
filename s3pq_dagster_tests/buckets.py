"""A bucket to put Parquet into, behind a proxy that counts requests."""

import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID

from s3pq_dagster_tests.proxy import Proxy


def parquet(table: pa.Table, **options: Any) -> bytes:
    """Return a table as the bytes of one Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def numbers(count: int, *, start: int = 0) -> pa.Table:
    """Make ``count`` rows of an integer and a text derived from it."""
    ids = range(start, start + count)
    return pa.table({"id": pa.array(ids, pa.int64()), "text": [f"row {i}" for i in ids]})


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket; the package under test reaches it at ``proxy.endpoint``."""

    name: str
    client: Any
    proxy: Proxy

    @property
    def spec(self) -> dict[str, Any]:
        """Spec fields that read this bucket."""
        return {"bucket": self.name, "region": "us-east-1", "endpoint_url": self.proxy.endpoint}

    def put(self, key: str, body: pa.Table | bytes | int, **options: Any) -> None:
        """Put an object: bytes unchanged, a table as Parquet, a number as that many rows."""
        table = numbers(body) if isinstance(body, int) else body
        data = table if isinstance(table, bytes) else parquet(table, **options)
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def set_e_tag(self, key: str, e_tag: str) -> None:
        """Set an object's e_tag, as a store does that makes it of something else (moto only)."""
        backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
        backend.buckets[self.name].keys[key]._etag = e_tag  # noqa: SLF001 - moto sets it nowhere else

    def set_last_modified(self, key: str, moment: datetime) -> None:
        """Set an object's ``LastModified``, as a server with another clock would (moto only)."""
        backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
        backend.buckets[self.name].keys[key].last_modified = moment
