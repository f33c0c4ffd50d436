"""Parquet's Thrift structs, parsed from valid, unknown and hostile bytes."""

import subprocess
import sys

import pytest

from s3pq_dagster.decoding.thrift_structs import (
    ColumnChunk,
    ColumnCryptoMetaData,
    ColumnMetaData,
    DataPageHeader,
    FileMetaData,
    NoStructError,
    PageHeader,
    RowGroup,
)
from s3pq_dagster_tests.malformed.crafted import elements, varint, zigzag

I32, BINARY, LIST, SET, MAP, DOUBLE, BYTE, TRUE, FALSE = 5, 8, 9, 10, 11, 7, 3, 1, 2


@pytest.mark.parametrize("number", [0, 1, -1, 63, 64, -65, 2**31 - 1, -(2**31)])
def test_what_is_written_is_read(number: int) -> None:
    """Numbers and structs are read back with their length; missing fields are ``None``."""
    inner = DataPageHeader(num_values=number, encoding=3)
    data = PageHeader(type=0, compressed_page_size=number, data_page_header=inner).dump()
    header, end = PageHeader.parse(data + b"more")
    assert end == len(data)
    assert (header.type, header.compressed_page_size) == (0, number)
    assert header.uncompressed_page_size is None
    assert header.dictionary_page_header is None
    assert (header.data_page_header.num_values, header.data_page_header.encoding) == (number, 3)


def test_lists_of_structs_are_read() -> None:
    """A footer's row groups and columns are read; an encrypted column is recognized."""
    meta = ColumnMetaData(codec=1, num_values=5, total_compressed_size=9, data_page_offset=4)
    columns = [ColumnChunk(meta_data=meta), ColumnChunk(crypto_metadata=ColumnCryptoMetaData())]
    footer, _ = FileMetaData.parse(FileMetaData(row_groups=[RowGroup(columns=columns)]).dump())
    plain, encrypted = footer.row_groups[0].columns
    assert plain.crypto_metadata is None
    assert plain.meta_data.num_values == 5
    assert encrypted.crypto_metadata is not None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (BINARY, b"\x05hello"),
        (LIST, elements(I32, 20, zigzag(5) * 20)),
        (LIST, elements(LIST, 2, elements(BINARY, 1, b"\x01x") * 2)),
        (SET, elements(I32, 2, zigzag(-1) * 2)),
        (MAP, b"\x00"),
        (MAP, varint(2) + bytes([BINARY << 4 | I32]) + (b"\x01k" + zigzag(1)) * 2),
        (DOUBLE, bytes(8)),
        (BYTE, b"\x09"),
        (TRUE, b""),
        (FALSE, b""),
    ],
)
def test_a_field_of_another_type_is_skipped(kind: int, value: bytes) -> None:
    """The field is skipped, as pyarrow does; the next field is read."""
    data = bytes([1 << 4 | kind]) + value + bytes([1 << 4 | I32]) + zigzag(42) + b"\x00"
    header, end = PageHeader.parse(data)
    assert (header.type, header.uncompressed_page_size, end) == (None, 42, len(data))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EOFError),
        (b"\x15", EOFError),
        (b"\x15\x02", EOFError),
        (b"\x1f\x00", NoStructError),  # no such type
        (b"\x15" + b"\xff" * 11 + b"\x00", NoStructError),  # a number without end
        (b"\x1c" * 5000, NoStructError),  # a struct in a struct in a …
        (b"\x19" * 5000, NoStructError),
        (b"\x49" + elements(12, 2**31 - 1), NoStructError),  # more row groups than bytes
    ],
)
def test_what_is_no_struct_is_an_error(data: bytes, error: type[Exception]) -> None:
    """Broken or endless bytes cause no loop, no deep stack and no large allocation."""
    with pytest.raises(error):
        FileMetaData.parse(data)


@pytest.mark.thorough
def test_without_its_c_extension_thrift_goes_on_after_a_failure() -> None:
    """Not every platform has a wheel with it; a failed parse leaves no state behind."""
    code = """
import sys
sys.modules["thrift.protocol.fastbinary"] = None
from s3pq_dagster.decoding.thrift_structs import DataPageHeader, NoStructError, PageHeader
data = PageHeader(type=0, data_page_header=DataPageHeader(num_values=5)).dump()
for broken in (data[:-2], data[:3], bytes(20), b"\\xff" * 20):
    try:
        PageHeader.parse(broken)
    except (EOFError, NoStructError):
        pass
    assert PageHeader(type=0, data_page_header=DataPageHeader(num_values=5)).dump() == data
    assert PageHeader.parse(data)[0].data_page_header.num_values == 5
"""
    subprocess.run([sys.executable, "-c", code], check=True)
