"""Delta tables whose columns change: what is stored, what others read, and what the ledger says."""

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.destinations.protocol import TableWriter
from s3pq_dagster.destinations.table_state import Commit
from s3pq_dagster.errors import DestinationError, SchemaMismatchError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.destinations.tables import OWNER, loaded, rows, sealed, stream
from s3pq_dagster_tests.unit.made import NOON, meta

A, A2, B, C = meta("orders/a"), meta("orders/a", "v2"), meta("orders/b"), meta("orders/c")
Columns = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that does not exist yet."""
    return tmp_path / "lake"


@pytest.fixture
def destination(root: Path) -> DeltaDestination:
    """A destination whose root does not exist yet."""
    return DeltaDestination(str(root), lock_timeout_seconds=5)


def table(root: Path, version: int | None = None) -> deltalake.DeltaTable:
    """Open the Delta table as anybody does."""
    return deltalake.DeltaTable(root / OWNER.table, version=version)


def put_into(writer: TableWriter, found: ObjectMeta, columns: Columns, *more: Any) -> None:
    """Commit one object of some columns, and whatever else is entered with it."""
    count = len(next(iter(columns.values())))
    each = pa.record_batch(columns | {"_s3_key": [found.key] * count})
    entered = [loaded(found, count), *more]
    writer.commit(stream(each), schema_key=found.key, seal=lambda: sealed(*entered))


def put(destination: DeltaDestination, *objects: tuple[ObjectMeta, Columns]) -> None:
    """Load objects, each in a checkpoint of its own."""
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        for found, columns in objects:
            put_into(writer, found, columns)


def refresh(destination: DeltaDestination, *objects: tuple[ObjectMeta, Columns]) -> None:
    """Load a table anew, each object in a checkpoint of its own."""
    with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
        for found, columns in objects:
            put_into(writer, found, columns)


def versions(root: Path) -> list[tuple[int, list[str], str]]:
    """Read the table's versions: number, columns and types, and the key each came with."""
    found = pl.read_delta(str(root / "_s3pq_schemas")).sort("version")
    assert set(found["table_name"]) == {"orders"}
    return [
        (number, [f"{f.name} {f.type}" for f in schemas.from_bytes(data)][:-1], key)
        for number, data, key in found.select("version", "arrow_schema", "since_key").rows()
    ]


def said(root: Path, destination: DeltaDestination) -> None:
    """Check that entries, rows, schema and versions say the same."""
    state = destination.state(OWNER)
    assert state.rows == state.ledger.rows
    told = pl.read_delta(str(root / "_s3pq_tables")).row(0, named=True)
    last = pl.read_delta(str(root / "_s3pq_schemas")).sort("version").row(-1, named=True)
    assert state.schema == schemas.from_bytes(last["arrow_schema"])
    assert (last["arrow_schema"], last["since_key"]) == (told["arrow_schema"], state.schema_key)
    audit = destination.audit(OWNER)
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()


def others_read(root: Path, names: Sequence[str]) -> list[list[Any]]:
    """Read columns with polars, pyarrow and DataFusion, which must agree; return sorted rows."""
    found = [
        pl.read_delta(str(root / "orders")).to_arrow(),
        table(root).to_pyarrow_table(),
        pa.table(table(root).scan()),
    ]
    each = [
        sorted(([row[name] for name in names] for row in one.to_pylist()), key=repr)
        for one in found
    ]
    assert each[0] == each[1] == each[2]
    return each[0]


# Columns


def test_a_new_column_is_one_commit_that_leaves_the_files_as_they_are(
    root: Path, destination: DeltaDestination
) -> None:
    """Rows that were stored have null in it, for us and for others."""
    put(destination, (A, {"id": [1, 2]}))
    before = set(table(root).file_uris())
    put(destination, (B, {"id": [3], "note": ["new"]}))
    assert table(root).version() == 1
    assert before < set(table(root).file_uris())
    expected = [[1, None], [2, None], [3, "new"]]
    assert [[row["id"], row["note"]] for row in rows(destination)] == expected
    assert rows(destination, columns=["note"]) == [{"note": "new"}, {"note": None}, {"note": None}]
    assert others_read(root, ["id", "note"]) == expected
    assert versions(root) == [
        (1, ["id int64"], A.key),
        (2, ["id int64", "note string"], B.key),
    ]
    said(root, destination)


