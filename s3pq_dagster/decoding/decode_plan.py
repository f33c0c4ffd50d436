"""What of a Parquet file may be decoded at a time, so that memory stays within a bound."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice, pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.decoding.column_groups import MOST_PARTS
from s3pq_dagster.decoding.dictionary_page import longest_in
from s3pq_dagster.decoding.page_headers import (
    BIT_PACKED,
    BYTE_STREAM_SPLIT,
    DELTA_BINARY_PACKED,
    DICTIONARY,
    PLAIN,
    RLE,
    Chunk,
    Page,
    UnreadableLayoutError,
    pages_of,
    row_groups_of,
)

MOST_ROWS = 65_536
_USUAL_BYTES = 64 * 1024 * 1024
"""What is decoded at a time where nothing is unusual."""
_FEWER = 4
"""By what rows are divided until they fit."""
_MUCH_FEWER = 16
"""So many times fewer rows than usual take longer than decoding some columns at a time."""
_MOST_PAGES = 1_000_000
"""Page headers that are followed: half a minute's worth."""
_PAGES_A_LOOK = 256
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_PER_VALUE = 48
"""Beside the physical value: the widest Arrow one, levels, offsets, validity."""
_POINTER = 16
"""What the decoder keeps for each value of a dictionary."""
_LOOKED_UP = 6
"""How many times its bytes looking through a dictionary takes: its page, its values, their room."""
_GROWTH = 2
"""How much larger than its content a buffer may be that grows as it is filled."""
_AS_LARGE_AS_THEY_SAY = {
    PLAIN, RLE, BIT_PACKED, DELTA_BINARY_PACKED, BYTE_STREAM_SPLIT, *DICTIONARY,
}  # fmt: skip
"""Encodings whose size the page header tells. The two delta encodings of byte arrays have counts of
their own within the page, and prefixes that repeat."""


def usual_rows(metadata: pq.FileMetaData) -> int:
    """Choose how many rows to decode at a time going by the footer: fewer where they are wide."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    decoded_bytes: int = sum(max(0, group.total_byte_size) for group in groups)
    row_bytes = max(1, decoded_bytes // max(1, int(metadata.num_rows)))
    return max(1, min(MOST_ROWS, _USUAL_BYTES // row_bytes))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is decoded within a bound."""

    rows: int
    """At a time."""
    parts: tuple[range, ...] = ()
    """The leaf columns to decode at a time; all of them together where there are none."""


def safe_plan(
    file: pq.ParquetFile,
    source: pa.NativeFile,
    max_bytes: int,
    on_page: Callable[[], None] = lambda: None,
    usual: int = 0,
) -> Plan | None:
    """Choose what to decode at a time going by the page headers, which cannot lie.

    Args:
        file: The opened file.
        source: Its bytes.
        max_bytes: What decoding may take, pages included.
        on_page: Called now and then between page headers; what it raises ends this.
        usual: Rows at a time where nothing is unusual; by default :func:`usual_rows`.

    Returns:
        At least 1 row and at most ``usual``; where those would be few because there are
        many columns, some columns at a time. ``None`` where nothing can be shown to stay within
        the bound, which says nothing against the file.
    """
    if any(_is_cast_in_python(field.type) for field in file.schema_arrow):
        return None
    left = _MOST_PAGES
    rows = apart = usual = usual or usual_rows(file.metadata)
    needed = [0] * len(file.schema_arrow)
    try:
        for number, group in enumerate(row_groups_of(source)):
            _check_starts(file.metadata.row_group(number), group)
            chunks = _with_pages(file, group, source, left, on_page)
            left -= sum(1 + chunk.count for chunk in chunks)
            rows = _fitting(chunks, rows, max_bytes, source)
            apart = _fewer(partial(_rows_bytes_of, chunks), apart, max_bytes)
            if rows < usual:
                # Where all columns fit in together, any of them do.
                needed = list(map(max, needed, _bytes_by_field(file.schema_arrow, chunks, apart)))
    except UnreadableLayoutError:
        return None
    if rows * _MUCH_FEWER < apart and (parts := _parts(file.schema_arrow, needed, max_bytes)):
        return Plan(apart, parts)
    return Plan(rows) if rows else None


class _Pages:
    """The pages of one column in one row group."""

    def __init__(self, pages: list[Page], codec: int, width: int, *, is_nested: bool) -> None:
        """Add up what they say, in one go: an object has dozens of pages, a table many objects.

        Args:
            pages: Their headers.
            codec: How they are compressed.
            width: Bytes of a physical value; 0 where they vary.
            is_nested: Whether a row may have any number of values.
        """
        self._pages, self._codec, self._width, self._is_nested = pages, codec, width, is_nested
        self._longest = 0
        """Most bytes of a value in the dictionary, as far as that is known."""
        self._held = self._values = self._looked_up = 0
        self._plain_bytes = self._largest = 0
        self._densest = 0.0
        page_bytes = 0
        for page in pages:
            page_bytes = max(page_bytes, page.stored + page.decoded)
            if page.encoding not in _AS_LARGE_AS_THEY_SAY:
                raise UnreadableLayoutError("an encoding that may grow")
            if page.is_dictionary:
                self._add_dictionary(page)
                continue
            self._values += page.values
            if page.encoding in DICTIONARY:
                self._looked_up += page.values
            else:
                self._plain_bytes += page.decoded
                self._largest = max(self._largest, page.decoded)
                self._densest = max(self._densest, page.decoded / max(1, page.values))
        self._held += page_bytes  # a page, stored and decoded, and a dictionary

    def _add_dictionary(self, page: Page) -> None:
        if page.values * (self._width or 4) > page.decoded:
            raise UnreadableLayoutError("a dictionary of more values than it has room for")
        if not self._width:
            self._longest = page.decoded
        self._held += 2 * page.decoded + _POINTER * page.values

    @property
    def count(self) -> int:
        """How many."""
        return len(self._pages)

    def bytes_of(self, rows: int) -> int:
        """Bound what decoding so many rows in succession takes."""
        return self._held + self.rows_bytes(rows)

    def rows_bytes(self, rows: int) -> int:
        """Bound what so many decoded rows take, without pages and dictionaries."""
        values = self._values if self._is_nested else rows
        content = min(values, self._looked_up) * self._longest
        if not self._width:
            content += self._text_bytes(rows)
        return _GROWTH * content + values * (2 * self._width + _PER_VALUE)

    def _text_bytes(self, rows: int) -> int:
        """Bound the text in so many rows: pages within them whole, one at each end in part."""
        if self._is_nested:
            return self._plain_bytes
        return min(self._plain_bytes, int(rows * self._densest) + 2 * self._largest)

    def look_up(self, source: pa.NativeFile, max_bytes: int) -> None:
        """Find out how long the longest value in the dictionary is, if that is not too much."""
        for page in self._pages:
            within = page.decoded * _LOOKED_UP <= max_bytes
            if page.is_dictionary and not self._width and within:
                self._longest = longest_in(source, page, self._codec)


