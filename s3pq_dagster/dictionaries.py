"""How long the values of a dictionary page are."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s3pq_dagster.layout import PLAIN, RLE, Page, UnreadableLayoutError
from s3pq_dagster.thrift import BINARY, I32, I64, LIST, STRUCT, write_list, write_struct

_MAGIC = b"PAR1"
_BYTE_ARRAY = 6
_REQUIRED = 0


def longest_in(source: pa.NativeFile, page: Page, codec: int) -> int:
    """Find the longest value in a dictionary of byte arrays.

    The page is made the data page of a file of its own, which pyarrow reads ten times as fast as
    Python would follow one length to the next.

    Raises:
        UnreadableLayoutError: It cannot be decompressed, or is none.
    """
    body = source.read_at(page.stored, page.start)
    try:
        file = pq.ParquetFile(pa.BufferReader(_file_of(body, page, codec)), pre_buffer=False)
        values = file.read(use_threads=False).column(0)
    except Exception as error:
        raise UnreadableLayoutError(f"a dictionary cannot be read: {error}") from error
    return pc.max(pc.binary_length(values)).as_py() or 0


def _file_of(body: bytes, page: Page, codec: int) -> bytes:
    """Write a file of one required column with this page, as parquet.thrift has it."""
    inner = write_struct(
        [(1, I32, page.values), (2, I32, PLAIN), (3, I32, RLE), (4, I32, RLE)],
    )
    sizes = [(2, I32, page.decoded), (3, I32, page.stored)]
    data = write_struct([(1, I32, 0), *sizes, (5, STRUCT, inner)]) + body
    meta = [
        (1, I32, _BYTE_ARRAY),
        (2, LIST, write_list(I32, [])),
        (3, LIST, write_list(BINARY, [b"\x01c"])),
        (4, I32, codec),
        (5, I64, page.values),
        (6, I64, len(data)),
        (7, I64, len(data)),
        (9, I64, len(_MAGIC)),
    ]
    chunk = write_struct([(2, I64, 0), (3, STRUCT, write_struct(meta))])
    group = [(1, LIST, write_list(STRUCT, [chunk])), (2, I64, len(data)), (3, I64, page.values)]
    root = write_struct([(4, BINARY, b"root"), (5, I32, 1)])
    column = write_struct([(1, I32, _BYTE_ARRAY), (3, I32, _REQUIRED), (4, BINARY, b"c")])
    footer = write_struct(
        [
            (1, I32, 1),
            (2, LIST, write_list(STRUCT, [root, column])),
            (3, I64, page.values),
            (4, LIST, write_list(STRUCT, [write_struct(group)])),
        ]
    )
    return _MAGIC + data + footer + len(footer).to_bytes(4, "little") + _MAGIC
