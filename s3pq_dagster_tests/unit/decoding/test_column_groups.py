"""Decoding a few columns at a time gives the same rows, within bounds of memory and disk."""

import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3pq_dagster.decoding.column_groups import decode_column_groups
from s3pq_dagster.decoding.parquet_file import open_file
from s3pq_dagster.errors import DiskError, MalformedObjectError
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.open_object import OpenObject, open_object
from s3pq_dagster_tests.buckets import parquet
from s3pq_dagster_tests.unit.made import meta, spec

MIB = 1024 * 1024
TABLE = pa.table(
    {
        "id": pa.array(range(1000)),
        "a.b": [{"x": i, "y": [str(i)] * (i % 3)} for i in range(1000)],
        "name": [None if i % 7 == 0 else f"name {i}" for i in range(1000)],
        "kind": pa.array([f"k{i % 5}" for i in range(1000)]).dictionary_encode(),
    }
)
COLUMN_GROUPS = [range(1), range(1, 3), range(3, 5)]


def decoded(body: bytes, rows: int, most: int = 64 * MIB) -> pa.Table:
    """Decode three groups of columns, one after the other."""
    with open_file(pa.BufferReader(body)) as file:
        return pa.Table.from_batches(decode_column_groups(file, rows, COLUMN_GROUPS, most))


@given(st.integers(30, 1200), st.integers(30, 1200))
def test_the_rows_are_those_of_all_columns_together(rows: int, row_group_size: int) -> None:
    """Whatever the number of rows in a batch and in a row group."""
    found = decoded(parquet(TABLE, row_group_size=row_group_size), rows)
    assert found.to_pylist() == TABLE.to_pylist()
    assert found.schema.field("kind").type == pa.string()


def test_a_row_group_without_rows() -> None:
    """An empty row group gives no batch, alone or between others."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, TABLE.schema) as writer:
        for table in (TABLE.slice(0, 0), TABLE, TABLE.slice(0, 0)):
            writer.write_table(table)
    assert decoded(sink.getvalue().to_pybytes(), 100).to_pylist() == TABLE.to_pylist()
    with open_file(pa.BufferReader(parquet(TABLE.slice(0, 0)))) as file:
        assert list(decode_column_groups(file, 10, COLUMN_GROUPS, MIB)) == []


def test_the_disk_has_a_bound() -> None:
    """A row group that takes more disk than allowed is an error of the object."""
    with pytest.raises(ValueError, match="more of the disk"):
        decoded(parquet(TABLE), 100, 10_000)


_WIDE = """
import sys
import pyarrow as pa
from s3pq_dagster.reading.open_object import OpenObject, open_object
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster_tests.unit.made import meta, spec
body = sys.stdin.buffer.read()
fetched = ObjectBytes(meta("k", size=len(body)), data=body)
opened = open_object(fetched, spec(max_decoded_bytes=32 * 2**20), whole=False)
assert opened.plan.column_groups
before = pa.total_allocated_bytes()
print(sum(batch.num_rows for batch in opened.batches()))
print(pa.default_memory_pool().max_memory() - before)
"""


@pytest.mark.thorough
def test_memory_stays_within_the_bound() -> None:
    """A row group of 160 MiB, with dictionaries of the same size, is decoded within 32 MiB."""
    rows = 20_000
    values = [pa.array([(i * n) / 7 for i in range(rows)]) for n in range(1, 4)]
    body = parquet(pa.table([values[n % 3] for n in range(500)], [f"c{n}" for n in range(500)]))
    done = subprocess.run(
        [sys.executable, "-c", _WIDE], input=body, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found, peak = map(int, done.stdout.split())
    assert found == rows
    assert peak < 32 * MIB


def wide() -> bytes:
    """Make an object whose columns do not fit into 16 MiB together."""
    columns = {f"c{n}": [(i * n) / 7 for i in range(4000)] for n in range(200)}
    return parquet(pa.table(columns), compression="none", write_page_checksum=True)


def opened_wide(body: bytes) -> OpenObject:
    """Open an object that has to be decoded by column groups."""
    fetched = ObjectBytes(meta("k", size=len(body)), data=body)
    opened = open_object(fetched, spec(max_decoded_bytes=32 * MIB), whole=False)
    assert opened.plan.column_groups
    return opened


def test_a_wide_object_that_is_damaged_is_malformed() -> None:
    """No row of the damaged row group is returned."""
    body = bytearray(wide())
    body[len(body) // 2] ^= 1
    with pytest.raises(MalformedObjectError, match="checksum"):
        next(opened_wide(bytes(body)).batches())


def test_a_full_disk_is_no_fault_of_the_object() -> None:
    """The run fails with an error that says where to free disk space."""
    opened = opened_wide(wide())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskError, match=r"'k'.*File too large.*TMPDIR"):
            next(opened.batches())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sum(batch.num_rows for batch in opened.batches()) == 4000
