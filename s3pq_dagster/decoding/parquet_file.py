"""How a Parquet file is opened and decoded with pyarrow, in the run and in the sandbox alike."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.decoding.annotations import AnnotatedColumns, find_annotated
from s3pq_dagster.decoding.checked_batch import checked
from s3pq_dagster.decoding.faulty_column import naming_the_column
from s3pq_dagster.decoding.int96 import UNIT, Int96Columns
from s3pq_dagster.decoding.logical_types import (
    TOO_MANY_DIGITS,
    EnumColumns,
    check_digits,
    find_unusual,
)
from s3pq_dagster.decoding.map_keys import OPTIONAL_KEYS, MapColumns, with_lists_for_maps
from s3pq_dagster.decoding.stored_types import WRONGLY_STORED, check_ignored, check_stored_types

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


def read_footer_bytes(source: pa.NativeFile) -> bytes:
    """Read the footer, which is a struct in Thrift's compact protocol."""
    length = footer_bytes(source)
    data: bytes = source.read_at(length, max(0, source.size() - END_BYTES - length))
    return data


def is_footer_within(footer_bytes: int, max_bytes: int) -> bool:
    """Return whether parsing a footer of this length stays within a bound, whatever it holds."""
    return footer_bytes * _PARSED_BYTES <= max_bytes


class OpenedFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow's classes are untyped
    """A Parquet file of which :func:`decode` changes no value, and reads ENUM as text.

    Its own schema and metadata have the types in which values are stored;
    :attr:`canonical_schema` has those of the rows.
    """

    def __init__(
        self,
        source: pa.NativeFile,
        wanted: pa.Schema | None = None,
        *,
        refuses: bool = True,
        **options: Any,
    ) -> None:
        """Open the file; see :func:`open_file`."""
        self.maps: MapColumns | None = None
        """The columns with maps whose keys are optional, if there are any."""
        footer = self._open(source, options)
        self.annotated: AnnotatedColumns | None = None
        """The columns of which pyarrow changes values to fit their annotation, if there are any."""
        if leaves := find_annotated(self.schema_arrow):
            self.annotated = AnnotatedColumns(self.schema_arrow, leaves)
            footer = self.annotated.footer_without(footer or read_footer_bytes(source))
            self._open_with_footer(footer, source, options)
            self.annotated.check_stored(self.schema_arrow)
        self.int96: Int96Columns | None = None
        """The columns with INT96 in them, if there are any."""
        self.enums: EnumColumns | None = None
        """The columns with ENUM in them, if there are any."""
        unusual = find_unusual(self)
        if unusual.ignored:
            check_ignored(footer or read_footer_bytes(source), unusual.ignored)

        def open_in(unit: str) -> pq.ParquetFile:
            known = options | {"metadata": self.metadata}
            return pq.ParquetFile(source, coerce_int96_timestamp_unit=unit, **known)

        if unusual.int96:
            self.int96 = Int96Columns(
                self, unusual.int96, open_in, self._with_annotations, wanted, refuses=refuses
            )
        if unusual.enum:
            self.enums = EnumColumns(self._with_exact_types(), unusual.enum, wanted)

    @functools.cached_property
    def schema_arrow(self) -> pa.Schema:
        """The schema as pyarrow reads it, made once: pyarrow makes it anew each time."""
        return super().schema_arrow

    @property
    def rows(self) -> int:
        """The number of rows that the footer states."""
        footer = self.metadata
        # parquet-rs 0.3 wrote a total of 0, whatever the row groups hold.
        if stated := int(footer.num_rows):
            return stated
        return sum(footer.row_group(group).num_rows for group in range(footer.num_row_groups))

    @property
    def canonical_schema(self) -> pa.Schema:
        """The canonical schema of the batches that :func:`decode` yields."""
        schema = self._with_exact_types()
        schema = schema if self.enums is None else self.enums.as_text_types(schema)
        return schema if self.maps is None else self.maps.as_map_types(schema)

    def _open(self, source: pa.NativeFile, options: dict[str, Any]) -> bytes | None:
        """Open the file, and return the footer by which it was opened unless that is its own."""
        try:
            super().__init__(source, coerce_int96_timestamp_unit=UNIT, **options)
        except pa.ArrowInvalid as error:
            if TOO_MANY_DIGITS in str(error):
                check_digits(read_footer_bytes(source))
            if OPTIONAL_KEYS not in str(error):
                raise
        except OSError as error:
            if any(words in str(error) for words in WRONGLY_STORED):
                check_stored_types(read_footer_bytes(source))
            raise
        else:
            return None
        footer, places = with_lists_for_maps(read_footer_bytes(source))
        self._open_with_footer(footer, source, options)
        self.maps = MapColumns(schemas.canonical(self.schema_arrow), places)
        return footer

    def _open_with_footer(
        self, footer: bytes, source: pa.NativeFile, options: dict[str, Any]
    ) -> None:
        self.__dict__.pop("schema_arrow", None)
        del self.reader  # frees the metadata: two of it would exceed the bound of footers
        alone = pa.BufferReader(MAGIC + footer + len(footer).to_bytes(4, "little") + MAGIC)
        known = options | {"metadata": pq.ParquetFile(alone, **options).metadata}
        super().__init__(source, coerce_int96_timestamp_unit=UNIT, **known)

    def _with_annotations(self, stored: pa.Schema) -> pa.Schema:
        return stored if self.annotated is None else self.annotated.annotated_types(stored)

    def _with_exact_types(self) -> pa.Schema:
        schema = self._with_annotations(schemas.canonical(self.schema_arrow))
        return schema if self.int96 is None else self.int96.exact_types(schema)


