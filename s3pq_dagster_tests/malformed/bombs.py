"""Small Parquet files that take much memory or time to decode, or that lie about themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from s3pq_dagster_tests.buckets import parquet
from s3pq_dagster_tests.malformed import crafted
from s3pq_dagster_tests.malformed.crafted import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    Chunk,
    elements,
    file_of,
    page,
    run,
    struct,
    varint,
    zigzag,
)

MIB = 1024 * 1024
BOUND = 64 * MIB
"""``max_decoded_bytes`` in these tests: low, so that small bombs exceed it."""
LARGE = 96 * MIB
"""Bytes that most of the bombs decode to."""
MOST = 2**31 - 1
BOMBS: dict[str, "Bomb"] = {}


@dataclass(frozen=True, slots=True)
class Bomb:
    """A file and the expected result of reading it."""

    make: Callable[[], bytes]
    rows: int | None
    """The number of rows that are read; ``None`` if the file must be quarantined."""
    spec: dict[str, Any]


def bomb(
    *, rows: int | None = None, **spec: Any
) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Register a file under the name of the function that makes it."""

    def name(make: Callable[[], bytes]) -> Callable[[], bytes]:
        BOMBS[make.__name__.replace("_", " ")] = Bomb(make, rows, spec)
        return make

    return name


def _cell(codec: str) -> bytes:
    return parquet(
        pa.table({"c": [bytes(LARGE)]}),
        compression=codec,
        use_dictionary=False,
        write_statistics=False,
    )


@bomb()
def a_cell_of_zeros_in_zstd() -> bytes:
    """One value that fills the memory, in a page of a few kilobytes."""
    return _cell("zstd")


@bomb()
def a_cell_of_zeros_in_brotli() -> bytes:
    """The same with a codec that has no limit of its own."""
    return _cell("brotli")


@bomb()
def a_cell_of_zeros_in_gzip() -> bytes:
    """The same with the codec that every reader supports."""
    return _cell("gzip")


@bomb()
def a_page_of_zeros_behind_a_lying_footer() -> bytes:
    """The footer says that the page decodes to a kilobyte; the page header tells the truth."""
    text = LARGE.to_bytes(4, "little") + bytes(LARGE)
    body = pa.Codec("zstd").compress(text, asbytes=True)
    pages = page(body, 1, decoded=len(text))
    return bytes(Chunk(pages, 1, codec=crafted.ZSTD, decoded=1000))


