"""Small files that take much: memory, time, or a decoder's trust."""

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
"""``max_decoded_bytes`` under which the bombs go off: smaller ones do then."""
LARGE = 96 * MIB
"""What most of them decode to."""
MOST = 2**31 - 1
BOMBS: dict[str, "Bomb"] = {}


@dataclass(frozen=True, slots=True)
class Bomb:
    """A file and what has to become of it."""

    make: Callable[[], bytes]
    rows: int | None
    """How many rows come of it; ``None`` where it is quarantined."""
    spec: dict[str, Any]


def bomb(
    *, rows: int | None = None, **spec: Any
) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Name a file after the function that makes it."""

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
    """The same where the codec knows no bound of its own."""
    return _cell("brotli")


@bomb()
def a_cell_of_zeros_in_gzip() -> bytes:
    """The same in the codec everybody has."""
    return _cell("gzip")


@bomb()
def a_page_of_zeros_behind_a_lying_footer() -> bytes:
    """The footer says a kilobyte; the page is what it is."""
    text = LARGE.to_bytes(4, "little") + bytes(LARGE)
    body = pa.Codec("zstd").compress(text, asbytes=True)
    pages = page(body, 1, decoded=len(text))
    return bytes(Chunk(pages, 1, codec=crafted.ZSTD, decoded=1000))


@bomb(rows=2000)
def a_long_value_repeated_by_a_dictionary() -> bytes:
    """A dictionary of one value, looked up by every row."""
    return parquet(pa.table({"c": ["x" * (MIB // 4)] * 2000}), row_group_size=2000)


@bomb(rows=2000)
def a_dictionary_that_arrow_would_keep() -> bytes:
    """The same with the hint that the column was a dictionary: it is small until it is cast."""
    column = pa.array(["x" * (MIB // 4)]).dictionary_encode()
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), column.dictionary)
    return parquet(pa.table({"c": many}))


@bomb(rows=500)
def a_long_prefix_repeated() -> bytes:
    """Each value is its predecessor, by one number."""
    table = pa.table({"c": ["x" * (MIB // 2)] * 500})
    return parquet(table, use_dictionary=False, column_encoding={"c": "DELTA_BYTE_ARRAY"})


@bomb()
def a_list_of_very_many_values() -> bytes:
    """One row, whose list is the whole file."""
    values = pa.repeat(pa.scalar(7, pa.int32()), LARGE // 8)
    column = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    return parquet(pa.table({"c": column}))


@bomb(rows=3_000_000)
def a_column_in_one_run() -> bytes:
    """Millions of rows in some bytes, which is no more than good compression."""
    dictionary = page((7).to_bytes(8, "little"), 1, is_dictionary=True)
    body = b"\x01" + run(3_000_000, 0, 1)
    pages = dictionary + page(body, 3_000_000, encoding=crafted.RLE_DICTIONARY)
    return bytes(Chunk(pages, 3_000_000, crafted.INT64, dictionary=len(dictionary)))


@bomb(max_decode_seconds=1)
def rows_without_end() -> bytes:
    """A million of a million rows, since each row group may have the same page."""
    dictionary = page((7).to_bytes(8, "little"), 1, is_dictionary=True)
    body = b"\x01" + run(MOST, 0, 1)
    pages = dictionary + page(body, MOST, encoding=crafted.RLE_DICTIONARY)
    return bytes(Chunk(pages, MOST, crafted.INT64, dictionary=len(dictionary), groups=1000))


@bomb()
def a_dictionary_that_says_it_has_many_values() -> bytes:
    """The decoder makes room for them before it looks."""
    dictionary = page(b"\x01\x00\x00\x00x", MOST, is_dictionary=True)
    pages = dictionary + page(b"\x01" + run(1, 0, 1), 1, encoding=crafted.RLE_DICTIONARY)
    return bytes(Chunk(pages, 1, dictionary=len(dictionary)))


@bomb()
def a_page_that_says_it_is_large() -> bytes:
    """Two gigabytes, of which it has some bytes."""
    body = pa.Codec("snappy").compress(b"\x01\x00\x00\x00x", asbytes=True)
    return bytes(Chunk(page(body, 1, decoded=MOST), 1, codec=crafted.SNAPPY))


@bomb()
def lengths_that_are_very_many() -> bytes:
    """A delta encoding with a count of its own, a thousand times the page's."""
    count = LARGE // 4
    blocks = (zigzag(0) + bytes(4)) * (count // 128 + 1)
    body = varint(128) + varint(4) + varint(count) + zigzag(0) + blocks
    packed = pa.Codec("zstd").compress(body, asbytes=True)
    pages = page(packed, 10, encoding=crafted.DELTA_LENGTH, decoded=len(body))
    return bytes(Chunk(pages, 10, codec=crafted.ZSTD))


@bomb()
def a_value_of_fixed_width_beyond_measure() -> bytes:
    """A width of a gigabyte, and a row without a value: room is made for it all the same."""
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
    """Sixty bytes, for which pyarrow makes room for a million row groups and as many columns."""
    many = elements(STRUCT, 10**6, b"\x19" + elements(STRUCT, 10**6))
    return file_of(b"", _footer((4, LIST, many)) + bytes(20))


@bomb()
def a_footer_that_says_it_has_many_columns() -> bytes:
    """The same for the schema."""
    return file_of(b"", struct([(1, I32, 1), (2, LIST, elements(STRUCT, 10**6))]))


@bomb()
def a_schema_of_very_many_columns() -> bytes:
    """Three hundred thousand columns that are there, of seven bytes each."""
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
    """A field nobody knows, of structs in structs, before which are very many small ones."""
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
    """An offset no seek would survive."""
    return _misplaced(offset=2**62)


@bomb()
def a_chunk_longer_than_the_file() -> bytes:
    """A length that no file has."""
    return _misplaced(stored=2**62)


@bomb()
def a_chunk_of_negative_length() -> bytes:
    """Less than nothing."""
    return _misplaced(stored=-5)


@bomb()
def more_rows_in_the_footer_than_in_the_pages() -> bytes:
    """A promise of rows that are not there."""
    return _misplaced(file_rows=10**15)


@bomb()
def fewer_rows_than_none() -> bytes:
    """A negative number of rows."""
    return _misplaced(file_rows=-1)


@bomb()
def rows_without_columns() -> bytes:
    """A billion rows of nothing, each of which would get an id and a key."""
    root = struct([(4, BINARY, b"root"), (5, I32, 0)])
    group = struct([(1, LIST, elements(STRUCT, 0)), (2, I64, 0), (3, I64, 10**9)])
    schema, groups = elements(STRUCT, 1, root), elements(STRUCT, 1, group)
    footer = [(1, I32, 1), (2, LIST, schema), (3, I64, 10**9), (4, LIST, groups)]
    return file_of(b"", struct(footer))
