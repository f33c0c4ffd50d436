"""No value is changed to fit the annotation of its column: it is kept, or refused by name."""

import datetime as dt
import uuid
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.column_groups import decode_column_groups
from s3pq_dagster.decoding.parquet_file import MAGIC, OpenedFile, decode, open_file
from s3pq_dagster.decoding.thrift_structs import SchemaElement
from s3pq_dagster_tests.buckets import parquet
from s3pq_dagster_tests.malformed.annotated import (
    INT96,
    MICROS,
    UNKNOWN,
    Leaf,
    annotated,
    decimal,
    integer,
    timed,
)
from s3pq_dagster_tests.malformed.crafted import (
    BYTE_ARRAY,
    FIXED,
    I32,
    INT32,
    INT64,
    LIST,
    STRUCT,
    elements,
    zigzag,
)

NARROW = [pa.int8(), pa.int16(), pa.uint8(), pa.uint16()]
MARK = 77
"""A value that fits each of them and is nowhere else in a file."""
WITHIN: dict[str, Any] = {
    "top": lambda kind: (kind, MARK),
    "list": lambda kind: (pa.list_(kind), [None, MARK]),
    "struct": lambda kind: (pa.struct([("x", pa.string()), ("y", kind)]), {"x": "a", "y": MARK}),
    "map key": lambda kind: (pa.map_(kind, pa.string()), [(MARK, "a")]),
    "map value": lambda kind: (pa.map_(pa.string(), kind), [("a", MARK)]),
    "deep": lambda kind: (
        pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.list_(kind)))])),
        [{"m": [("a", [MARK])]}],
    ),
    "beside a UUID": lambda kind: (
        pa.struct([("u", pa.uuid()), ("y", kind)]),
        {"u": uuid.UUID(int=7).bytes, "y": MARK},
    ),
}
"""A type, and a value, with an integer somewhere in it."""


def file_with(column: pa.Array, value: int, **options: Any) -> bytes:
    """Write a column ``c`` with the mark in it, and put another integer into its place."""
    table = pa.table({"a": ["a"] * len(column), "c": column, "z": [1.5] * len(column)})
    plain = {"compression": "none", "write_statistics": False, "use_dictionary": False}
    body = parquet(table, **(plain | options))
    mark = MARK.to_bytes(4, "little")
    assert body.count(mark) == 1
    return body.replace(mark, value.to_bytes(4, "little", signed=True))


def decoded(file: OpenedFile, rows: int = 10) -> pa.Table:
    """Decode a file; the batches have the schema that opening it promises."""
    table = pa.Table.from_batches(decode(file, rows), file.canonical_schema)
    table.validate(full=True)
    return table


def opened(body: bytes) -> OpenedFile:
    """Open a file's bytes."""
    return open_file(pa.BufferReader(body))


@pytest.mark.parametrize("depth", WITHIN)
@pytest.mark.parametrize("kind", NARROW, ids=str)
def test_an_integer_beyond_its_annotation_is_refused(kind: pa.DataType, depth: str) -> None:
    """At any depth, whether it is too large or negative; the error has column and value."""
    whole, value = WITHIN[depth](kind)
    column = schemas.conform_column(pa.array([value], schemas.storage_type(whole)), whole)
    kept = decoded(opened(file_with(column, MARK)))["c"]
    assert (kept.type, kept.to_pylist()) == (whole, column.to_pylist())
    for number in (70_000, -70_000):
        file = opened(file_with(column, number))
        with pytest.raises(RefusedValueError, match=rf"'c' is annotated as INT.*value {number}\."):
            decoded(file)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int8(), (-128, 127)),
        (pa.uint8(), (0, 255)),
        (pa.int16(), (-(2**15), 2**15 - 1)),
        (pa.uint16(), (0, 2**16 - 1)),
    ],
    ids=str,
)
def test_the_ends_of_the_range_are_kept(kind: pa.DataType, values: tuple[int, int]) -> None:
    """And the values beside them are refused."""
    column = pa.array([None, MARK, None], kind)
    for value in values:
        assert decoded(opened(file_with(column, value)))["c"].to_pylist() == [None, value, None]
    for value in (values[0] - 1, values[1] + 1):
        with pytest.raises(RefusedValueError, match=f"value {value}\\."):
            decoded(opened(file_with(column, value)))


def test_an_integer_in_a_dictionary_is_refused() -> None:
    """As a value in a page is."""
    column = pa.array([MARK, MARK, None] * 50, pa.int16())
    assert decoded(opened(file_with(column, 300, use_dictionary=True)))["c"][0].as_py() == 300
    with pytest.raises(RefusedValueError, match="value 70000"):
        decoded(opened(file_with(column, 70_000, use_dictionary=True)))


