"""Bytes in memory are read as pyarrow reads them."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s3pq_dagster.reading.memory_file import MemoryFile

_DATA = bytes(range(256)) * 4


@pytest.mark.parametrize(("nbytes", "offset"), [(4, 0), (10, 500), (2000, 1000), (3, 1024)])
def test_a_range_is_what_pyarrow_reads(nbytes: int, offset: int) -> None:
    """At the end there are fewer bytes."""
    file, pyarrows = MemoryFile(_DATA), pa.BufferReader(_DATA)
    assert file.size() == pyarrows.size()
    assert file.read_at(nbytes, offset) == pyarrows.read_at(nbytes, offset)


def test_pyarrow_reads_parquet_from_it() -> None:
    """Its own reading goes by the same bytes."""
    written = io.BytesIO()
    table = pa.table({"id": pa.array(range(1000))})
    pq.write_table(table, written)
    assert pq.ParquetFile(MemoryFile(written.getvalue())).read() == table