def open_file(
    source: pa.NativeFile, wanted: pa.Schema | None = None, *, refuses: bool = True
) -> OpenedFile:
    """Open a Parquet file with bounds on what opening it allocates.

    Each column is read through a buffer, smaller ones where there are many columns: at the full
    size, 2,000 columns would take 2 GB.

    Args:
        source: The file.
        wanted: The table's schema, if it is known: INT96 gets the unit, and ENUM the type, that a
            column has there.
        refuses: Whether a value that cannot be kept exactly is an error of :func:`decode`.

    Raises:
        RefusedValueError: A column cannot be read; it is named.
        Exception: Whatever pyarrow raises for a file that is not Parquet.
    """
    # pyarrow allocates as many list elements as a footer announces: 765 MB for one of 62 bytes.
    # Each element takes at least a byte, so a list longer than the footer is a lie.
    options = _OPTIONS | {"thrift_container_size_limit": max(1, footer_bytes(source))}
    opened = OpenedFile(source, wanted, refuses=refuses, **options)
    if isinstance(source, pa.BufferReader) or opened.metadata.num_columns <= _FEW_COLUMNS:
        return opened
    each = max(_LEAST_BUFFER, _BUFFERS_BYTES // opened.metadata.num_columns)
    return OpenedFile(source, wanted, refuses=refuses, **(options | {"buffer_size": each}))


def decode(file: OpenedFile, rows_at_a_time: int) -> Iterator[pa.RecordBatch]:
    """Decode the rows; every batch is validated and has canonical types.

    Raises:
        RefusedValueError: A value cannot be kept as it is in the file.
        Exception: Whatever pyarrow raises for a page that cannot be decoded.
    """
    # One row group at a time: a batch that spans two would need the bounds of both.
    for group in range(file.metadata.num_row_groups):
        yield from decode_group(file, group, rows_at_a_time)


def decode_group(
    file: OpenedFile, group: int, rows_at_a_time: int, leaves: range | None = None
) -> Iterator[pa.RecordBatch]:
    """Decode one row group, optionally only some leaf columns.

    Args:
        file: The opened file.
        group: Index of the row group.
        rows_at_a_time: Most rows in a batch.
        leaves: Indices of leaf columns as Parquet counts them; ``None`` decodes all columns.

    Raises:
        RefusedValueError: A value cannot be kept as it is in the file, or a page not be decoded.
        Exception: Whatever else pyarrow raises.
    """
    with naming_the_column(file, group, rows_at_a_time, leaves):
        yield from _decode_group(file, group, rows_at_a_time, leaves)


def _decode_group(
    file: OpenedFile, group: int, rows_at_a_time: int, leaves: range | None
) -> Iterator[pa.RecordBatch]:
    threads = file.metadata.row_group(group).total_byte_size > _ONE_THREAD_BYTES
    if leaves is None:
        batches = file.iter_batches(rows_at_a_time, row_groups=[group], use_threads=threads)
    else:  # by index: names may repeat or contain dots
        batches = file.reader.iter_batches(rows_at_a_time, [group], leaves, threads)
    int96 = None
    if file.int96 is not None:
        int96 = file.int96.row_group(group, rows_at_a_time, leaves, threads=threads)
    for batch in map(checked, batches):
        exact = batch if int96 is None else int96.exact(batch)
        text = exact if file.enums is None else file.enums.as_text(exact, leaves)
        known = text if file.annotated is None else file.annotated.annotated(text, leaves)
        yield known if file.maps is None else file.maps.as_maps(known, leaves)
