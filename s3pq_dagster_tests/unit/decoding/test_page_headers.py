"""Page headers: what they say is held against the file before anything is allocated by it."""

import pyarrow as pa
import pytest

from s3pq_dagster.decoding.page_headers import PLAIN, Chunk, UnreadableLayoutError, read_pages
from s3pq_dagster.decoding.thrift_structs import DictionaryPageHeader, PageHeader


@pytest.mark.parametrize("stored", [5, 2**31 - 1])
def test_a_page_that_ends_outside_the_file_is_none(stored: int) -> None:
    """Its stated size would be allocated to read it."""
    header = PageHeader(
        type=2,
        uncompressed_page_size=4,
        compressed_page_size=stored,
        dictionary_page_header=DictionaryPageHeader(num_values=1, encoding=PLAIN),
    ).dump()
    body = header + b"1234"
    chunk = Chunk(start=0, length=len(body), values=1, codec=0)
    with pytest.raises(UnreadableLayoutError, match="outside the file"):
        list(read_pages(pa.BufferReader(body), chunk))
