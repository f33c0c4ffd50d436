"""How long the longest value of a dictionary page is."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s3pq_dagster.decoding.page_headers import PLAIN, RLE, Page, UnreadableLayoutError
from s3pq_dagster.decoding.thrift_structs import (
    ColumnChunk,
    ColumnMetaData,
    DataPageHeader,
    FileMetaData,
    PageHeader,
    RowGroup,
    SchemaElement,
)

_MAGIC = b"PAR1"
_BYTE_ARRAY = 6
_REQUIRED = 0
_DATA_PAGE = 0
_NAME = b"c"


def longest_value(source: pa.NativeFile, page: Page, codec: int) -> int:
    """Return the length of the longest value in a dictionary of byte arrays, in bytes.

    Raises:
        UnreadableLayoutError: The page cannot be decompressed or decoded.
    """
    # Values lie one after another, each behind its length. Python would take ten times as long to
    # follow the lengths as pyarrow takes to decode them, and pyarrow decodes no page alone. So the
    # page is wrapped into a small file, as that file's only data page.
    body = source.read_at(page.stored, page.start)
    try:
        file = pq.ParquetFile(pa.BufferReader(_file_of(body, page, codec)), pre_buffer=False)
        values = file.read(use_threads=False).column(0)
    except Exception as error:
        raise UnreadableLayoutError(f"a dictionary cannot be read: {error}") from error
    return pc.max(pc.binary_length(values)).as_py() or 0


def _file_of(body: bytes, page: Page, codec: int) -> bytes:
    """Build a Parquet file with one required column and this page."""
    inner = DataPageHeader(
        num_values=page.values,
        encoding=PLAIN,
        definition_level_encoding=RLE,
        repetition_level_encoding=RLE,
    )
    header = PageHeader(
        type=_DATA_PAGE,
        uncompressed_page_size=page.decoded,
        compressed_page_size=page.stored,
        data_page_header=inner,
    )
    data = header.dump() + body
    meta = ColumnMetaData(
        type=_BYTE_ARRAY,
        encodings=[],
        path_in_schema=[_NAME],
        codec=codec,
        num_values=page.values,
        total_uncompressed_size=len(data),
        total_compressed_size=len(data),
        data_page_offset=len(_MAGIC),
    )
    chunk = ColumnChunk(file_offset=0, meta_data=meta)
    root = SchemaElement(name=b"root", num_children=1)
    column = SchemaElement(type=_BYTE_ARRAY, repetition_type=_REQUIRED, name=_NAME)
    group = RowGroup(columns=[chunk], total_byte_size=len(data), num_rows=page.values)
    schema = [root, column]
    footer = FileMetaData(version=1, schema=schema, num_rows=page.values, row_groups=[group]).dump()
    return _MAGIC + data + footer + len(footer).to_bytes(4, "little") + _MAGIC