@pytest.mark.thorough
def test_no_file_goes_whatever_the_log_knows_of_it(
    root: Path, destination: DeltaDestination
) -> None:
    """Files without bounds of their keys, as others write them, stay when a column is added."""
    put(destination, (A, {"id": [1, 2]}))
    table(root).alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "0"})
    deltalake.write_deltalake(
        root / "orders",
        pa.table({"id": [1, 2], "_s3_key": [A.key, None]}),
        mode="overwrite",
        configuration={"delta.dataSkippingNumIndexedCols": "0"},
    )
    put(destination, (B, {"id": [3], "note": ["new"]}))
    assert others_read(root, ["id", "note"]) == [[1, None], [2, None], [3, "new"]]


def test_a_new_column_comes_with_replaced_rows(root: Path, destination: DeltaDestination) -> None:
    """Rows that are replaced go in the same commit, and what is left has null."""
    put(destination, (A, {"id": [1, 2]}), (B, {"id": [3]}))
    put(destination, (A2, {"id": [4], "note": ["new"]}))
    assert table(root).version() == 2
    assert others_read(root, ["id", "note"]) == [[3, None], [4, "new"]]
    said(root, destination)


def test_times_without_a_zone_may_come_later(root: Path, destination: DeltaDestination) -> None:
    """The table gets the feature that they need."""
    at = NOON.replace(tzinfo=None)
    put(destination, (A, {"id": [1]}))
    put(destination, (B, {"id": [2], "at": pa.array([at], pa.timestamp("us"))}))
    assert table(root).protocol().reader_features == ["timestampNtz"]
    assert others_read(root, ["id", "at"]) == [[1, None], [2, at]]
    said(root, destination)


def test_a_column_that_somebody_added_is_taken_or_refused(
    root: Path, destination: DeltaDestination
) -> None:
    """One of the same type becomes ours; one of another type, or spelling, is named."""
    put(destination, (A, {"id": [1]}))
    text = deltalake.schema.PrimitiveType("string")
    for name in ("note", "Other"):
        table(root).alter.add_columns(deltalake.Field(name, text))
    for columns in ({"note": [1]}, {"other": ["x"]}):
        with pytest.raises(DestinationError, match=r"somebody has given it .*Drop or rename"):
            put(destination, (B, {"id": [2]} | columns))
    put(destination, (B, {"id": [2], "note": ["new"]}))
    assert others_read(root, ["id", "note"]) == [[1, None], [2, "new"]]
    said(root, destination)


def test_a_partitioned_table_gains_a_column(root: Path) -> None:
    """Partitions stay as they are; each has rows with and without the column."""
    destination = DeltaDestination(str(root), partition_by=["region"])
    put(destination, (A, {"region": ["eu", "us", None], "id": [1, 2, 3]}))
    put(destination, (B, {"region": ["eu", None], "id": [4, 5], "note": ["x", "y"]}))
    put(destination, (C, {"region": ["eu"], "id": [0.5], "note": ["z"]}))
    expected = [
        [0.5, "eu", "z"],
        [1, "eu", None],
        [2, "us", None],
        [3, None, None],
        [4, "eu", "x"],
        [5, None, "y"],
    ]
    assert others_read(root, ["id", "region", "note"]) == expected
    assert table(root).metadata().partition_columns == ["region"]
    assert sorted(([r["id"], r["region"], r["note"]] for r in rows(destination)), key=repr) == (
        expected
    )
    said(root, destination)


@pytest.mark.thorough
def test_the_type_of_a_partition_column_stays(root: Path) -> None:
    """The error says so, and nothing is written."""
    destination = DeltaDestination(str(root), partition_by=["region"])
    first = (A, {"region": pa.array([1], pa.int32()), "id": [1]})
    wider = (B, {"region": pa.array([2], pa.int64()), "id": [2]})
    put(destination, first)
    for load in (partial(put, destination), partial(refresh, destination, first)):
        with pytest.raises(DestinationError, match=r"partitioned by 'region', whose type"):
            load(wider)
    assert table(root).version() == 0
    put(destination, (B, {"region": pa.array([2], pa.int32()), "id": [2]}))
    said(root, destination)


# Types