def test_an_integer_in_groups_of_columns_is_refused() -> None:
    """Columns that are decoded some at a time are held against their annotation alike."""
    column = pa.array([[MARK], None], pa.list_(pa.int8()))
    groups = [range(1), range(1, 2), range(2, 3)]
    found = pa.Table.from_batches(
        decode_column_groups(opened(file_with(column, 5)), 10, groups, 2**20)
    )
    assert found["c"].to_pylist() == [[5], None]
    with pytest.raises(RefusedValueError, match=r"'c'.*value 128"):
        list(decode_column_groups(opened(file_with(column, 128)), 10, groups, 2**20))


def test_int96_beside_narrow_integers_has_its_moment() -> None:
    """A struct of both, in the unit that the table has."""
    kind = pa.struct([("at", pa.timestamp("ns")), ("n", pa.int8()), ("none", pa.null())])
    table = pa.table({"c": pa.array([{"at": 1000, "n": 5, "none": None}, None], kind)})
    body = parquet(table, use_deprecated_int96_timestamps=True, store_schema=False)
    file = open_file(pa.BufferReader(body), table.schema)
    found = decoded(file)
    assert found.schema == table.schema
    assert found["c"].to_pylist() == table["c"].to_pylist()
    assert open_file(pa.BufferReader(body)).canonical_schema.field("c").type[0].type.unit == "us"


@pytest.mark.parametrize(
    "kind",
    [
        pa.null(),
        pa.list_(pa.null()),
        pa.list_(pa.null(), 2),
        pa.struct([("x", pa.null()), ("y", pa.int8())]),
        pa.map_(pa.string(), pa.null()),
    ],
    ids=str,
)
def test_columns_that_are_always_null_are_kept(kind: pa.DataType) -> None:
    """At any depth, some rows at a time."""
    values: dict[str, list[Any]] = {
        "list": [[], None, [None, None]],
        "fixed_size_list": [[None, None], None],
        "struct": [{"x": None, "y": 1}, None],
        "map": [[("a", None)], [], None],
    }
    rows = values.get(str(kind).partition("<")[0], [None]) * 5
    table = pa.table({"c": pa.array(rows, kind), "d": range(len(rows))})
    for size in (1, 4, 100):
        found = decoded(opened(parquet(table)), size)
        assert found["c"].type == schemas.canonical_type(kind)
        assert found["c"].to_pylist() == rows


UNKNOWNS = {
    "bytes": (Leaf("c", BYTE_ARRAY, [None, b"x"], UNKNOWN), "b'x'"),
    "long bytes": (Leaf("c", BYTE_ARRAY, [None, b"x" * 99], UNKNOWN), "…"),
    "number": (Leaf("c", INT32, [None, bytes(4)], UNKNOWN), "0"),
    "moment": (Leaf("c", INT96, [None, bytes(8) + b"\x80\x96\x98\x00"], UNKNOWN), "22666-"),
}


@pytest.mark.parametrize("name", UNKNOWNS)
def test_a_value_that_is_annotated_as_null_is_refused(name: str) -> None:
    """Whatever it is stored as; the error has column and value."""
    leaf, shown = UNKNOWNS[name]
    with pytest.raises(RefusedValueError, match=rf"'c' is annotated as UNKNOWN.*{shown}"):
        decoded(opened(annotated(leaf, rows=2)))


def test_the_annotations_of_other_columns_stay() -> None:
    """Whatever comes before and after the columns whose annotation is taken off."""
    body = annotated(
        Leaf("at", INT64, [bytes(8)], timed(8, MICROS, utc=True)),
        Leaf("narrow", INT32, [b"\x05\x00\x00\x00"], integer(8, signed=False)),
        Leaf("price", FIXED, [b"\x00\x01\x00"], decimal(2, 5), 3),
        Leaf("old", INT32, [b"\x06\x00\x00\x00"], [(6, I32, 16)]),
        Leaf("wide", INT32, [b"\xff\xff\xff\xff"], integer(32, signed=False)),
    )
    (row,) = decoded(opened(body)).to_pylist()
    assert row["at"] == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert (str(row["price"]), row["narrow"], row["old"], row["wide"]) == ("2.56", 5, 6, 2**32 - 1)


def test_a_footer_with_two_lists_of_columns_is_refused() -> None:
    """Pyarrow would take the second, of which the annotations were not taken off."""
    leaf = Leaf("c", INT32, [(300).to_bytes(4, "little")], integer(8, signed=True))
    body = annotated(leaf)
    length = int.from_bytes(body[-8:-4], "little")
    footer = body[-8 - length : -8]
    (_, start, _), (_, _, end) = SchemaElement.parse_list(footer, 2)
    again = bytes([LIST]) + zigzag(2) + elements(STRUCT, 2, footer[start:end])
    twice = footer[:end] + again + footer[end:]
    file = MAGIC + body[4 : -8 - length] + twice + len(twice).to_bytes(4, "little") + MAGIC
    with pytest.raises(RefusedValueError, match="two ways"):
        opened(file)
