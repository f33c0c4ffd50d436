"""A bound on the memory that decoding one column chunk takes, by its page headers."""

import pyarrow as pa

from s3pq_dagster.decoding.dictionary_page import longest_value
from s3pq_dagster.decoding.page_headers import (
    BIT_PACKED,
    BYTE_STREAM_SPLIT,
    DELTA_BINARY_PACKED,
    DICTIONARY,
    PLAIN,
    RLE,
    Page,
    UnreadableLayoutError,
)

_PER_VALUE = 48
"""Bytes for each value beside the physical one: the widest Arrow value, levels, offsets and a
validity bit."""
_POINTER = 16
"""Bytes that pyarrow's decoder keeps for each value of a dictionary: pointer and length."""
_LOOKED_UP = 6
"""Memory for measuring a dictionary, as a multiple of its bytes: its page, its values, their room
in buffers that grow."""
_GROWTH = 2
"""Capacity of a buffer that grows as it is filled, as a multiple of its content: Arrow's
``BufferBuilder`` doubles its capacity."""
_SIZE_IN_HEADER = {
    PLAIN, RLE, BIT_PACKED, DELTA_BINARY_PACKED, BYTE_STREAM_SPLIT, *DICTIONARY,
}  # fmt: skip
"""Encodings whose decoded size follows from the page header. The two delta encodings of byte arrays
are left out: they have counts within the page, and prefixes that repeat."""


class ColumnPages:
    """The pages of one column in one row group."""

    def __init__(
        self, pages: list[Page], codec: int, width: int, *, is_nested: bool, times: int = 1
    ) -> None:
        """Add up the headers in one pass: an object has dozens of pages, a table many objects.

        Args:
            pages: The page headers.
            codec: The compression codec's number in parquet.thrift.
            width: Bytes of a physical value; 0 if values vary in length.
            is_nested: Whether a row may have any number of values.
            times: How many decoders read the column side by side.
        """
        self._pages, self._codec, self._width, self._is_nested = pages, codec, width, is_nested
        self._times = times
        self._longest = 0
        """Most bytes of a value in the dictionary; lowered by :meth:`measure_dictionary`."""
        self._held = self._values = self._looked_up = 0
        self._plain_bytes = self._largest = 0
        self._densest = 0.0
        page_bytes = 0
        for page in pages:
            page_bytes = max(page_bytes, page.stored + page.decoded)
            if page.encoding not in _SIZE_IN_HEADER:
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
        self._held += page_bytes  # one page at a time, stored and decoded, beside the dictionary

    def _add_dictionary(self, page: Page) -> None:
        if page.values * (self._width or 4) > page.decoded:
            raise UnreadableLayoutError("a dictionary of more values than it has room for")
        if not self._width:
            self._longest = page.decoded
        self._held += 2 * page.decoded + _POINTER * page.values

    @property
    def count(self) -> int:
        """The number of pages."""
        return len(self._pages)

    def bytes_of(self, rows: int) -> int:
        """Return a bound on the memory for decoding so many consecutive rows."""
        return self._times * self._held + self.rows_bytes(rows)

    def rows_bytes(self, rows: int) -> int:
        """Return a bound on the memory of so many decoded rows, pages and dictionary excluded."""
        values = self._values if self._is_nested else rows
        content = min(values, self._looked_up) * self._longest
        if not self._width:
            content += self._text_bytes(rows)
        return self._times * (_GROWTH * content + values * (2 * self._width + _PER_VALUE))

    def _text_bytes(self, rows: int) -> int:
        """Return a bound on the variable-length bytes in so many consecutive rows."""
        if self._is_nested:
            return self._plain_bytes
        # Pages within the rows count by their bytes a value; the two at the ends, of which the rows
        # may take the longest values only, count whole.
        return min(self._plain_bytes, int(rows * self._densest) + 2 * self._largest)

    def measure_dictionary(self, source: pa.NativeFile, max_bytes: int) -> None:
        """Measure the longest value in the dictionary, if that itself stays within the bound."""
        for page in self._pages:
            within = page.decoded * _LOOKED_UP <= max_bytes
            if page.is_dictionary and not self._width and within:
                self._longest = longest_value(source, page, self._codec)
