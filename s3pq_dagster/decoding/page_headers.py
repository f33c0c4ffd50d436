"""Where the pages of a Parquet file are, and what their headers say.

pyarrow does not expose page headers, and it ends the process when asked about an encrypted column
chunk; so footer and headers are parsed here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from s3pq_dagster.decoding.parquet_file import read_footer_bytes
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
"""The encodings of dictionary indices. Encodings are numbered as in parquet.thrift."""
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_HEADER_BYTES = (256, 16 * 1024, 16 * 1024 * 1024)
"""A header is parsed from so many bytes, then from more; pyarrow has the same limit, 16 MiB."""


class UnreadableLayoutError(Exception):
    """The pages cannot be located. That alone does not make a file malformed."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column in one row group, as the footer describes it."""

    start: int
    """Position of its first page in the file."""
    length: int
    """Bytes of all its pages, headers included."""
    values: int
    """Number of values, nulls included."""
    codec: int
    """The compression codec's number in parquet.thrift."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one page header says."""

    is_dictionary: bool
    values: int
    """Number of values, nulls included."""
    encoding: int
    """The encoding's number in parquet.thrift."""
    stored: int
    """Size of the page body in the file, in bytes."""
    decoded: int
    """Size of the page body once decompressed, in bytes."""
    start: int
    """Position of the page body in the file."""


def read_row_groups(source: pa.NativeFile) -> list[list[Chunk]]:
    """Read the column chunks of each row group from the footer.

    Raises:
        UnreadableLayoutError: The footer cannot be parsed, or a column is encrypted.
    """
    try:
        footer, _ = FileMetaData.parse(read_footer_bytes(source))
        return [[_chunk(chunk) for chunk in group.columns] for group in footer.row_groups]
    except (NoStructError, EOFError, TypeError) as error:  # a TypeError where a field is missing
        raise UnreadableLayoutError(f"the footer cannot be followed: {error}") from error


def _chunk(chunk: ColumnChunk) -> Chunk:
    meta = chunk.meta_data
    if chunk.crypto_metadata is not None or meta is None:
        raise UnreadableLayoutError("a column is encrypted")
    start, dictionary = meta.data_page_offset, meta.dictionary_page_offset or 0
    start = dictionary if 0 < dictionary < start else start
    fields = (start, meta.total_compressed_size, meta.num_values, meta.codec)
    if None in fields:
        raise UnreadableLayoutError("a column chunk lacks its position, size or codec")
    return Chunk(*fields)


def read_pages(source: pa.NativeFile, chunk: Chunk) -> Iterator[Page]:
    """Read the page headers of a column chunk in order, skipping the page bodies.

    Raises:
        UnreadableLayoutError: There is no page where one should be. Raised while iterating.
    """
    # Sizes in the footer are not believed: a writer may put anything there, and pyarrow allocates
    # by what page headers say. So the walk goes from header to header exactly as pyarrow's does
    # (it, too, stops once it has seen the chunk's number of values), and finds the same pages.
    at, size = chunk.start, source.size()
    end, seen = at + chunk.length, 0
    if not 0 <= at <= end <= size:
        raise UnreadableLayoutError("a column chunk lies outside the file")
    while at < end and seen < chunk.values:
        header, at = _header(source, at, size)
        page = _page(header, at)
        at += header.compressed_page_size
        if at > size:
            raise UnreadableLayoutError("a page lies outside the file")
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
    """Convert a page header; ``None`` for a kind of page without values, which decoders skip."""
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
