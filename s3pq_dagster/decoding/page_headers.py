"""Where the pages of a Parquet file are and what they say of themselves: decoders go by that.

Read here and not asked of pyarrow, which tells nothing of page headers, and ends the process when
it is asked about an encrypted column chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from s3pq_dagster.decoding.parquet_file import END_BYTES, footer_bytes
from s3pq_dagster.decoding.thrift_structs import (
    ColumnChunk,
    DataPageHeader,
    DataPageHeaderV2,
    DictionaryPageHeader,
    FileMetaData,
    NoStructError,
    PageHeader,
)

PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED = 0, 2, 3, 4
DELTA_BINARY_PACKED, RLE_DICTIONARY, BYTE_STREAM_SPLIT = 5, 8, 9
DICTIONARY = (PLAIN_DICTIONARY, RLE_DICTIONARY)
"""Encodings by their numbers in parquet.thrift."""
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
        footer, _ = FileMetaData.parse(data)
        return [[_chunk(chunk) for chunk in group.columns] for group in footer.row_groups]
    except (NoStructError, EOFError, TypeError) as error:  # a TypeError where a field is missing
        raise UnreadableLayoutError(f"the footer cannot be followed: {error}") from error


def _chunk(chunk: ColumnChunk) -> Chunk:
    meta = chunk.meta_data
    if chunk.crypto_metadata is not None or meta is None:
        raise UnreadableLayoutError("a column is encrypted")
    start, dictionary = meta.data_page_offset, meta.dictionary_page_offset or 0
    start = dictionary if 0 < dictionary < start else start
    facts = (start, meta.total_compressed_size, meta.num_values, meta.codec)
    if None in facts:
        raise UnreadableLayoutError("a column chunk lacks its facts")
    return Chunk(*facts)


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
        at += header.compressed_page_size
        if page is not None:
            seen += 0 if page.is_dictionary else page.values
            yield page


def _header(source: pa.NativeFile, at: int, size: int) -> tuple[PageHeader, int]:
    for most in _HEADER_BYTES:
        data = source.read_at(min(most, size - at), at)
        try:
            header, length = PageHeader.parse(data)
        except EOFError:
            continue
        except NoStructError as error:
            raise UnreadableLayoutError(f"no page header at byte {at}: {error}") from error
        return header, at + length
    raise UnreadableLayoutError(f"no page header at byte {at}")


def _page(header: PageHeader, at: int) -> Page | None:
    """Make a page of its header; ``None`` for a kind without values, which decoders skip."""
    stored, decoded = header.compressed_page_size, header.uncompressed_page_size
    if stored is None or decoded is None or min(stored, decoded) < 0 or header.type is None:
        raise UnreadableLayoutError(f"no page header before byte {at}")
    details: DataPageHeader | DictionaryPageHeader | DataPageHeaderV2 | None
    if header.type == _DATA_PAGE:
        details = header.data_page_header
    elif header.type == _DICTIONARY_PAGE:
        details = header.dictionary_page_header
    elif header.type == _DATA_PAGE_V2:
        details = header.data_page_header_v2
    else:
        return None
    values = None if details is None else details.num_values
    if details is None or values is None or values < 0 or details.encoding is None:
        raise UnreadableLayoutError(f"no page header before byte {at}")
    is_dictionary = header.type == _DICTIONARY_PAGE
    return Page(is_dictionary, values, details.encoding, stored, decoded, at)
