"""What the page headers of a column chunk say, by which decoders go whatever the footer says."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.thrift import I32, STRUCT, Struct, read_struct

PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED = 0, 2, 3, 4
DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY = 5, 6, 7
RLE_DICTIONARY, BYTE_STREAM_SPLIT = 8, 9
DICTIONARY = (PLAIN_DICTIONARY, RLE_DICTIONARY)
"""Encodings by their numbers in parquet.thrift."""
_TYPE, _DECODED, _STORED = (1, I32), (2, I32), (3, I32)
_DATA, _DICTIONARY, _DATA_V2 = (5, STRUCT), (7, STRUCT), (8, STRUCT)
_VALUES, _ENCODING, _ENCODING_V2 = (1, I32), (2, I32), (4, I32)
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_HEADER_BYTES = (256, 16 * 1024, 16 * 1024 * 1024)
"""A header is looked for in so many bytes, then in more; pyarrow stops at 16 MiB, too."""


class UnreadablePagesError(Exception):
    """The page headers cannot be followed. What that means is for the decoder to say."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page's header."""

    is_dictionary: bool
    values: int
    encoding: int
    stored: int
    """Bytes in the file."""
    decoded: int
    """Bytes once decompressed."""
    start: int
    """Where they are in the file."""


def pages_of(source: pa.NativeFile, chunk: pq.ColumnChunkMetaData) -> Iterator[Page]:
    """Follow the page headers of a column chunk as pyarrow does, page bodies left out.

    Raises:
        UnreadablePagesError: There is no page where one should be. Raised while iterating.
    """
    at, size = _start(chunk), source.size()
    end, seen = at + chunk.total_compressed_size, 0
    if not 0 <= at <= end <= size:
        raise UnreadablePagesError("a column chunk lies outside the file")
    while at < end and seen < chunk.num_values:
        header, at = _header(source, at, size)
        page = _page(header, at)
        at += header[_STORED]
        if page is not None:
            seen += 0 if page.is_dictionary else page.values
            yield page


def longest_in(source: pa.NativeFile, page: Page, codec: str) -> int:
    """Find the longest value in a dictionary of byte arrays.

    Raises:
        UnreadablePagesError: It cannot be decompressed, or is none.
    """
    body = source.read_at(page.stored, page.start)
    try:
        if codec != "UNCOMPRESSED":
            name = "lz4_raw" if codec == "LZ4" else codec.lower()
            body = pa.Codec(name).decompress(body, page.decoded, asbytes=True)
        return _longest(body, page.values)
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:
        raise UnreadablePagesError(f"a dictionary cannot be read: {error}") from error


def _longest(body: bytes, values: int) -> int:
    longest = at = 0
    of = int.from_bytes
    for _ in range(values):
        length = of(body[at : at + 4], "little")
        at += 4 + length
        if length > longest:  # noqa: PLR1730 - max() would take twice as long
            longest = length
    if at > len(body):
        raise ValueError("it ends within a value")
    return longest


def _start(chunk: pq.ColumnChunkMetaData) -> int:
    start = int(chunk.data_page_offset)
    first = chunk.dictionary_page_offset
    return int(first) if first is not None and 0 < first < start else start


def _header(source: pa.NativeFile, at: int, size: int) -> tuple[Struct, int]:
    for most in _HEADER_BYTES:
        data = source.read_at(min(most, size - at), at)
        try:
            header, length = read_struct(data)
        except IndexError:
            continue
        except (ValueError, RecursionError) as error:
            raise UnreadablePagesError(f"no page header at byte {at}: {error}") from error
        if length <= len(data):
            return header, at + length
    raise UnreadablePagesError(f"no page header at byte {at}")


def _page(header: Struct, at: int) -> Page | None:
    """Make a page of its header; ``None`` for a kind without values, which decoders skip."""
    kind: Any = header.get(_TYPE)
    sizes = header.get(_STORED, -1), header.get(_DECODED, -1)
    if min(sizes) < 0 or kind is None:
        raise UnreadablePagesError(f"no page header before byte {at}")
    inner, encoding = {
        _DATA_PAGE: (_DATA, _ENCODING),
        _DICTIONARY_PAGE: (_DICTIONARY, _ENCODING),
        _DATA_PAGE_V2: (_DATA_V2, _ENCODING_V2),
    }.get(kind, (None, _ENCODING))
    if inner is None:
        return None
    details = header.get(inner, {})
    values = details.get(_VALUES, -1)
    if values < 0 or encoding not in details:
        raise UnreadablePagesError(f"no page header before byte {at}")
    return Page(kind == _DICTIONARY_PAGE, values, details[encoding], *sizes, at)
