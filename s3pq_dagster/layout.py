"""Where the pages of a Parquet file are and what they say of themselves: decoders go by that.

Read here and not asked of pyarrow, which tells nothing of page headers, and ends the process when
it is asked about an encrypted column chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from s3pq_dagster.parquet_file import END_BYTES, footer_bytes
from s3pq_dagster.thrift import I32, I64, LIST, STRUCT, Struct, read_struct

PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED = 0, 2, 3, 4
DELTA_BINARY_PACKED, RLE_DICTIONARY, BYTE_STREAM_SPLIT = 5, 8, 9
DICTIONARY = (PLAIN_DICTIONARY, RLE_DICTIONARY)
"""Encodings by their numbers in parquet.thrift."""
# Fields by their numbers in parquet.thrift: of the footer, a row group, a chunk and its metadata, …
_GROUPS, _CHUNKS, _META, _ENCRYPTED = (4, LIST), (1, LIST), (3, STRUCT), (8, STRUCT)
_CODEC, _CHUNK_VALUES, _LENGTH, _FIRST = (4, I32), (5, I64), (7, I64), (9, I64)
_FIRST_DICTIONARY = (11, I64)
# … of a page header and of what is in it for each kind.
_TYPE, _DECODED, _STORED = (1, I32), (2, I32), (3, I32)
_DATA, _DICTIONARY, _DATA_V2 = (5, STRUCT), (7, STRUCT), (8, STRUCT)
_VALUES, _ENCODING, _ENCODING_V2 = (1, I32), (2, I32), (4, I32)
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_HEADER_BYTES = (256, 16 * 1024, 16 * 1024 * 1024)
"""A header is looked for in so many bytes, then in more; pyarrow stops at 16 MiB, too."""


class UnreadableLayoutError(Exception):
    """The pages cannot be followed. What that means is for the decoder to say."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column in one row group, as the footer has it."""

    start: int
    length: int
    values: int
    codec: int
    """By its number in parquet.thrift."""


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


def row_groups_of(source: pa.NativeFile) -> list[list[Chunk]]:
    """Read the footer: the chunks of each row group.

    Raises:
        UnreadableLayoutError: It is none, or a column is encrypted.
    """
    length = footer_bytes(source)
    data = source.read_at(length, max(0, source.size() - END_BYTES - length))
    try:
        footer, _ = read_struct(data)
        return [[_chunk(chunk) for chunk in group[_CHUNKS]] for group in footer[_GROUPS]]
    except (IndexError, ValueError, KeyError, RecursionError) as error:
        raise UnreadableLayoutError(f"the footer cannot be followed: {error}") from error


def _chunk(chunk: Struct) -> Chunk:
    if _ENCRYPTED in chunk:
        raise ValueError("a column is encrypted")
    meta = chunk[_META]
    start, dictionary = meta[_FIRST], meta.get(_FIRST_DICTIONARY, 0)
    start = dictionary if 0 < dictionary < start else start
    return Chunk(start, meta[_LENGTH], meta[_CHUNK_VALUES], meta[_CODEC])


def pages_of(source: pa.NativeFile, chunk: Chunk) -> Iterator[Page]:
    """Follow the page headers of a column chunk as pyarrow does, page bodies left out.

    Raises:
        UnreadableLayoutError: There is no page where one should be. Raised while iterating.
    """
    at, size = chunk.start, source.size()
    end, seen = at + chunk.length, 0
    if not 0 <= at <= end <= size:
        raise UnreadableLayoutError("a column chunk lies outside the file")
    while at < end and seen < chunk.values:
        header, at = _header(source, at, size)
        page = _page(header, at)
        at += header[_STORED]
        if page is not None:
            seen += 0 if page.is_dictionary else page.values
            yield page


def _header(source: pa.NativeFile, at: int, size: int) -> tuple[Struct, int]:
    for most in _HEADER_BYTES:
        data = source.read_at(min(most, size - at), at)
        try:
            header, length = read_struct(data)
        except IndexError:
            continue
        except (ValueError, RecursionError) as error:
            raise UnreadableLayoutError(f"no page header at byte {at}: {error}") from error
        if length <= len(data):
            return header, at + length
    raise UnreadableLayoutError(f"no page header at byte {at}")


def _page(header: Struct, at: int) -> Page | None:
    """Make a page of its header; ``None`` for a kind without values, which decoders skip."""
    kind: Any = header.get(_TYPE)
    sizes = header.get(_STORED, -1), header.get(_DECODED, -1)
    if min(sizes) < 0 or kind is None:
        raise UnreadableLayoutError(f"no page header before byte {at}")
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
        raise UnreadableLayoutError(f"no page header before byte {at}")
    return Page(kind == _DICTIONARY_PAGE, values, details[encoding], *sizes, at)