WIDENED = [
    pytest.param(pa.array([1, None], pa.int8()), pa.array([300], pa.int16()), id="int8 int16"),
    pytest.param(pa.array([1, None], pa.int32()), pa.array([2**40], pa.int64()), id="int32 int64"),
    pytest.param(pa.array([255], pa.uint8()), pa.array([-1], pa.int16()), id="uint8 int16"),
    pytest.param(pa.array([2**53, None]), pa.array([0.5]), id="int64 double"),
    pytest.param(pa.array([1.5], pa.float32()), pa.array([0.1]), id="float double"),
    pytest.param(
        pa.array([-1]), pa.array([Decimal(2**64 - 1)], pa.decimal128(20, 0)), id="int64 decimal"
    ),
    pytest.param(
        pa.array([1]).cast(pa.decimal128(19, 0)).cast(pa.decimal128(20, 1)),
        pa.array([1]).cast(pa.decimal128(19, 0)).cast(pa.decimal128(22, 3)),
        id="decimal",
    ),
    pytest.param(pa.nulls(2), pa.array([7]), id="null int64"),
    pytest.param(pa.nulls(2), pa.array(["text"]), id="null text"),
    pytest.param(pa.nulls(2), pa.array([{"x": 1}, None]), id="null struct"),
    pytest.param(
        pa.array([1, None], pa.timestamp("s", "UTC")),
        pa.array([1_000_001], pa.timestamp("us", "UTC")),
        id="s us",
    ),
    pytest.param(
        pa.array([1, None], pa.timestamp("us")), pa.array([7_000], pa.timestamp("ns")), id="us ns"
    ),
    pytest.param(pa.array([[1, None], None], pa.list_(pa.int32())), pa.array([[2**40]]), id="list"),
    pytest.param(pa.array([{"x": 1}, None]), pa.array([{"x": 0.5, "y": "new"}]), id="struct grows"),
    pytest.param(
        pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
        pa.array([[("k", 2**40)]], pa.map_(pa.string(), pa.int64())),
        id="map",
    ),
    pytest.param(
        pa.array(
            [{"u": b"0123456789abcdef", "n": 1}, None],
            pa.struct([("u", pa.binary(16)), ("n", pa.int32())]),
        ),
        pa.array([{"u": None, "n": 2**40}], pa.struct([("u", pa.binary(16)), ("n", pa.int64())])),
        id="fixed binary within",
    ),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("old", "new"), WIDENED)
@pytest.mark.parametrize("refreshed", [False, True])
def test_a_type_grows(
    root: Path, destination: DeltaDestination, old: pa.Array, new: pa.Array, *, refreshed: bool
) -> None:
    """Rows that were stored have the new type and their old values, within a refresh too."""
    before = {"id": list(range(len(old))), "c": old}
    after = {"id": [9] * len(new), "c": new}
    (refresh if refreshed else put)(destination, (A, before), (B, after))
    assert table(root).version() == (0 if refreshed else 1)
    with destination.read("orders", None) as reader:
        found = reader.read_all()
    assert found.schema.field("c").type == new.type
    in_order = found.sort_by("id")["c"].to_pylist()
    expected = [_grown(each, new.type) for each in old.to_pylist()] + new.to_pylist()
    assert in_order == expected
    assert len(others_read(root, ["id", "c"])) == len(expected)
    assert table(root).protocol().reader_features in (None, ["timestampNtz"])
    assert [number for number, *_ in versions(root)] == [1, 2]
    said(root, destination)


def _grown(value: Any, kind: pa.DataType) -> Any:
    """Give a struct the fields that it lacks."""
    if isinstance(value, dict) and pa.types.is_struct(kind):
        return {field.name: value.get(field.name) for field in kind}
    return value


def test_files_stay_where_delta_lake_has_one_type_for_both(
    root: Path, destination: DeltaDestination
) -> None:
    """An unsigned byte and a short are one type there: the schema of the ledger changes alone."""
    put(destination, (A, {"n": pa.array([255], pa.uint8()), "t": pa.nulls(1)}))
    before = set(table(root).file_uris())
    put(destination, (B, {"n": pa.array([-1], pa.int16()), "t": ["text"]}))
    assert before < set(table(root).file_uris())
    assert [(row["n"], row["t"]) for row in rows(destination)] == [(-1, "text"), (255, None)]
    said(root, destination)