def _check_starts(known: pq.RowGroupMetaData, group: list[Chunk]) -> None:
    """See that pyarrow begins where the pages were looked for.

    They are parsed by two libraries. Of a struct that a hostile footer has twice, one keeps what
    only the first has: that is a dictionary's offset, since the other fields are in each.
    None of the columns is encrypted here, which pyarrow must not be asked about.

    Raises:
        UnreadableLayoutError: It does not.
    """
    if len(group) != known.num_columns:
        raise UnreadableLayoutError("a row group has more or fewer columns than the schema")
    for index, chunk in enumerate(group):
        column = known.column(index)
        first, dictionary = column.data_page_offset, column.dictionary_page_offset or 0
        if chunk.start != (dictionary if 0 < dictionary < first else first):
            raise UnreadableLayoutError("a column chunk has two starts")


def _with_pages(
    file: pq.ParquetFile,
    group: list[Chunk],
    source: pa.NativeFile,
    left: int,
    on_page: Callable[[], None],
) -> list[_Pages]:
    """Follow the page headers of one row group.

    Raises:
        UnreadableLayoutError: They cannot be followed, or are more than ``left``.
    """
    chunks = []
    for index, chunk in enumerate(group):
        column = file.schema.column(index)
        left -= 1
        pages: list[Page] = []
        for page in islice(pages_of(source, chunk), max(0, left)):
            if len(pages) % _PAGES_A_LOOK == 0:
                on_page()
            pages.append(page)
        left -= len(pages)
        if left <= 0:
            raise UnreadableLayoutError("too many pages")
        kind = column.physical_type
        width = column.length if kind == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(kind, 0)
        is_nested = column.max_repetition_level > 0
        chunks.append(_Pages(pages, chunk.codec, width, is_nested=is_nested))
    return chunks


def _fitting(chunks: list[_Pages], rows: int, max_bytes: int, source: pa.NativeFile) -> int:
    """Lower the number of rows until a row group fits; 0 when not even one row does."""
    if _bytes_of(chunks, rows) > max_bytes:
        for chunk in chunks:
            chunk.look_up(source, max_bytes)
    return _fewer(partial(_bytes_of, chunks), rows, max_bytes)


def _fewer(bytes_of: Callable[[int], int], rows: int, max_bytes: int) -> int:
    while rows and bytes_of(rows) > max_bytes:
        rows //= _FEWER
    return rows


def _bytes_of(chunks: Iterable[_Pages], rows: int) -> int:
    return sum(chunk.bytes_of(rows) for chunk in chunks)


def _rows_bytes_of(chunks: Iterable[_Pages], rows: int) -> int:
    return sum(chunk.rows_bytes(rows) for chunk in chunks)


def _bytes_by_field(schema: pa.Schema, chunks: list[_Pages], rows: int) -> list[int]:
    return [_bytes_of(chunks[each.start : each.stop], rows) for each in _leaves(schema)]


def _parts(schema: pa.Schema, needed: list[int], max_bytes: int) -> tuple[range, ...]:
    """Divide the leaf columns, so that each part stays within the bound; nothing if none do."""
    parts: list[range] = []
    taken = max_bytes
    for leaves, size in zip(_leaves(schema), needed, strict=True):
        if size > max_bytes:
            return ()
        if taken + size > max_bytes:
            parts.append(leaves)
            taken = size
        else:
            parts[-1] = range(parts[-1].start, leaves.stop)
            taken += size
    return tuple(parts) if len(parts) <= MOST_PARTS else ()


def _leaves(schema: pa.Schema) -> list[range]:
    """Give the leaf columns of each field, which Parquet numbers in order."""
    ends = list(accumulate((_count_leaves(field.type) for field in schema), initial=0))
    return [range(start, stop) for start, stop in pairwise(ends)]


def _count_leaves(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _count_leaves(kind.storage_type)
    if not pa.types.is_nested(kind):
        return 1
    return sum(_count_leaves(kind.field(index).type) for index in range(kind.num_fields))


def _is_cast_in_python(kind: pa.DataType) -> bool:
    """Tell whether a type, or one within it, is made canonical by way of Python's objects."""
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return True
    if isinstance(kind, pa.DictionaryType):
        return _is_cast_in_python(kind.value_type)
    return any(_is_cast_in_python(kind.field(i).type) for i in range(kind.num_fields))
