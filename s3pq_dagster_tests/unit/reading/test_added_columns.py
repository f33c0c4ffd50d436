"""The columns this package adds to a file's own."""

import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.errors import UnsupportedSchemaError
from s3pq_dagster.layout.key_columns import KeyColumn
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.added_columns import (
    RowSpan,
    add_columns,
    cq_ids,
    joined,
    schema_with_added_columns,
)
from s3pq_dagster.spec import MIB
from s3pq_dagster_tests.unit.made import meta

OWN = pa.schema([("id", pa.int64())])
ROWS = 1000
TEXT = pa.string()


def ids(found: ObjectMeta = meta("a/x.parquet"), bucket: str = "lake") -> list[uuid.UUID]:  # noqa: B008 - frozen
    """Make the ids of an object's first thousand rows."""
    return list(cq_ids([RowSpan(found, 0, ROWS)], bucket).to_pylist())


def test_ids_are_uuids_of_version_8() -> None:
    """RFC 9562: version 8 and the RFC's variant are in every id."""
    assert cq_ids([RowSpan(meta("a"), 0, ROWS)], "lake").type == pa.uuid()
    for made in ids():
        assert made.version == 8
        assert made.variant == uuid.RFC_4122


def test_ids_are_the_same_every_time() -> None:
    """A row has one id however often it is loaded, in this release and the next."""
    assert ids() == ids()
    assert str(ids()[0]) == "282b19e3-0194-8a83-8800-000000000000"


def test_ids_of_an_object_ascend() -> None:
    """Ascending ids cost a destination next to nothing."""
    made = ids()
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    ("found", "bucket"),
    [
        (meta("b/x.parquet"), "lake"),
        (meta("a/x.parquet", "v2"), "lake"),
        (meta("a/x.parquet"), "lake2"),
        (meta("ea/x.parquet"), "lak"),
        (meta("a/x.parquetv", "1"), "lake"),
        (meta("a/x.parquet", None), "lake"),
    ],
)
def test_ids_of_other_objects_differ(found: ObjectMeta, bucket: str) -> None:
    """Another bucket, key or version shares no id."""
    assert not set(ids()) & set(ids(found, bucket))


def test_a_row_number_is_part_of_its_id() -> None:
    """Batches of one object continue where the one before ended."""
    later = cq_ids([RowSpan(meta("a/x.parquet"), 500, 500)], "lake")
    assert list(later.to_pylist()) == ids()[500:]


def test_no_rows_have_no_ids() -> None:
    """An empty batch is no special case."""
    assert len(cq_ids([RowSpan(meta("a"), 0, 0)], "lake")) == 0


@pytest.mark.parametrize(
    ("add_cq_ids", "names"),
    [(True, ["id", "_cq_id", "_cq_parent_id", "_s3_key"]), (False, ["id", "_s3_key"])],
)
def test_our_columns_follow_the_files(names: list[str], *, add_cq_ids: bool) -> None:
    """Added columns come last; CloudQuery's can be left out, the key cannot."""
    assert schema_with_added_columns(OWN, "a", add_cq_ids=add_cq_ids).names == names


def test_our_columns_have_their_values() -> None:
    """Each row has its id, no parent, and the key it came from."""
    found = meta("a/x.parquet")
    schema = schema_with_added_columns(OWN, found.key, add_cq_ids=True)
    batch = add_columns(pa.record_batch({"id": [7, 8]}), [RowSpan(found, 3, 2)], "lake", schema)
    assert batch.schema == schema
    assert batch.to_pylist() == [
        {"id": 7, "_cq_id": ids()[3], "_cq_parent_id": None, "_s3_key": "a/x.parquet"},
        {"id": 8, "_cq_id": ids()[4], "_cq_parent_id": None, "_s3_key": "a/x.parquet"},
    ]


def test_rows_of_several_objects_have_the_ids_they_have_alone() -> None:
    """Joining with rows of other objects changes no row."""
    objects = [RowSpan(meta("a/x.parquet"), 0, 3), RowSpan(meta("a/empty"), 0, 0)]
    objects += [RowSpan(meta("a/y.parquet", None), 5, 2), RowSpan(meta("b/z.parquet"), 0, 1)]
    schema = schema_with_added_columns(OWN, "a", add_cq_ids=True)

    def filled(rows: list[RowSpan]) -> pa.Table:
        count = sum(some.count for some in rows)
        own = pa.record_batch({"id": pa.array([1] * count, pa.int64())})
        return pa.table(add_columns(own, rows, "lake", schema))

    alone = pa.concat_tables([filled([some]) for some in objects])
    assert filled(objects).equals(alone)
    assert filled(objects)["_s3_key"].to_pylist() == [
        *["a/x.parquet"] * 3,
        *["a/y.parquet"] * 2,
        "b/z.parquet",
    ]


def pieces(column: pa.Array, count: int) -> Iterator[tuple[pa.RecordBatch, RowSpan]]:
    """Yield the batches of so many objects that have one column."""
    for number in range(count):
        batch = pa.record_batch([column], names=["c"])
        yield batch, RowSpan(meta(f"a/{number}"), 0, len(column))


