"""How many rows and columns of a Parquet file fit a bound of memory when decoded at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.decoding.column_groups import MOST_COLUMN_GROUPS
from s3pq_dagster.decoding.column_pages import ColumnPages
from s3pq_dagster.decoding.int96 import TIMES_DECODED
from s3pq_dagster.decoding.leaf_columns import leaves_by_field
from s3pq_dagster.decoding.page_headers import (
    Chunk,
    Page,
    UnreadableLayoutError,
    read_pages,
    read_row_groups,
)
from s3pq_dagster.decoding.parquet_file import OpenedFile
from s3pq_dagster.schemas import remembered

MOST_ROWS = 65_536
"""Most rows that are decoded at a time, however narrow they are."""
_USUAL_BYTES = 64 * 1024 * 1024
"""Decoded bytes at a time by which the usual number of rows is chosen."""
_FEWER = 4
"""The number of rows is divided by this until they fit."""
_MUCH_FEWER = 16
"""If all columns together allow so many times fewer rows, decoding by column groups is faster."""
_MOST_PAGES = 1_000_000
"""Most page headers that are read: they take half a minute."""
_PAGES_PER_CALLBACK = 256
"""Page headers that are read between two calls of ``on_page``."""
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a physical value; the other types vary in length."""


def usual_rows(metadata: pq.FileMetaData) -> int:
    """Choose the number of rows to decode at a time by the footer: fewer if rows are wide."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    decoded_bytes: int = sum(max(0, group.total_byte_size) for group in groups)
    row_bytes = max(1, decoded_bytes // max(1, int(metadata.num_rows)))
    return max(1, min(MOST_ROWS, _USUAL_BYTES // row_bytes))


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """How a file is decoded within a bound of memory."""

    rows: int
    """Rows that are decoded at a time."""
    column_groups: tuple[range, ...] = ()
    """Leaf columns that are decoded together, group by group; empty to decode all together."""


def plan_from_page_headers(
    file: OpenedFile,
    source: pa.NativeFile,
    max_bytes: int,
    on_page: Callable[[], None] = lambda: None,
    usual: int = 0,
) -> DecodePlan | None:
    """Choose how many rows and columns to decode at a time by the page headers.

    Args:
        file: The opened file.
        source: The file's bytes.
        max_bytes: Most bytes that decoding may take, pages included.
        on_page: Called now and then between page headers; what it raises ends this function.
        usual: Most rows at a time; by default :func:`usual_rows`.

    Returns:
        At least 1 row and at most ``usual``; column groups if many columns would allow only few
        rows. ``None`` if no plan can be shown to stay within the bound: the file may still be
        harmless.
    """
    # Why page headers and not the footer: the sizes in a footer are only statistics, and a hostile
    # footer can hold any. pyarrow allocates by the page headers and fails if a page's content does
    # not match its header, so a bound that is computed from the headers holds.
    if _has_casts_in_python(file.schema_arrow):
        return None
    try:
        return _plan(file, source, max_bytes, on_page, usual or usual_rows(file.metadata))
    except UnreadableLayoutError:
        return None


def _plan(
    file: OpenedFile,
    source: pa.NativeFile,
    max_bytes: int,
    on_page: Callable[[], None],
    usual: int,
) -> DecodePlan | None:
    """Plan as :func:`plan_from_page_headers` says.

    Raises:
        UnreadableLayoutError: The page headers cannot be read, or do not bound what pages hold.
    """
    left = _MOST_PAGES
    rows = by_group = usual
    needed = [0] * len(file.schema_arrow)
    for number, group in enumerate(read_row_groups(source)):
        _check_starts(file.metadata.row_group(number), group)
        chunks = _with_pages(file, group, source, left, on_page)
        left -= sum(1 + chunk.count for chunk in chunks)
        rows = _fitting(chunks, rows, max_bytes, source)
        by_group = _fewer(partial(_rows_bytes_of, chunks), by_group, max_bytes)
        if rows < usual:
            # Needed only then: if all columns fit together, any group of them does.
            needed = list(map(max, needed, _bytes_by_field(file.schema_arrow, chunks, by_group)))
    if rows * _MUCH_FEWER < by_group and (
        groups := _group_columns(file.schema_arrow, needed, max_bytes)
    ):
        return DecodePlan(by_group, groups)
    return DecodePlan(rows) if rows else None


def _check_starts(known: pq.RowGroupMetaData, group: list[Chunk]) -> None:
    """Check that pyarrow starts to read each column chunk where its page headers were read.

    Raises:
        UnreadableLayoutError: pyarrow starts elsewhere.
    """
    # Two libraries parse the footer: Thrift's here, pyarrow's there. If a hostile footer has a
    # struct twice, one of them keeps fields that only the first has. Only the dictionary's offset
    # can be such a field: the others are in every such struct. pyarrow must not be asked about
    # encrypted columns, and read_row_groups has refused those.
    if len(group) != known.num_columns:
        raise UnreadableLayoutError("a row group has more or fewer columns than the schema")
    for index, chunk in enumerate(group):
        column = known.column(index)
        first, dictionary = column.data_page_offset, column.dictionary_page_offset or 0
        if chunk.start != (dictionary if 0 < dictionary < first else first):
            raise UnreadableLayoutError("a column chunk has two starts")


def _with_pages(
    file: OpenedFile,
    group: list[Chunk],
    source: pa.NativeFile,
    left: int,
    on_page: Callable[[], None],
) -> list[ColumnPages]:
    """Read the page headers of one row group.

    Raises:
        UnreadableLayoutError: They cannot be read, or there are more than ``left``.
    """
    chunks = []
    with_int96 = file.int96.leaves if file.int96 is not None else ()
    for index, chunk in enumerate(group):
        column = file.schema.column(index)
        left -= 1
        pages: list[Page] = []
        for page in islice(read_pages(source, chunk), max(0, left)):
            if len(pages) % _PAGES_PER_CALLBACK == 0:
                on_page()
            pages.append(page)
        left -= len(pages)
        if left <= 0:
            raise UnreadableLayoutError("too many pages")
        kind = column.physical_type
        width = column.length if kind == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(kind, 0)
        is_nested = column.max_repetition_level > 0
        times = TIMES_DECODED if index in with_int96 else 1
        chunks.append(ColumnPages(pages, chunk.codec, width, is_nested=is_nested, times=times))
    return chunks


def _fitting(chunks: list[ColumnPages], rows: int, max_bytes: int, source: pa.NativeFile) -> int:
    """Lower the number of rows until a row group fits; 0 if not even one row does."""
    if _bytes_of(chunks, rows) > max_bytes:
        for chunk in chunks:
            chunk.measure_dictionary(source, max_bytes)
    return _fewer(partial(_bytes_of, chunks), rows, max_bytes)


def _fewer(bytes_of: Callable[[int], int], rows: int, max_bytes: int) -> int:
    while rows and bytes_of(rows) > max_bytes:
        rows //= _FEWER
    return rows


def _bytes_of(chunks: Iterable[ColumnPages], rows: int) -> int:
    return sum(chunk.bytes_of(rows) for chunk in chunks)


def _rows_bytes_of(chunks: Iterable[ColumnPages], rows: int) -> int:
    return sum(chunk.rows_bytes(rows) for chunk in chunks)


def _bytes_by_field(schema: pa.Schema, chunks: list[ColumnPages], rows: int) -> list[int]:
    return [_bytes_of(chunks[each.start : each.stop], rows) for each in leaves_by_field(schema)]


def _group_columns(schema: pa.Schema, needed: list[int], max_bytes: int) -> tuple[range, ...]:
    """Group the leaf columns so that each group stays within the bound; empty if impossible."""
    groups: list[range] = []
    taken = max_bytes
    for leaves, size in zip(leaves_by_field(schema), needed, strict=True):
        if size > max_bytes:
            return ()
        if taken + size > max_bytes:
            groups.append(leaves)
            taken = size
        else:
            groups[-1] = range(groups[-1].start, leaves.stop)
            taken += size
    return tuple(groups) if len(groups) <= MOST_COLUMN_GROUPS else ()


@remembered
def _has_casts_in_python(schema: pa.Schema) -> bool:
    return any(map(_is_cast_in_python, schema.types))


def _is_cast_in_python(kind: pa.DataType) -> bool:
    """Return whether a type, or one within it, is made canonical via Python objects.

    Those take memory that the bound does not count.
    """
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return True
    if isinstance(kind, pa.DictionaryType):
        return _is_cast_in_python(kind.value_type)
    return any(_is_cast_in_python(kind.field(i).type) for i in range(kind.num_fields))
