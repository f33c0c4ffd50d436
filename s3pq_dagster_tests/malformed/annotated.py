"""Small Parquet files with any annotation of columns, also those that pyarrow cannot write."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from s3pq_dagster_tests.malformed.crafted import (
    BINARY,
    BYTE_ARRAY,
    FIXED,
    I32,
    I64,
    LIST,
    OPTIONAL,
    PLAIN,
    REQUIRED,
    RLE,
    STRUCT,
    UNCOMPRESSED,
    Fields,
    elements,
    file_of,
    page,
    run,
    struct,
    varint,
    zigzag,
)

INT96 = 3
"""The physical type by its number in parquet.thrift."""
I8, TRUE, FALSE = 3, 1, 2
"""Further types of Thrift's compact protocol."""
MILLIS, MICROS, NANOS = 1, 2, 3
"""Units of times by their field in ``TimeUnit`` of parquet.thrift."""


def logical(number: int, fields: Fields = ()) -> Fields:
    """Annotate with a logical type, by its field in ``LogicalType`` of parquet.thrift."""
    return [(10, STRUCT, struct([(number, STRUCT, struct(fields))]))]


def timed(number: int, unit: int, *, utc: bool) -> Fields:
    """Annotate with TIME (7) or TIMESTAMP (8)."""
    in_unit = struct([(unit, STRUCT, struct([]))])
    return logical(number, [(1, TRUE if utc else FALSE, b""), (2, STRUCT, in_unit)])


STRING, ENUM, UNKNOWN, JSON, BSON = (logical(number) for number in (1, 4, 11, 12, 13))
OLD_ENUM: Fields = [(6, I32, 4)]
"""ENUM as a converted type, as writers before 2018 wrote it."""
VARIANT = logical(16, [(1, I8, b"\x01")])
GEOMETRY, GEOGRAPHY = logical(17), logical(18)


def decimal(scale: int, precision: int) -> Fields:
    """Annotate with DECIMAL."""
    inner: Fields = [(1, I32, scale), (2, I32, precision)]
    return [(7, I32, scale), (8, I32, precision), *logical(5, inner)]


def integer(bits: int, *, signed: bool) -> Fields:
    """Annotate with INT."""
    return logical(10, [(1, I8, bytes([bits])), (2, TRUE if signed else FALSE, b"")])


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column, or one within groups; ``values`` are as PLAIN has them, lengths left out."""

    name: str
    kind: int
    values: Sequence[bytes | None]
    annotation: Fields = ()
    width: int | None = None

    @property
    def is_optional(self) -> bool:
        """Whether a value is null."""
        return None in self.values

    def chunk(self, path: Sequence[str], offset: int) -> bytes:
        """Return the column chunk's metadata."""
        names = b"".join(varint(len(name.encode())) + name.encode() for name in path)
        size = len(self.page())
        inner: Fields = [
            (1, I32, self.kind),
            (2, LIST, elements(I32, 2, zigzag(PLAIN) + zigzag(RLE))),
            (3, LIST, elements(BINARY, len(path), names)),
            (4, I32, UNCOMPRESSED),
            (5, I64, len(self.values)),
            (6, I64, size),
            (7, I64, size),
            (9, I64, offset),
        ]
        return struct([(2, I64, 0), (3, STRUCT, struct(inner))])

    def page(self) -> bytes:
        """Return the only page."""
        is_text = self.kind == BYTE_ARRAY
        there = [value for value in self.values if value is not None]
        body = [(len(v).to_bytes(4, "little") if is_text else b"") + v for v in there]
        if self.is_optional:
            levels = b"".join(run(1, value is not None, 1) for value in self.values)
            body = [len(levels).to_bytes(4, "little"), levels, *body]
        return page(b"".join(body), len(self.values))

    def elements(self) -> Iterator[bytes]:
        """Yield the schema's elements."""
        head: Fields = [(1, I32, self.kind)]
        width: Fields = [(2, I32, self.width)] if self.kind == FIXED else []
        repetition = OPTIONAL if self.is_optional else REQUIRED
        named: Fields = [(3, I32, repetition), (4, BINARY, self.name.encode())]
        yield struct([*head, *width, *named, *self.annotation])

    def leaves(self, path: Sequence[str] = ()) -> "Iterator[tuple[Leaf, Sequence[str]]]":
        """Yield this leaf and its path."""
        yield self, [*path, self.name]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of columns."""

    name: str
    columns: "Sequence[Leaf | Group]" = field(default=())
    annotation: Fields = ()

    def elements(self) -> Iterator[bytes]:
        """Yield the schema's elements, this group's first."""
        named: Fields = [(3, I32, REQUIRED), (4, BINARY, self.name.encode())]
        yield struct([*named, (5, I32, len(self.columns)), *self.annotation])
        for column in self.columns:
            yield from column.elements()

    def leaves(self, path: Sequence[str] = ()) -> Iterator[tuple[Leaf, Sequence[str]]]:
        """Yield all leaves below it with their paths."""
        for column in self.columns:
            yield from column.leaves([*path, self.name])


def annotated(*columns: Leaf | Group, rows: int = 1) -> bytes:
    """Build a file of one row group."""
    pages, chunks = b"", []
    for leaf, path in (each for column in columns for each in column.leaves()):
        chunks.append(leaf.chunk(path, 4 + len(pages)))
        pages += leaf.page()
    schema = [struct([(4, BINARY, b"root"), (5, I32, len(columns))])]
    schema += [element for column in columns for element in column.elements()]
    columns_ = elements(STRUCT, len(chunks), b"".join(chunks))
    group = struct([(1, LIST, columns_), (2, I64, len(pages)), (3, I64, rows)])
    footer: Fields = [
        (1, I32, 1),
        (2, LIST, elements(STRUCT, len(schema), b"".join(schema))),
        (3, I64, rows),
        (4, LIST, elements(STRUCT, 1, group)),
    ]
    return file_of(pages, struct(footer))
