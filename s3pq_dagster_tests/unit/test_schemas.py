"""Comparison of Arrow schemas, whichever program wrote the Parquet."""

import io
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s3pq_dagster import schemas

TEXT, LARGE = pa.string(), pa.large_string()
JSON = pa.json_(TEXT)
ID = uuid.UUID(int=7)


def dictionary(values: pa.DataType) -> pa.DataType:
    """Return the dictionary type of a column of strings."""
    return pa.dictionary(pa.int32(), values)


ALIKE: list[tuple[pa.DataType, pa.DataType, list[Any]]] = [
    (LARGE, TEXT, ["a", None, ""]),
    (pa.string_view(), TEXT, ["a", None, "longer than twelve bytes"]),
    (dictionary(TEXT), TEXT, ["a", None, "a"]),
    (dictionary(LARGE), TEXT, ["a", None, "a"]),
    (dictionary(pa.int64()), pa.int64(), [1, None, 1]),
    (pa.large_binary(), pa.binary(), [b"a", None]),
    (pa.binary_view(), pa.binary(), [b"\x00", None]),
    (pa.large_list(LARGE), pa.list_(TEXT), [["a", None], None, []]),
    (pa.list_view(TEXT), pa.list_(TEXT), [["a", None], None, []]),
    (pa.large_list_view(TEXT), pa.list_(TEXT), [["a", None], None, []]),
    (pa.list_(pa.field("element", TEXT, nullable=False)), pa.list_(TEXT), [["a"], []]),
    (pa.list_(dictionary(TEXT)), pa.list_(TEXT), [["a", "a"], None]),
    (pa.list_(LARGE, 2), pa.list_(TEXT, 2), [["a", "b"], None]),
    (
        pa.struct([pa.field("x", LARGE, nullable=False)]),
        pa.struct([("x", TEXT)]),
        [{"x": "a"}, {"x": "b"}],
    ),
    (
        pa.struct([("x", pa.large_list(pa.struct([("y", dictionary(LARGE))])))]),
        pa.struct([("x", pa.list_(pa.struct([("y", TEXT)])))]),
        [{"x": [{"y": "a"}]}, None],
    ),
    (pa.map_(LARGE, LARGE), pa.map_(TEXT, TEXT), [[("k", "v")], None]),
    (pa.json_(LARGE), JSON, ['{"a": 1}', None]),
    (pa.list_(pa.json_(LARGE)), pa.list_(JSON), [["1", None], None, []]),
    (pa.struct([("x", pa.uuid())]), pa.struct([("x", pa.uuid())]), [{"x": ID}, {"x": None}, None]),
    (pa.list_(pa.uuid(), 2), pa.list_(pa.uuid(), 2), [[ID, None]]),
    (pa.large_list(pa.uuid()), pa.list_(pa.uuid()), [[ID, None], None, []]),
    (pa.list_view(pa.uuid()), pa.list_(pa.uuid()), [[ID, None], None, []]),
    (pa.map_(pa.uuid(), pa.json_(LARGE)), pa.map_(pa.uuid(), JSON), [[(ID, "1")], None, []]),
    (pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("ns", "Europe/Berlin"), [1, None]),
    (pa.decimal128(38, 10), pa.decimal128(38, 10), [None]),
]


def from_parquet(kind: pa.DataType, rows: list[Any]) -> pa.RecordBatch:
    """Write a column to Parquet and read it back with the writer's hints."""
    buffer = io.BytesIO()
    # pyarrow makes no array of extension types within lists: it gets its type afterwards.
    stored = pa.array(_stored(rows), schemas.storage_type(kind))
    pq.write_table(pa.table({"c": schemas.retyped(stored, kind)}), buffer)
    (batch,) = pq.ParquetFile(pa.BufferReader(buffer.getvalue())).iter_batches()
    return batch


def _stored(value: Any) -> Any:
    """Replace UUIDs by their bytes, at any depth."""
    if isinstance(value, list | tuple):
        return type(value)(map(_stored, value))
    if isinstance(value, dict):
        return {name: _stored(each) for name, each in value.items()}
    return value.bytes if isinstance(value, uuid.UUID) else value


@pytest.mark.parametrize(("kind", "plain", "rows"), ALIKE, ids=lambda v: str(v)[:40])
def test_what_parquet_stores_alike_is_one_type(
    kind: pa.DataType, plain: pa.DataType, rows: list[Any]
) -> None:
    """The hints of different writers give one canonical schema."""
    schema = schemas.canonical(
        pa.schema([pa.field("c", kind, nullable=False, metadata={"a": "b"})])
    )
    assert schema == pa.schema([("c", plain)])
    assert not schema.field("c").metadata
    assert schemas.canonical(schema) == schema


@pytest.mark.parametrize(("kind", "plain", "rows"), ALIKE, ids=lambda v: str(v)[:40])
def test_casting_to_the_one_type_changes_no_value(
    kind: pa.DataType, plain: pa.DataType, rows: list[Any]
) -> None:
    """A conformed batch keeps its values and is valid."""
    batch = from_parquet(kind, rows)
    made = schemas.conform(batch, schemas.canonical(batch.schema))
    made.validate(full=True)
    assert made.schema.field("c").type == plain
    assert made.column("c").to_pylist() == batch.column("c").to_pylist()


def test_the_order_of_columns_is_no_difference() -> None:
    """The order of columns is no difference."""
    one = pa.schema([("a", TEXT), ("b", pa.int64())])
    other = pa.schema([("b", pa.int64()), ("a", TEXT)])
    assert schemas.differences(one, other) == []


