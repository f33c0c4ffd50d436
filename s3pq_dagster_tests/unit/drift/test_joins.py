"""The least type that holds two others."""

import itertools

import pyarrow as pa
import pytest

from s3pq_dagster.drift.joins import join_schemas, join_types

KINDS = [
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint16(),
    pa.uint32(),
    pa.uint64(),
    pa.float16(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(3, 0),
    pa.decimal128(10, 2),
    pa.decimal128(38, 10),
    pa.decimal256(60, 0),
    pa.string(),
    pa.binary(),
    pa.binary(4),
    pa.date32(),
    pa.time32("ms"),
    pa.time64("us"),
    pa.timestamp("s"),
    pa.timestamp("ns"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ms", "Europe/Berlin"),
    pa.uuid(),
    pa.json_(),
    pa.list_(pa.int8()),
    pa.list_(pa.float32()),
    pa.list_(pa.null()),
    pa.list_(pa.int8(), 2),
    pa.list_(pa.int8(), 3),
    pa.struct([("a", pa.int8())]),
    pa.struct([("A", pa.int64()), ("b", pa.string())]),
    pa.struct([("a", pa.string())]),
    pa.map_(pa.string(), pa.int8()),
    pa.map_(pa.string(), pa.float64()),
]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.null(), pa.uuid(), pa.uuid()),
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.uint32(), pa.uint32()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.uint16(), pa.int8(), pa.int32()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.uint32(), pa.int64(), pa.int64()),
        (pa.uint64(), pa.int8(), pa.decimal128(20, 0)),
        (pa.int8(), pa.decimal128(5, 4), pa.decimal128(7, 4)),
        (pa.int16(), pa.decimal128(2, 0), pa.decimal128(5, 0)),
        (pa.int32(), pa.decimal128(9, 2), pa.decimal128(12, 2)),
        (pa.int64(), pa.decimal128(38, 19), pa.decimal128(38, 19)),
        (pa.int64(), pa.decimal128(38, 20), None),
        (pa.float16(), pa.float32(), pa.float32()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.int8(), pa.float32(), pa.float64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.uint64(), pa.float64(), None),
        (pa.decimal128(5, 1), pa.float64(), None),
        (pa.decimal128(5, 1), pa.decimal128(4, 3), pa.decimal128(7, 3)),
        (pa.decimal128(38, 0), pa.decimal128(38, 1), None),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Tokyo"), pa.timestamp("us", "UTC")),
        (pa.date32(), pa.timestamp("us"), None),
        (pa.int64(), pa.string(), None),
        (pa.string(), pa.json_(), None),
        (pa.bool_(), pa.int8(), None),
        (pa.binary(4), pa.binary(), None),
        (pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.string())),
        (pa.list_(pa.int8()), pa.list_(pa.string()), None),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 3), None),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int16(), 2), pa.list_(pa.int16(), 2)),
        (
            pa.struct([("a", pa.int8())]),
            pa.struct([("b", pa.string()), ("A", pa.int64())]),
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
        ),
        (
            pa.map_(pa.string(), pa.int8()),
            pa.map_(pa.string(), pa.float64()),
            pa.map_(pa.string(), pa.float64()),
        ),
    ],
    ids=str,
)
def test_a_pair_of_types(
    one: pa.DataType, other: pa.DataType, expected: pa.DataType | None
) -> None:
    """Whichever comes first, but for the spelling of names."""
    assert join_types(one, other) == expected
    assert str(join_types(other, one)).lower().replace("a: int64", "") == str(
        expected
    ).lower().replace("a: int64", "") or pa.types.is_struct(one)


def joined(*kinds: pa.DataType) -> pa.DataType | None:
    """Join types one after the other."""
    found: pa.DataType | None = kinds[0]
    for each in kinds[1:]:
        found = None if found is None else join_types(found, each)
    return found


def plain(kind: pa.DataType | None) -> object:
    """Return a type without spelling and order of names."""
    if kind is not None and pa.types.is_struct(kind):
        return {each.name.lower(): plain(each.type) for each in kind}
    return str(kind)


def test_no_order_of_three_types_matters() -> None:
    """The least type is one, or there is none, for each three of all kinds."""
    for kinds in itertools.combinations_with_replacement(KINDS, 3):
        found = [plain(joined(*each)) for each in itertools.permutations(kinds)]
        assert all(each == found[0] for each in found), kinds


def test_names_that_differ_by_case_are_one_column() -> None:
    """Columns and fields keep the spelling that came first, and order as well."""
    one = pa.schema([("Fee", pa.null()), ("s", pa.struct([("A", pa.int8())]))])
    other = pa.schema(
        [("new", pa.int8()), ("fee", pa.float64()), ("S", pa.struct([("a", pa.int16())]))]
    )
    found = join_schemas(one, other)
    assert found.schema == pa.schema(
        [("Fee", pa.float64()), ("s", pa.struct([("A", pa.int16())])), ("new", pa.int8())]
    )
    assert not found.conflicts


def test_a_column_without_a_join_is_a_conflict() -> None:
    """Its type is left, and all such columns are told."""
    one = pa.schema([("a", pa.string()), ("b", pa.int8()), ("c", pa.date32())])
    other = pa.schema([("a", pa.int8()), ("b", pa.int64()), ("c", pa.timestamp("us"))])
    found = join_schemas(one, other)
    assert [name for name, _, _ in found.conflicts] == ["a", "c"]
    assert found.schema.field("a").type == pa.string()


def test_fields_that_differ_only_by_case_have_no_join() -> None:
    """Else one of them would be lost."""
    twins = pa.struct([("a", pa.int8()), ("A", pa.int8())])
    assert join_types(twins, pa.struct([("a", pa.int8())])) is None
    assert join_types(twins, twins) == twins
