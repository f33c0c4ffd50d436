"""Valid Parquet files of many kinds, small and reproducible, from which mutations are made."""

import base64
import datetime as dt
import io
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from s3pq_dagster_tests.buckets import parquet

ROWS = 300
_DAY = dt.date(2024, 2, 14)
_NOON = dt.datetime(2024, 2, 14, 12, tzinfo=dt.UTC)


def flat() -> pa.Table:
    """Make a table of common types, some columns with nulls."""
    rows = range(ROWS)
    return pa.table(
        {
            "id": pa.array(rows, pa.int64()),
            "small": pa.array([i % 7 if i % 5 else None for i in rows], pa.int32()),
            "text": [f"row {i}" if i % 3 else None for i in rows],
            "kind": [f"kind {i % 4}" for i in rows],
            "bytes": pa.array([bytes([i % 256] * (i % 9)) for i in rows], pa.binary()),
            "ratio": [i / 7 for i in rows],
            "price": pa.array([Decimal(i) / 100 for i in rows], pa.decimal128(12, 2)),
            "flag": [i % 2 == 0 for i in rows],
            "day": [_DAY + dt.timedelta(days=i) for i in rows],
            "at": [_NOON + dt.timedelta(seconds=i) for i in rows],
        }
    )


def nested() -> pa.Table:
    """Make a table of lists, structs and maps, some of them empty or null."""
    rows = range(ROWS)
    pairs = pa.map_(pa.string(), pa.int32())
    return pa.table(
        {
            "list": [list(range(i % 5)) if i % 4 else None for i in rows],
            "deep": [[[f"v{i}"], []] if i % 3 else [] for i in rows],
            "struct": [{"a": i, "b": {"c": f"s{i % 3}"}} if i % 6 else None for i in rows],
            "map": pa.array([[(f"k{j}", j) for j in range(i % 3)] for i in rows], pairs),
        }
    )


def _delta() -> bytes:
    encodings = {
        "id": "DELTA_BINARY_PACKED",
        "small": "DELTA_BINARY_PACKED",
        "text": "DELTA_BYTE_ARRAY",
        "bytes": "DELTA_LENGTH_BYTE_ARRAY",
        "ratio": "BYTE_STREAM_SPLIT",
    }
    table = flat().select(list(encodings))
    return parquet(table, use_dictionary=False, column_encoding=encodings)


def _by_polars() -> bytes:
    buffer = io.BytesIO()
    frame = pl.from_arrow(flat())
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(buffer)
    return buffer.getvalue()


class _Vault(pe.KmsClient):  # type: ignore[misc]  # untyped
    """A key service for tests that "wraps" keys by encoding them in base64."""

    def wrap_key(self, key: bytes, name: str) -> str:  # noqa: ARG002 - as it is called
        return base64.b64encode(key).decode()

    def unwrap_key(self, wrapped: str, name: str) -> bytes:  # noqa: ARG002 - as it is called
        return base64.b64decode(wrapped)


def _encrypted(*, plaintext_footer: bool) -> bytes:
    factory = pe.CryptoFactory(lambda _: _Vault())
    wanted = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["text"]}, plaintext_footer=plaintext_footer
    )
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), wanted)
    buffer = io.BytesIO()
    table = flat()
    with pq.ParquetWriter(buffer, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def _flat(**options: Any) -> Callable[[], bytes]:
    return lambda: parquet(flat(), **options)


_KINDS: dict[str, Callable[[], bytes]] = {
    "plain": _flat(compression="none", use_dictionary=False),
    "dictionary": _flat(compression="none"),
    "snappy": _flat(),
    "zstd": _flat(compression="zstd"),
    "gzip": _flat(compression="gzip"),
    "brotli": _flat(compression="brotli"),
    "lz4": _flat(compression="lz4"),
    "many row groups": _flat(row_group_size=17),
    "many pages": _flat(data_page_size=100, write_batch_size=20, compression="none"),
    "checksums": _flat(write_page_checksum=True, compression="none", use_dictionary=False),
    "page index": _flat(write_page_index=True),
    "v2 pages": _flat(data_page_version="2.0", compression="zstd"),
    "nested": lambda: parquet(nested(), compression="none"),
    "nested v2": lambda: parquet(nested(), data_page_version="2.0"),
    "delta": _delta,
    "polars": _by_polars,
    "encrypted columns": lambda: _encrypted(plaintext_footer=True),
    "encrypted": lambda: _encrypted(plaintext_footer=False),
    "no rows": lambda: parquet(flat().slice(0, 0)),
}
KINDS = tuple(_KINDS)


@cache
def good_file(kind: str) -> bytes:
    """Return the bytes of a valid file."""
    return _KINDS[kind]()