@pytest.mark.thorough
@pytest.mark.parametrize("refreshed", [False, True])
def test_a_stored_value_without_an_equal_is_an_error(
    root: Path, destination: DeltaDestination, *, refreshed: bool
) -> None:
    """An integer beyond 2⁵³ keeps its column from becoming double; nothing is changed."""
    put(destination, (A, {"id": [1], "c": [2**53 + 1]}))
    expected = rows(destination)
    large, double = (A, {"id": [1], "c": [2**53 + 1]}), (B, {"id": [2], "c": [0.5]})
    with pytest.raises(SchemaMismatchError, match=r"9007199254740993.*stored already"):
        refresh(destination, large, double) if refreshed else put(destination, double)
    assert rows(destination) == expected
    assert table(root).version() == 0
    assert len(list((root / "orders").glob("*.parquet"))) == 1
    said(root, destination)


def test_types_and_columns_change_with_replaced_rows(
    root: Path, destination: DeltaDestination
) -> None:
    """All of it is one commit, and others may compact the table between two such."""
    put(
        destination,
        (A, {"id": pa.array([1, 2], pa.int32())}),
        (B, {"id": pa.array([3], pa.int32())}),
    )
    table(root).optimize.compact()
    put(destination, (A2, {"id": [2**40], "note": ["x"]}))
    table(root).optimize.compact()
    put(destination, (C, {"id": [0.5], "note": ["y"], "more": [True]}))
    assert others_read(root, ["id", "note", "more"]) == [
        [0.5, "y", True],
        [float(2**40), "x", None],
        [3.0, None, None],
    ]
    assert [columns for _, columns, _ in versions(root)] == [
        ["id int32"],
        ["id int64", "note string"],
        ["id double", "note string", "more bool"],
    ]
    said(root, destination)


@pytest.mark.thorough
def test_every_version_has_old_rows_or_new_ones(root: Path, destination: DeltaDestination) -> None:
    """A reader of any version of the table sees all rows of it, once, in one type."""
    put(
        destination,
        (A, {"id": pa.array([1, 2], pa.int32())}),
        (B, {"id": [3]}),
        (C, {"id": [0.5], "note": ["y"]}),
    )
    seen = [
        sorted(table(root, version).to_pyarrow_table()["id"].to_pylist())
        for version in range(table(root).version() + 1)
    ]
    assert seen == [[1, 2], [1, 2, 3], [0.5, 1, 2, 3]]


@pytest.mark.thorough
def test_a_table_may_be_compacted_while_a_type_changes(
    root: Path, destination: DeltaDestination
) -> None:
    """The rewriting commit is built again upon the compacted table."""
    put(
        destination,
        (A, {"id": pa.array([1, 2], pa.int32())}),
        (B, {"id": pa.array([3], pa.int32())}),
    )

    def seal() -> Commit:
        table(root).optimize.compact()
        return sealed(loaded(A2, 1))

    each = pa.record_batch({"id": [2**40], "note": ["x"], "_s3_key": [A.key]})
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(stream(each), schema_key=A.key, seal=seal)
    assert others_read(root, ["id", "note"]) == [[2**40, "x"], [3, None]]
    said(root, destination)


# Refreshes and versions


@pytest.mark.thorough
def test_a_refresh_grows_and_its_history_stays(root: Path, destination: DeltaDestination) -> None:
    """Each schema that comes is a version, the old ones included; the same one again is none."""
    small, wide = {"id": pa.array([1], pa.int32())}, {"id": [0.5], "note": ["x"]}
    put(destination, (A, small))
    refresh(destination, (A, small), (B, {"id": [2], "note": ["y"]}), (C, wide))
    assert others_read(root, ["id", "note"]) == [[0.5, "x"], [1.0, None], [2.0, "y"]]
    assert len(list((root / "orders").glob("*.parquet"))) == 1 + 2  # the first table's, and these
    said(root, destination)
    refresh(destination, (A, small))
    said(root, destination)
    refresh(destination, (A, small))
    assert [columns for _, columns, _ in versions(root)] == [
        ["id int32"],
        ["id int64", "note string"],
        ["id double", "note string"],
        ["id int32"],
    ]
    assert others_read(root, ["id"]) == [[1]]


def test_a_column_order_alone_is_no_change(root: Path, destination: DeltaDestination) -> None:
    """Rows may come with their columns in another order."""
    put(destination, (A, {"id": [1], "note": ["x"]}), (B, {"note": ["y"], "id": [2]}))
    assert [number for number, *_ in versions(root)] == [1]
    assert others_read(root, ["id", "note"]) == [[1, "x"], [2, "y"]]
    said(root, destination)