@bomb(rows=2000)
def a_long_value_repeated_by_a_dictionary() -> bytes:
    """A dictionary of one long value, which every row has."""
    return parquet(pa.table({"c": ["x" * (MIB // 4)] * 2000}), row_group_size=2000)


@bomb(rows=2000)
def a_dictionary_that_arrow_would_keep() -> bytes:
    """The same with a hint to keep the dictionary: the column is small until it is cast."""
    column = pa.array(["x" * (MIB // 4)]).dictionary_encode()
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), column.dictionary)
    return parquet(pa.table({"c": many}))


@bomb(rows=500)
def a_long_prefix_repeated() -> bytes:
    """Each value equals the one before, which takes one number to store."""
    table = pa.table({"c": ["x" * (MIB // 2)] * 500})
    return parquet(table, use_dictionary=False, column_encoding={"c": "DELTA_BYTE_ARRAY"})


@bomb()
def a_list_of_very_many_values() -> bytes:
    """One row whose list holds all the values of the file."""
    values = pa.repeat(pa.scalar(7, pa.int32()), LARGE // 8)
    column = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    return parquet(pa.table({"c": column}))


@bomb(rows=3_000_000)
def a_column_in_one_run() -> bytes:
    """Millions of rows in a few bytes, which is only good compression."""
    dictionary = page((7).to_bytes(8, "little"), 1, is_dictionary=True)
    body = b"\x01" + run(3_000_000, 0, 1)
    pages = dictionary + page(body, 3_000_000, encoding=crafted.RLE_DICTIONARY)
    return bytes(Chunk(pages, 3_000_000, crafted.INT64, dictionary=len(dictionary)))


@bomb(max_decode_seconds=1)
def rows_without_end() -> bytes:
    """Two billion rows in each of a thousand row groups, which all share one page."""
    dictionary = page((7).to_bytes(8, "little"), 1, is_dictionary=True)
    body = b"\x01" + run(MOST, 0, 1)
    pages = dictionary + page(body, MOST, encoding=crafted.RLE_DICTIONARY)
    return bytes(Chunk(pages, MOST, crafted.INT64, dictionary=len(dictionary), groups=1000))


@bomb()
def a_dictionary_that_says_it_has_many_values() -> bytes:
    """The decoder allocates room for them before it reads the page."""
    dictionary = page(b"\x01\x00\x00\x00x", MOST, is_dictionary=True)
    pages = dictionary + page(b"\x01" + run(1, 0, 1), 1, encoding=crafted.RLE_DICTIONARY)
    return bytes(Chunk(pages, 1, dictionary=len(dictionary)))


@bomb()
def a_page_that_says_it_is_large() -> bytes:
    """The header announces two gigabytes; the page has a few bytes."""
    body = pa.Codec("snappy").compress(b"\x01\x00\x00\x00x", asbytes=True)
    return bytes(Chunk(page(body, 1, decoded=MOST), 1, codec=crafted.SNAPPY))


@bomb()
def lengths_that_are_very_many() -> bytes:
    """A delta encoding with its own count, millions of times that of the page header."""
    count = LARGE // 4
    blocks = (zigzag(0) + bytes(4)) * (count // 128 + 1)
    body = varint(128) + varint(4) + varint(count) + zigzag(0) + blocks
    packed = pa.Codec("zstd").compress(body, asbytes=True)
    pages = page(packed, 10, encoding=crafted.DELTA_LENGTH, decoded=len(body))
    return bytes(Chunk(pages, 10, codec=crafted.ZSTD))


@bomb()
def a_value_of_fixed_width_beyond_measure() -> bytes:
    """Values of a gigabyte, all null: the decoder allocates room for them all the same."""
    body = len(levels := run(10, 0, 1)).to_bytes(4, "little") + levels
    pages = page(body, 10)
    fixed = Chunk(pages, 10, crafted.FIXED, repetition=crafted.OPTIONAL, width=1 << 30)
    return bytes(fixed)


def _footer(*fields: tuple[int, int, bytes]) -> bytes:
    column = struct([(1, I32, crafted.INT32), (3, I32, crafted.REQUIRED), (4, BINARY, b"c")])
    root = struct([(4, BINARY, b"root"), (5, I32, 1)])
    schema = elements(STRUCT, 2, root + column)
    return struct([(1, I32, 1), (2, LIST, schema), (3, I64, 0), *fields])


@bomb()
def a_footer_that_says_it_has_many_row_groups() -> bytes:
    """Sixty bytes for which pyarrow allocates a million row groups and a million columns."""
    many = elements(STRUCT, 10**6, b"\x19" + elements(STRUCT, 10**6))
    return file_of(b"", _footer((4, LIST, many)) + bytes(20))


@bomb()
def a_footer_that_says_it_has_many_columns() -> bytes:
    """The same for the columns of the schema."""
    return file_of(b"", struct([(1, I32, 1), (2, LIST, elements(STRUCT, 10**6))]))


@bomb()
def a_schema_of_very_many_columns() -> bytes:
    """Three hundred thousand columns that exist, seven bytes each."""
    count = 300_000
    column = struct([(1, I32, crafted.INT32), (3, I32, crafted.REQUIRED), (4, BINARY, b"")])
    root = struct([(4, BINARY, b"root"), (5, I32, count)])
    schema = elements(STRUCT, count + 1, root + column * count)
    groups = elements(STRUCT, 0)
    return file_of(b"", struct([(1, I32, 1), (2, LIST, schema), (3, I64, 0), (4, LIST, groups)]))


@bomb()
def a_schema_that_is_nested_very_deeply() -> bytes:
    """A group in a group, fifty thousand times: enough for any stack."""
    group = struct([(3, I32, crafted.REQUIRED), (4, BINARY, b"g"), (5, I32, 1)])
    return bytes(Chunk(page(b"", 0), 0, crafted.INT32, above=[group] * 50_000))


@bomb()
def a_page_header_that_is_nested_very_deeply() -> bytes:
    """An unknown field of deeply nested structs, after thousands of small fields."""
    pages = b"\x05\x02\x00" * 6000 + b"\x0c\x12" + b"\x1c" * 400_000
    return bytes(Chunk(pages, 1, crafted.INT32))


@bomb()
def very_many_remarks() -> bytes:
    """A footer whose key-value metadata are a million empty strings."""
    remark = struct([(1, BINARY, b"")])
    groups = (4, LIST, elements(STRUCT, 0))
    return file_of(b"", _footer(groups, (5, LIST, elements(STRUCT, 10**6, remark * 10**6))))


def _misplaced(**lie: int) -> bytes:
    return bytes(Chunk(page(bytes(40), 10), 10, crafted.INT32, **lie))  # type: ignore[arg-type]


@bomb()
def a_chunk_before_the_file() -> bytes:
    """An offset below zero."""
    return _misplaced(offset=-100)


@bomb()
def a_chunk_behind_the_file() -> bytes:
    """An offset far beyond the end of any file."""
    return _misplaced(offset=2**62)


@bomb()
def a_chunk_longer_than_the_file() -> bytes:
    """A length that no file has."""
    return _misplaced(stored=2**62)


@bomb()
def a_chunk_of_negative_length() -> bytes:
    """A length below zero."""
    return _misplaced(stored=-5)


@bomb()
def more_rows_in_the_footer_than_in_the_pages() -> bytes:
    """The footer announces rows that no page holds."""
    return _misplaced(file_rows=10**15)


@bomb()
def fewer_rows_than_none() -> bytes:
    """A negative number of rows."""
    return _misplaced(file_rows=-1)


@bomb()
def rows_without_columns() -> bytes:
    """A billion rows without a column, each of which would get the added columns."""
    root = struct([(4, BINARY, b"root"), (5, I32, 0)])
    group = struct([(1, LIST, elements(STRUCT, 0)), (2, I64, 0), (3, I64, 10**9)])
    schema, groups = elements(STRUCT, 1, root), elements(STRUCT, 1, group)
    footer = [(1, I32, 1), (2, LIST, schema), (3, I64, 10**9), (4, LIST, groups)]
    return file_of(b"", struct(footer))
