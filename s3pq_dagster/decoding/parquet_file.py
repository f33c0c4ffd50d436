"""How a Parquet file is opened and decoded with pyarrow, in the run and in the sandbox alike."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas

END_BYTES = 8
"""Footer length and magic, at the end of every Parquet file (Parquet format, "File format")."""

MAGIC = b"PAR1"
"""First and last bytes of a Parquet file."""
_ENCRYPTED = b"PARE"
"""Last bytes of one whose footer is encrypted (Parquet format, "Encryption")."""
LEAST_BYTES = 2 * len(MAGIC) + END_BYTES
"""Bytes of the smallest file that is looked at."""
_BUFFERS_BYTES = 32 * 1024 * 1024
"""Total size of the read buffers, one a column, of a file on disk."""
_LEAST_BUFFER = 4096
"""Smallest read buffer of a column, in bytes."""
_OPTIONS = {"pre_buffer": False, "buffer_size": 1024 * 1024, "page_checksum_verification": True}
_FEW_COLUMNS = _BUFFERS_BYTES // (1024 * 1024)
"""Most columns that can each have a read buffer of the full size."""
_ONE_THREAD_BYTES = 1024 * 1024
"""Most bytes of a row group that one thread decodes: waking others would take longer."""
_PARSED_BYTES = 256
"""Bound on the memory that a byte of a footer takes once parsed. Measured: up to 160 bytes, for
columns without names."""


def footer_fault(end: bytes, size: int) -> str | None:
    """Return why a file has no footer that can be read; ``None`` if it may have one.

    Args:
        end: Its last bytes, at least :data:`END_BYTES` of them if it has so many.
        size: Its size in bytes.
    """
    if size < LEAST_BYTES:
        return f"it has only {size} bytes" if size else "it has 0 bytes"
    if (last := end[-len(MAGIC) :]) == _ENCRYPTED:
        return f"its footer is encrypted: it ends in {last!r}"
    if last != MAGIC:
        return f"it ends in {last!r}, not in {MAGIC!r}"
    length = int.from_bytes(end[-END_BYTES : -len(MAGIC)], "little") + END_BYTES
    if length > size - len(MAGIC):
        return f"its footer of {length} bytes is longer than it"
    return None


def footer_bytes(source: pa.NativeFile) -> int:
    """Read the footer's length from the end of the file; 0 if the file is too short for one."""
    size = source.size()
    if size < END_BYTES:
        return 0
    return int.from_bytes(source.read_at(4, size - END_BYTES), "little")


def is_footer_within(footer_bytes: int, max_bytes: int) -> bool:
    """Return whether parsing a footer of this length stays within a bound, whatever it holds."""
    return footer_bytes * _PARSED_BYTES <= max_bytes


def open_file(source: pa.NativeFile) -> pq.ParquetFile:
    """Open a Parquet file with bounds on what opening it allocates.

    Each column is read through a buffer, smaller ones where there are many columns: at the full
    size, 2,000 columns would take 2 GB.

    Raises:
        Exception: Whatever pyarrow raises for a file that is not Parquet.
    """
    # pyarrow allocates as many list elements as a footer announces: 765 MB for one of 62 bytes.
    # Each element takes at least a byte, so a list longer than the footer is a lie.
    limit = max(1, footer_bytes(source))
    opened = pq.ParquetFile(source, thrift_container_size_limit=limit, **_OPTIONS)
    if isinstance(source, pa.BufferReader) or opened.metadata.num_columns <= _FEW_COLUMNS:
        return opened
    each = max(_LEAST_BUFFER, _BUFFERS_BYTES // opened.metadata.num_columns)
    return pq.ParquetFile(
        source, thrift_container_size_limit=limit, **(_OPTIONS | {"buffer_size": each})
    )


def decode(file: pq.ParquetFile, rows_at_a_time: int) -> Iterator[pa.RecordBatch]:
    """Decode the rows; every batch is validated and has canonical types.

    Raises:
        Exception: Whatever pyarrow raises for a page that cannot be decoded.
    """
    # One row group at a time: a batch that spans two would need the bounds of both.
    for group in range(file.metadata.num_row_groups):
        yield from decode_group(file, group, rows_at_a_time)


def decode_group(
    file: pq.ParquetFile, group: int, rows_at_a_time: int, leaves: range | None = None
) -> Iterator[pa.RecordBatch]:
    """Decode one row group, optionally only some leaf columns.

    Args:
        file: The opened file.
        group: Index of the row group.
        rows_at_a_time: Most rows in a batch.
        leaves: Indices of leaf columns as Parquet counts them; ``None`` decodes all columns.

    Raises:
        Exception: Whatever pyarrow raises for a page that cannot be decoded.
    """
    threads = file.metadata.row_group(group).total_byte_size > _ONE_THREAD_BYTES
    if leaves is None:
        batches = file.iter_batches(rows_at_a_time, row_groups=[group], use_threads=threads)
    else:  # by index: names may repeat or contain dots
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
