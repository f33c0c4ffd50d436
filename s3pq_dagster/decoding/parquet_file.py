"""A Parquet file opened and decoded with pyarrow, the one way for the run and for a trial of it."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas

END_BYTES = 8
"""Footer length and magic, at the end of every Parquet file (Parquet format, "File format")."""

_BUFFERS_BYTES = 32 * 1024 * 1024
"""What the columns of a file on disk are read through, all of them at a time."""
_LEAST_BUFFER = 4096
_HOW = {"pre_buffer": False, "buffer_size": 1024 * 1024, "page_checksum_verification": True}
_FEW_COLUMNS = _BUFFERS_BYTES // (1024 * 1024)
"""So many have a buffer of that size each."""
_ALONE_BYTES = 1024 * 1024
"""Up to so many a row group is decoded by one thread: to wake others takes longer."""
_PARSED_BYTES = 256
"""What a byte of a footer may take once parsed: 160 were seen, for columns without names."""


def footer_bytes(source: pa.NativeFile) -> int:
    """Give the footer's length as the file's end has it; 0 where there is none."""
    size = source.size()
    if size < END_BYTES:
        return 0
    return int.from_bytes(source.read_at(4, size - END_BYTES), "little")


def is_footer_within(footer_bytes: int, max_bytes: int) -> bool:
    """Tell whether parsing a footer of this length stays within a bound, whatever is in it."""
    return footer_bytes * _PARSED_BYTES <= max_bytes


def open_file(source: pa.NativeFile) -> pq.ParquetFile:
    """Open a file.

    Each column is read through a buffer of its own: of 2,000 columns those would take 2 GB.

    A list in the footer has at most as many elements as the footer has bytes: pyarrow makes room
    for as many as are announced, 765 MB for a footer of 62 bytes.

    Raises:
        Exception: Whatever pyarrow has for a file that is none.
    """
    limit = max(1, footer_bytes(source))
    opened = pq.ParquetFile(source, thrift_container_size_limit=limit, **_HOW)
    if isinstance(source, pa.BufferReader) or opened.metadata.num_columns <= _FEW_COLUMNS:
        return opened
    each = max(_LEAST_BUFFER, _BUFFERS_BYTES // opened.metadata.num_columns)
    return pq.ParquetFile(
        source, thrift_container_size_limit=limit, **(_HOW | {"buffer_size": each})
    )


def decode(file: pq.ParquetFile, rows_at_a_time: int) -> Iterator[pa.RecordBatch]:
    """Decode the rows; every batch is checked and has canonical types.

    Raises:
        Exception: Whatever pyarrow has for a page that is none.
    """
    # One group at a time, so that what a batch may take is known from one group's pages.
    for group in range(file.metadata.num_row_groups):
        yield from decode_group(file, group, rows_at_a_time)


def decode_group(
    file: pq.ParquetFile, group: int, rows_at_a_time: int, leaves: range | None = None
) -> Iterator[pa.RecordBatch]:
    """Do so for one row group, and for some columns only.

    Args:
        file: The opened file.
        group: Of its row groups, the index.
        rows_at_a_time: Of a batch.
        leaves: Indices of columns as Parquet counts them; ``None`` is all.

    Raises:
        Exception: Whatever pyarrow has for a page that is none.
    """
    threads = file.metadata.row_group(group).total_byte_size > _ALONE_BYTES
    if leaves is None:
        batches = file.iter_batches(rows_at_a_time, row_groups=[group], use_threads=threads)
    else:  # by index, for names may be there twice or have dots in them
        batches = file.reader.iter_batches(rows_at_a_time, [group], leaves, threads)
    for batch in batches:
        batch.validate(full=True)
        schema = schemas.canonical(batch.schema)
        yield batch if batch.schema.equals(schema) else _canonical(batch, schema)


def _canonical(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        schemas.conform_column(column, field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)