def test_rows_are_joined_by_their_number_too() -> None:
    """Nulls take no bytes, however many they are, until columns are added to the joined batch."""
    found = list(joined(pieces(pa.nulls(40), 6), 100))
    assert [batch.num_rows for batch, _ in found] == [80, 80, 80]
    assert [[some.object.key for some in rows] for _, rows in found] == [
        ["a/0", "a/1"],
        ["a/2", "a/3"],
        ["a/4", "a/5"],
    ]


def of_keys(*columns: tuple[str, pa.DataType, Any]) -> tuple[KeyColumn, ...]:
    """Return the columns of a key."""
    return tuple(KeyColumn(*column) for column in columns)


def test_columns_of_many_keys_are_made_together_as_alone() -> None:
    """Each row has its key's values, NULL too; keys of other columns are not joined with them."""
    day, null = ("day", pa.date32(), date(2024, 1, 2)), ("day", pa.date32(), None)
    keys = [of_keys(day, ("n", TEXT, "ä")), of_keys(null, ("n", TEXT, ""))]
    keys += [of_keys(("n", TEXT, "1"), day), of_keys(("day", TEXT, "2"), ("n", TEXT, "1"))]
    one = pa.record_batch({"id": pa.array([7, 7], pa.int64())})
    spans = [RowSpan(meta(f"a/{n}"), 0, 2, columns) for n, columns in enumerate(keys)]
    found = list(joined(((one, span) for span in spans), 100))
    assert [[some.object.key for some in rows] for _, rows in found] == [
        ["a/0", "a/1"],
        ["a/2"],
        ["a/3"],
    ]
    for batch, rows in found:
        columns = [(each.name, each.type) for each in rows[0].key_columns]
        schema = pa.schema([*OWN, *columns, ("_s3_key", TEXT)])
        assert add_columns(batch, rows, "lake", schema).to_pylist() == [
            {"id": 7}
            | {each.name: each.value for each in some.key_columns}
            | {"_s3_key": some.object.key}
            for some in rows
            for _ in range(2)
        ]


def test_rows_are_joined_by_the_bytes_of_their_keys_columns_too() -> None:
    """They are made after rows are joined, and count beforehand: no batch becomes too large."""
    column = of_keys(("text", TEXT, "x" * 1000))
    some = ((one, RowSpan(meta("a"), 0, 500, column)) for one, _ in pieces(pa.nulls(500), 8))
    assert [batch.num_rows for batch, _ in joined(some, 65_536)] == [2000, 2000]


@pytest.mark.parametrize("column", [pa.array([b"x" * 3 * MIB]), pa.nulls(100)])
def test_a_batch_that_is_not_small_is_handed_on_as_it_is(column: pa.Array) -> None:
    """Before the next one is decoded, and without a copy."""
    taken: list[pa.RecordBatch] = []

    def watched() -> Iterator[tuple[pa.RecordBatch, RowSpan]]:
        for piece in pieces(column, 3):
            taken.append(piece[0])
            yield piece

    for count, (batch, _) in enumerate(joined(watched(), 100), start=1):
        assert len(taken) == count
        assert batch is taken[-1]


@pytest.mark.parametrize("column", ["_cq_id", "_cq_parent_id", "_CQ_ID", "_Cq_Parent_Id"])
def test_a_file_keeps_its_own_cloudquery_column(column: str) -> None:
    """Ids that CloudQuery gave are not replaced, whatever their type and case."""
    own = OWN.append(pa.field(column, pa.string()))
    schema = schema_with_added_columns(own, "a", add_cq_ids=True)
    own_rows = pa.record_batch({"id": [1], column: ["mine"]})
    batch = add_columns(own_rows, [RowSpan(meta("a"), 0, 1)], "lake", schema)
    assert sorted(map(str.lower, schema.names)) == ["_cq_id", "_cq_parent_id", "_s3_key", "id"]
    assert batch.column(column).to_pylist() == ["mine"]


@pytest.mark.parametrize("column", ["_s3_key", "_S3_KEY", "_s3_Key"])
def test_a_column_of_our_name_is_refused(column: str) -> None:
    """A file's own `_s3_key`, in any case, cannot be stored; the error names object and way out."""
    expected = rf"'a/x\.parquet'.*{column!r}.*Rename.*skip_tables"
    with pytest.raises(UnsupportedSchemaError, match=expected):
        schema_with_added_columns(pa.schema([(column, pa.int8())]), "a/x.parquet", add_cq_ids=True)


@pytest.mark.parametrize("column", ["_s3_\u212aey", "_s3_key ", "s3_key", "_\uff533_key"])
def test_a_column_whose_name_only_looks_like_ours_is_the_files(column: str) -> None:
    """Case of other letters than ASCII is not folded, and neither are spaces."""
    schema = schema_with_added_columns(pa.schema([(column, pa.int8())]), "a", add_cq_ids=False)
    assert schema.names == [column, "_s3_key"]


def test_duplicate_columns_are_refused() -> None:
    """Two columns of one name cannot be told apart; the error names them and the way out."""
    schema = pa.schema([("a", pa.int8()), ("b", pa.int8()), ("a", pa.int8())])
    with pytest.raises(UnsupportedSchemaError, match=r"'k'.*'a'.*Rename.*skip_tables"):
        schema_with_added_columns(schema, "k", add_cq_ids=True)