def test_conforming_puts_columns_in_the_wanted_order() -> None:
    """A conformed batch has the order, types and metadata of the schema."""
    batch = pa.record_batch({"b": pa.array([1]), "a": pa.array(["x"], LARGE)})
    schema = pa.schema([("a", TEXT), ("b", pa.int64())], metadata={"cq:table_name": "t"})
    made = schemas.conform(batch, schema)
    assert made.schema.equals(schema, check_metadata=True)
    assert made.to_pylist() == [{"a": "x", "b": 1}]


@pytest.mark.parametrize(
    ("found", "phrases"),
    [
        (pa.schema([("a", TEXT)]), ["column 'b' (int64) is not in the object"]),
        (
            pa.schema([("a", TEXT), ("b", pa.int64()), ("c", pa.bool_())]),
            ["column 'c' (bool) is not in the table"],
        ),
        (
            pa.schema([("a", TEXT), ("b", pa.int32())]),
            ["column 'b': expected int64, found int32"],
        ),
        (
            pa.schema([("A", TEXT), ("b", pa.float64())]),
            [
                "column 'a' (string) is not in the object",
                "column 'b': expected int64, found double",
                "column 'A' (string) is not in the table",
            ],
        ),
    ],
)
def test_every_difference_is_named(found: pa.Schema, phrases: list[str]) -> None:
    """Each column that differs is named with both types."""
    assert schemas.differences(pa.schema([("a", TEXT), ("b", pa.int64())]), found) == phrases


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.timestamp("us"), pa.timestamp("ms")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.decimal128(10, 2), pa.decimal128(10, 3)),
        (pa.int64(), pa.uint64()),
        (pa.list_(TEXT), pa.list_(TEXT, 2)),
        (pa.struct([("x", TEXT)]), pa.struct([("y", TEXT)])),
        (pa.map_(TEXT, TEXT), pa.map_(TEXT, pa.int8())),
        (TEXT, pa.binary()),
        (pa.binary(16), pa.uuid()),
    ],
    ids=str,
)
def test_types_that_differ_in_value_differ(one: pa.DataType, other: pa.DataType) -> None:
    """Units, zones, scales and names of nested fields are part of a type."""
    phrases = schemas.differences(
        schemas.canonical(pa.schema([("c", one)])), schemas.canonical(pa.schema([("c", other)]))
    )
    assert phrases == [f"column 'c': expected {one}, found {other}"]


def test_a_difference_is_one_line_whatever_fields_are_named() -> None:
    """Control characters in the names of nested fields are escaped in a message."""
    hostile = pa.struct([("a\nb\x1b[2J\u202e", pa.int8())])
    (phrase,) = schemas.differences(pa.schema([("c", pa.int8())]), pa.schema([("c", hostile)]))
    assert phrase == r"column 'c': expected int8, found struct<a\nb\x1b[2J\u202e: int8>"


def test_a_schema_comes_back_from_its_bytes() -> None:
    """A schema survives serialization, extension types included."""
    schema = pa.schema([("id", pa.uuid()), ("at", pa.timestamp("ns", "UTC")), ("", pa.null())])
    assert schemas.from_bytes(schemas.to_bytes(schema)) == schema


def test_duplicate_names_are_listed_once() -> None:
    """A name that occurs three times is listed once."""
    schema = pa.schema([(name, TEXT) for name in "babcaa"])
    assert schemas.duplicates(schema.names) == ["a", "b"]


class Temperature(pa.ExtensionType):  # type: ignore[misc]  # pyarrow's classes are untyped
    """A user's extension type without a hash."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "temperature")

    def __arrow_ext_serialize__(self) -> bytes:
        """Serialize nothing, since the type has no parameters."""
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage: pa.DataType, _data: bytes) -> "Temperature":
        """Make the type."""
        return cls()


def test_an_extension_type_that_parquet_does_not_know_is_what_it_is_stored_as() -> None:
    """Whether it is registered depends on the process. A registered one may have no hash."""
    assert schemas.canonical_type(Temperature()) == pa.float64()
    assert schemas.canonical_type(pa.large_list(Temperature())) == pa.list_(pa.float64())
    assert schemas.canonical_type(pa.bool8()) == pa.int8()
    column = pa.ExtensionArray.from_storage(Temperature(), pa.array([1.5, None]))
    assert schemas.conform_column(column, pa.float64()).to_pylist() == [1.5, None]


def test_an_unhashable_type_within_a_dictionary_or_list_has_a_canonical_type() -> None:
    """The cache of canonical types is passed by."""
    assert schemas.canonical_type(pa.list_view(Temperature())) == pa.list_(pa.float64())


def test_what_is_remembered_of_a_schema_is_for_equal_schemas_only() -> None:
    """Asked once for equal ones; order, types and nullability make another; few are kept."""
    asked: list[pa.Schema] = []

    @schemas.remembered
    def names(schema: pa.Schema) -> list[str]:
        asked.append(schema)
        return list(schema.names)

    one = [pa.field("a", pa.int64()), pa.field("b", TEXT)]
    others = [
        one[::-1],
        [one[0], pa.field("b", LARGE)],
        [one[0].with_nullable(nullable=False), one[1]],
    ]
    for fields in [one, one, *others, one]:
        assert names(pa.schema(fields)) == [field.name for field in fields]
    assert len(asked) == 4
    for number in range(9):
        names(pa.schema([(str(number), TEXT)]))
    assert names(pa.schema(one)) == ["a", "b"]
    assert len(asked) == 4 + 9 + 1
