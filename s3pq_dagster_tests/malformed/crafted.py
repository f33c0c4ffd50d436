"""Parquet files written byte by byte, so that footer and page headers can hold anything."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
INT32, INT64, BYTE_ARRAY, FIXED = 1, 2, 6, 7
"""Physical types by their numbers in parquet.thrift."""
UNCOMPRESSED, SNAPPY, ZSTD = 0, 1, 6
PLAIN, RLE, DELTA_LENGTH, DELTA_BYTES, RLE_DICTIONARY = 0, 3, 6, 7, 8
REQUIRED, OPTIONAL, REPEATED = 0, 1, 2
MAGIC = b"PAR1"

Fields = Sequence[tuple[int, int, Any]]
"""Fields of a Thrift struct: number, type and value; structs and lists are already bytes."""


def varint(number: int) -> bytes:
    """Write an unsigned number as a varint, seven bits in each byte."""
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def zigzag(number: int) -> bytes:
    """Write a signed number as a zigzag varint."""
    return varint((number << 1) ^ (number >> 63))


def struct(fields: Fields) -> bytes:
    """Write a struct in Thrift's compact protocol."""
    out, last = b"", 0
    for number, kind, value in fields:
        step = number - last
        head = bytes([step << 4 | kind]) if step < 16 else bytes([kind]) + zigzag(number)
        out += head + _value(kind, value)
        last = number
    return out + b"\x00"


def elements(kind: int, count: int, body: bytes = b"") -> bytes:
    """Write a list that announces ``count`` elements, whatever ``body`` holds."""
    head = bytes([count << 4 | kind]) if count < 15 else bytes([0xF0 | kind]) + varint(count)
    return head + body


def _value(kind: int, value: Any) -> bytes:
    if kind in (I32, I64):
        return zigzag(value)
    if kind == BINARY:
        return varint(len(value)) + bytes(value)
    return bytes(value)


def run(length: int, value: int, width: int) -> bytes:
    """Write one run of a repeated value in the RLE encoding."""
    return varint(length << 1) + value.to_bytes((width + 7) // 8, "little")


def page(
    body: bytes,
    values: int,
    *,
    encoding: int = PLAIN,
    decoded: int | None = None,
    is_dictionary: bool = False,
) -> bytes:
    """Write a page with its header; ``decoded`` is the decompressed size in that header."""
    inner: list[tuple[int, int, Any]] = [(1, I32, values), (2, I32, encoding)]
    if not is_dictionary:
        inner += [(3, I32, RLE), (4, I32, RLE)]
    header = struct(
        [
            (1, I32, 2 if is_dictionary else 0),
            (2, I32, len(body) if decoded is None else decoded),
            (3, I32, len(body)),
            (7 if is_dictionary else 5, STRUCT, struct(inner)),
        ]
    )
    return header + body


@dataclass(frozen=True, slots=True)
class Chunk:
    """A file of one column chunk, and everything that its footer says."""

    pages: bytes
    rows: int
    kind: int = BYTE_ARRAY
    codec: int = UNCOMPRESSED
    values: int | None = None
    repetition: int = REQUIRED
    width: int | None = None
    dictionary: int | None = None
    """Size of the dictionary page, which comes first."""
    decoded: int | None = None
    offset: int = 4
    stored: int | None = None
    groups: int = 1
    """Number of row groups, which share the chunk."""
    file_rows: int | None = None
    above: Sequence[bytes] = field(default=())
    """Schema elements between the root and the column."""

    def __bytes__(self) -> bytes:
        return file_of(self.pages, self.footer())

    def footer(self) -> bytes:
        group = elements(STRUCT, 1, struct([(2, I64, 0), (3, STRUCT, self._metadata())]))
        row_group = struct([(1, LIST, group), (2, I64, self._decoded), (3, I64, self.rows)])
        leaf: list[tuple[int, int, Any]] = [(1, I32, self.kind)]
        leaf += [(2, I32, self.width)] if self.width is not None else []
        leaf += [(3, I32, self.repetition), (4, BINARY, b"c")]
        root = struct([(4, BINARY, b"root"), (5, I32, 1)])
        schema = [root, *self.above, struct(leaf)]
        rows = self.rows * self.groups if self.file_rows is None else self.file_rows
        return struct(
            [
                (1, I32, 1),
                (2, LIST, elements(STRUCT, len(schema), b"".join(schema))),
                (3, I64, rows),
                (4, LIST, elements(STRUCT, self.groups, row_group * self.groups)),
            ]
        )

    @property
    def _decoded(self) -> int:
        return len(self.pages) if self.decoded is None else self.decoded

    def _metadata(self) -> bytes:
        path = elements(BINARY, 1, varint(1) + b"c")
        data = self.offset + (self.dictionary or 0)
        fields: list[tuple[int, int, Any]] = [
            (1, I32, self.kind),
            (2, LIST, elements(I32, 2, zigzag(PLAIN) + zigzag(RLE))),
            (3, LIST, path),
            (4, I32, self.codec),
            (5, I64, self.rows if self.values is None else self.values),
            (6, I64, self._decoded),
            (7, I64, len(self.pages) if self.stored is None else self.stored),
            (9, I64, data),
        ]
        fields += [(11, I64, self.offset)] if self.dictionary is not None else []
        return struct(fields)


def file_of(pages: bytes, footer: bytes) -> bytes:
    """Build a file of pages and a footer."""
    return MAGIC + pages + footer + len(footer).to_bytes(4, "little") + MAGIC
