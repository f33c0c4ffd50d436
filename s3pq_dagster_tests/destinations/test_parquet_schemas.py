"""Parquet files of schemas that drift: what is stored stays, and is read as the table is now."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.destinations.ledger_rows import SCHEMA_COLUMNS, TABLE_COLUMNS
from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster.destinations.protocol import CheckpointWriter, Destination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.drift.joins import join_schemas
from s3pq_dagster.errors import DestinationError, SchemaMismatchError
from s3pq_dagster.ledger import FORMAT_VERSION, Entry, Status
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.destinations.places.parquet import ParquetPlace
from s3pq_dagster_tests.destinations.places.parquet_s3 import ParquetS3Place
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    check_undo_is_refused,
    entries,
    loaded,
    sealed,
    stream,
    write,
)
from s3pq_dagster_tests.full_disk import full_beyond
from s3pq_dagster_tests.unit.made import meta

A, A2, B, C = meta("orders/a"), meta("orders/a", "v2"), meta("orders/b"), meta("orders/c")
FORMAT_1 = Path(__file__).with_name("format_1") / "parquet"
"""A root of format 1 as it was written: objects a and b are loaded, c is quarantined."""
NOON = datetime.fromisoformat("2024-02-14T12:00")
ID = UUID("282b19e3-0194-8a83-8800-000000000000")
Columns = dict[str, pa.Array]
KINDS = {"directory": ParquetPlace, "s3": ParquetS3Place}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A root in a directory, and one in S3."""
    found = KINDS[request.param](tmp_path)
    yield found
    found.discard()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that does not exist yet."""
    return tmp_path / "lake"


@pytest.fixture
def destination(root: Path) -> ParquetDestination:
    """A destination in that directory."""
    return ParquetDestination(str(root), lock_timeout_seconds=5)


def rows_of(found: ObjectMeta, columns: Columns) -> pa.RecordBatch:
    """Make one object's rows."""
    count = len(next(iter(columns.values())))
    return pa.record_batch({**columns, schemas.KEY_COLUMN: pa.array([found.key] * count)})


def put(writer: CheckpointWriter, found: ObjectMeta, columns: Columns) -> None:
    """Commit one object in a schema that has every column of the table."""
    rows = rows_of(found, columns)
    entry = loaded(found, rows.num_rows)
    writer.commit(stream(rows), schema_key=found.key, seal=lambda: sealed(entry))


def store(destination: Destination, found: ObjectMeta, columns: Columns, **options: bool) -> None:
    """Load one object."""
    with write(destination, **options) as writer:
        put(writer, found, columns)


def table(destination: Destination, columns: list[str] | None = None) -> pa.Table:
    """Read the table in the order of its objects' keys."""
    with destination.read("orders", columns) as reader:
        found = reader.read_all()
    return found.sort_by(schemas.KEY_COLUMN) if schemas.KEY_COLUMN in found.column_names else found


def local(place: Any) -> Path:
    """Return a directory with the files of a root."""
    place.tables()  # in S3 it copies them
    return Path(place.copy.path if isinstance(place, ParquetS3Place) else place.path)


def history(root: Path) -> list[tuple[int, str | None, list[str]]]:
    """Return number, key and columns of each version in a table's rows of ``_s3pq_schemas``."""
    found = pl.read_parquet(root / "_s3pq_schemas" / "orders.parquet")
    assert dict(found.schema) == SCHEMA_COLUMNS
    return [
        (version, key, [f"{f.name}: {f.type}" for f in schemas.from_bytes(data)])
        for version, key, data in found.select("version", "since_key", "arrow_schema").rows()
    ]


def content(root: Path) -> dict[str, bytes]:
    """Return every file below a root except locks."""
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def by_union(root: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    """Read the table's glob as users of DuckDB do when its schema has changed."""
    with duckdb.connect() as connection:
        sql = f"SELECT {columns} FROM read_parquet(?, union_by_name = true) ORDER BY _s3_key"
        return connection.execute(sql, [f"{root}/orders/*.parquet"]).fetchall()


# What is stored is read as the table is now


@pytest.mark.first_case
def test_a_column_is_added(place: Any) -> None:
    """It is null in the rows that are stored, for us and for DuckDB; their file is not touched."""
    destination = place.open()
    store(destination, A, {"id": pa.array([1, 2])})
    ((name, before),) = ((n, c) for n, c in content(local(place)).items() if n.startswith("orders"))
    store(destination, B, {"id": pa.array([3]), "new": pa.array(["x"])})
    expected = [(1, A.key, None), (2, A.key, None), (3, B.key, "x")]
    found = table(destination)
    assert found.schema.names == ["id", "new", "_s3_key"]
    assert found.to_pylist() == [{"id": i, "new": n, "_s3_key": k} for i, k, n in expected]
    assert content(local(place))[name] == before
    assert by_union(local(place), "id, _s3_key, new") == expected
    assert place.select("orders", ["id", "_s3_key", "new"]) == expected


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[(f"int{a}", f"int{b}") for a, b in ((8, 16), (8, 64), (16, 32), (32, 64))],
        *[(f"uint{a}", f"uint{b}") for a, b in ((8, 32), (32, 64))],
        *[("uint8", "int8"), ("uint32", "int64")],
    ],
)
def test_an_integer_column_grows(
    destination: Destination, root: Path, one: str, other: str
) -> None:
    """We and DuckDB read the numbers that are stored, and the new ones, of whichever sign."""
    before, after = (pa.type_for_alias(alias) for alias in (one, other))
    joined = join_schemas(pa.schema([("n", before)]), pa.schema([("n", after)])).schema
    largest = 2 ** (before.bit_width - one.startswith("i")) - 1
    least = 0 if one.startswith("u") else -largest - 1
    store(destination, A, {"n": pa.array([largest, least, None], before)})
    store(destination, B, {"n": pa.array([1], joined.types[0])})
    found = table(destination, ["n", "_s3_key"])
    assert found.schema.types[0] == joined.types[0]
    assert found.column("n").to_pylist() == [largest, least, None, 1]
    assert sorted(by_union(root, "n"), key=repr) == sorted(
        [(largest,), (least,), (None,), (1,)], key=repr
    )


def moments(unit: str, zone: str | None = None) -> pa.DataType:
    """Return a type of timestamps."""
    return pa.timestamp(unit, zone)


STRUCT, WIDER = {"a": pa.int64()}, {"a": pa.int64(), "b": pa.string()}
RETYPED: dict[str, tuple[pa.DataType, pa.DataType, list[Any], list[Any] | None]] = {
    "int32 to double": (pa.int32(), pa.float64(), [2**31 - 1, None], None),
    "int64 to double": (pa.int64(), pa.float64(), [2**53, -(2**53), None], None),
    "float16 to double": (pa.float16(), pa.float64(), [1.5, float("inf"), None], None),
    "float32 to double": (pa.float32(), pa.float64(), [1.5, -0.0, None], None),
    "int64 to decimal": (pa.int64(), pa.decimal128(21, 2), [2**63 - 1, None], None),
    "uint64 to decimal": (pa.uint64(), pa.decimal128(20, 0), [2**64 - 1, None], None),
    "decimal": (pa.decimal128(5, 2), pa.decimal128(9, 4), [Decimal("123.45"), None], None),
    "small decimal": (pa.decimal32(5, 2), pa.decimal128(9, 4), [Decimal("123.45"), None], None),
    "seconds": (moments("s"), moments("us"), [NOON, None], None),
    "seconds to milliseconds": (moments("s"), moments("ms"), [NOON, None], None),
    "milliseconds": (moments("ms", "UTC"), moments("us", "UTC"), [NOON.replace(tzinfo=UTC)], None),
    "zones": (
        moments("us", "Europe/Berlin"),
        moments("us", "UTC"),
        [NOON.replace(tzinfo=UTC), None],
        None,
    ),
    "null to text": (pa.null(), pa.string(), [None, None], None),
    "null to UUID": (pa.null(), pa.uuid(), [None, None], None),
    "null to a list of JSON": (pa.null(), pa.list_(pa.json_()), [None], None),
    "list of nulls": (pa.list_(pa.null()), pa.list_(pa.string()), [[None], [], None], None),
    "list of integers": (pa.list_(pa.int8()), pa.list_(pa.int64()), [[1, None], [], None], None),
    "list of seconds": (pa.list_(moments("s")), pa.list_(moments("us")), [[NOON], None], None),
    "fixed-size list": (
        pa.list_(pa.int8(), 2),
        pa.list_(pa.float64(), 2),
        [[1, None], None, [3, 4]],
        None,
    ),
    "struct": (
        pa.struct(STRUCT),
        pa.struct(WIDER),
        [{"a": 1}, None, {"a": None}],
        [{"a": 1, "b": None}, None, {"a": None, "b": None}],
    ),
    "struct with a UUID": (
        pa.struct({"u": pa.uuid()}),
        pa.struct({"u": pa.uuid(), "j": pa.json_()}),
        [{"u": ID.bytes}, None],
        [{"u": ID, "j": None}, None],
    ),
    "struct of null to JSON": (
        pa.struct({"a": pa.int8(), "j": pa.null()}),
        pa.struct({"a": pa.int8(), "j": pa.json_()}),
        [{"a": 1, "j": None}, None],
        None,
    ),
    "list of structs": (
        pa.list_(pa.struct(STRUCT)),
        pa.list_(pa.struct(WIDER)),
        [[{"a": 1}, None], [], None],
        [[{"a": 1, "b": None}, None], [], None],
    ),
    "map": (
        pa.map_(pa.string(), pa.int8()),
        pa.map_(pa.string(), pa.int64()),
        [[("k", 1), ("l", None)], [], None],
        None,
    ),
    "map of structs": (
        pa.map_(pa.uuid(), pa.struct(STRUCT)),
        pa.map_(pa.uuid(), pa.struct(WIDER)),
        [[(ID.bytes, {"a": 1})], [], None],
        [[(ID, {"a": 1, "b": None})], [], None],
    ),
}
"""Types before and after, values that are stored, and what is read if it is not the same."""


def made(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Make a column; pyarrow does not make extension types within others."""
    return schemas.retyped(pa.array(values, schemas.storage_type(kind)), kind)


@pytest.mark.thorough
@pytest.mark.parametrize("case", RETYPED)
def test_a_column_of_another_type_has_the_values_it_had(
    destination: Destination, case: str
) -> None:
    """What is stored is read in the new type, beside what is written in it."""
    before, after, values, expected = RETYPED[case]
    store(destination, A, {"c": made(values, before), "same": made(values, before)})
    with destination.read("orders", None) as reader:
        assert reader.schema.field("c").type == before
    store(destination, B, {"c": pa.nulls(1, after), "same": pa.nulls(1, before)})
    found = table(destination)
    found.validate(full=True)
    assert found.schema.field("c").type == after
    assert found.schema.field("same").type == before
    assert found.column("c").to_pylist() == [*(values if expected is None else expected), None]


@pytest.mark.thorough
def test_columns_change_again_and_again(place: Any) -> None:
    """Files of three schemas are read in the fourth; each schema is a version with its key."""
    destination = place.open()
    store(destination, A, {"n": pa.array([1], pa.int8())})
    store(destination, B, {"n": pa.array([2], pa.int32()), "m": pa.nulls(1)})
    store(destination, C, {"n": pa.array([2.5]), "m": pa.array([[1]], pa.list_(pa.int8()))})
    d = meta("orders/d")
    last = {"n": pa.array([0.5]), "m": pa.array([[2**40]]), "x": pa.array(["y"])}
    store(destination, d, last)
    store(destination, meta("orders/e"), last)
    found = table(destination)
    assert found.column("n").to_pylist() == [1, 2, 2.5, 0.5, 0.5]
    assert found.column("m").to_pylist() == [None, None, [1], [2**40], [2**40]]
    assert found.column("x").to_pylist() == [None, None, None, "y", "y"]
    assert [(version, key) for version, key, _ in history(local(place))] == [
        (1, A.key),
        (2, B.key),
        (3, C.key),
        (4, d.key),
    ]
    assert history(local(place))[1][2] == ["n: int32", "m: null", "_s3_key: string"]
    state = destination.state(OWNER)
    assert state.schema == rows_of(d, last).schema
    assert state.schema_key == d.key


def test_columns_are_chosen_that_a_file_lacks(destination: Destination) -> None:
    """They are null, as many as the file has rows; others are in the order that was asked for."""
    store(destination, A, {"a": pa.array([{"b": 1}] * 3)})
    store(destination, B, {"a": pa.array([{"b": 2}]), "a.b": pa.array([5]), "C": pa.array([6])})
    for columns, expected in (
        (["a.b"], [(None,)] * 3 + [(5,)]),
        (["c", "a.b"], [(None, None)] * 3 + [(6, 5)]),
        (["a.b", "a"], [(None, {"b": 1})] * 3 + [(5, {"b": 2})]),
    ):
        found = table(destination, columns)
        assert [name.lower() for name in found.column_names] == columns
        assert [tuple(row.values()) for row in found.to_pylist()] == expected
    assert table(destination, ["c"]).column_names == ["C"]


def test_an_object_without_rows_may_be_older_than_the_schema(destination: Destination) -> None:
    """Its file has no columns at all."""
    with write(destination) as writer:
        writer.commit(None, schema_key=None, seal=lambda: sealed(loaded(A, 0)))
    store(destination, B, {"id": pa.array([1])})
    assert table(destination).to_pylist() == [{"id": 1, "_s3_key": B.key}]
    assert destination.audit(OWNER).state.rows == 1


def test_columns_in_another_order_are_no_change(destination: Destination, root: Path) -> None:
    """The table keeps its order and its schema."""
    store(destination, A, {"a": pa.array([1]), "b": pa.array([2])})
    store(destination, B, {"b": pa.array([4]), "a": pa.array([3])})
    assert table(destination).column_names == ["a", "b", "_s3_key"]
    assert table(destination).column("a").to_pylist() == [1, 3]
    assert len(history(root)) == 1
    assert destination.state(OWNER).schema_key == A.key


# Loads in every mode


@pytest.mark.thorough
@pytest.mark.parametrize("append", [False, True])
def test_a_later_version_of_an_object_has_another_schema(place: Any, *, append: bool) -> None:
    """It replaces the rows of the earlier version, or stands beside them, each in its file."""
    destination = place.open()
    store(destination, A, {"id": pa.array([1, 2], pa.int8())}, append=append)
    later = {"id": pa.array([2**40]), "new": pa.array(["x"])}
    store(destination, A2, later, append=append)
    found = table(destination)
    assert sorted(found.column("id").to_pylist()) == ([1, 2, 2**40] if append else [2**40])
    assert found.column("new").drop_null().to_pylist() == ["x"]
    audit = destination.audit(OWNER)
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()
    assert sorted(id_ for (id_,) in by_union(local(place), "id")) == sorted(
        found.column("id").to_pylist()
    )


@pytest.mark.first_case
def test_a_refresh_grows_within_its_transaction(place: Any) -> None:
    """Nobody sees it before its end; versions go on from those before the refresh."""
    destination = place.open()
    store(destination, A, {"id": pa.array(["text"])})
    with write(destination, refresh=True) as writer:
        put(writer, A2, {"id": pa.array([1], pa.int8())})
        put(writer, B, {"id": pa.array([2**40]), "new": pa.array(["x"])})
        put(writer, C, {"id": pa.array([2.5]), "new": pa.array(["y"])})
        assert table(destination).to_pylist() == [{"id": "text", "_s3_key": A.key}]
        assert writer.state().schema.field("id").type == pa.float64()
        assert len(history(local(place))) == 1
    found = table(destination)
    assert found.column("id").to_pylist() == [1, 2**40, 2.5]
    assert found.column("new").to_pylist() == [None, "x", "y"]
    versions = history(local(place))
    assert [(version, key) for version, key, _ in versions] == [
        (1, A.key),
        (2, A.key),
        (3, B.key),
        (4, C.key),
    ]
    assert versions[0][2][0] == "id: string"
    assert destination.state(OWNER).schema_key == C.key


def test_a_refresh_with_the_same_schema_is_no_version(destination: Destination, root: Path) -> None:
    """The history is kept, and has one row."""
    for _ in range(2):
        store(destination, A, {"id": pa.array([1])}, refresh=True)
    assert history(root) == [(1, A.key, ["id: int64", "_s3_key: string"])]


def test_a_removed_object_leaves_the_schema(destination: Destination) -> None:
    """The table keeps the columns that only the object had."""
    store(destination, A, {"id": pa.array([1])})
    store(destination, B, {"id": pa.array([2]), "new": pa.array(["x"])})
    with write(destination) as writer:
        assert writer.remove([B.key], seal=sealed) == 1
    assert table(destination).to_pylist() == [{"id": 1, "new": None, "_s3_key": A.key}]


# Values that a type cannot hold


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("stored", "coming", "said"),
    [
        (pa.array([1, 2**53 + 1]), pa.array([0.5]), r"'n'.*double.*9007199254740993"),
        (pa.array([-(2**53) - 1]), pa.array([0.5]), r"'n'.*double.*-9007199254740993"),
        (
            pa.array([NOON.replace(year=9999)], pa.timestamp("s")),
            pa.array([NOON], pa.timestamp("ns")),
            r"'n'.*timestamp\[ns\]",
        ),
        (pa.array([[{"a": 2**53 + 1}]]), pa.array([[{"a": 0.5}]]), r"'n'.*9007199254740993"),
    ],
)
def test_a_stored_value_without_an_equal_forbids_the_change(
    place: Any, stored: pa.Array, coming: pa.Array, said: str
) -> None:
    """The error names the column and the value; nothing is changed, and the next load works."""
    destination = place.open()
    store(destination, A, {"n": stored})
    before = content(local(place))
    with pytest.raises(SchemaMismatchError, match=f"(?s)orders/b.*orders/a.*{said}.*stored"):
        store(destination, B, {"n": coming, "new": pa.array(["x"])})
    assert content(local(place)) == before
    store(destination, C, {"n": stored})
    assert table(destination).column("n").to_pylist() == 2 * stored.to_pylist()


def test_a_value_of_the_same_refresh_forbids_the_change(
    destination: Destination, root: Path
) -> None:
    """What was committed before the refresh stands, and nothing of the refresh is left."""
    store(destination, A, {"n": pa.array([7])})
    before = content(root)

    def refresh() -> None:
        with write(destination, refresh=True) as writer:
            put(writer, A2, {"n": pa.array([2**53 + 1])})
            put(writer, B, {"n": pa.array([0.5])})

    with pytest.raises(SchemaMismatchError, match="9007199254740993"):
        refresh()
    assert content(root) == before


def test_a_value_that_was_put_into_a_file_by_hand_is_told(
    destination: Destination, root: Path
) -> None:
    """A reader names the file instead of changing the value."""
    store(destination, A, {"n": pa.array([1])})
    store(destination, B, {"n": pa.array([0.5])})
    (path,) = root.glob("orders/a-*.parquet")
    file = pq.ParquetFile(path)
    mark = {"s3pq": file.metadata.metadata[b"s3pq"]}
    forged = pa.table({"n": pa.array([2**53 + 1]), "_s3_key": [A.key]})
    pq.write_table(forged.replace_schema_metadata(mark), path)
    with pytest.raises(DestinationError, match=rf"orders/{path.name} cannot be read.*full_refresh"):
        table(destination)


# What a crash leaves


def test_a_swap_that_fails_leaves_the_old_schema(destination: Destination, root: Path) -> None:
    """There is no room for the manifest; neither rows nor columns are added."""
    store(destination, A, {"id": pa.array([1])})
    before = content(root)
    room = len(before["_s3pq_objects/orders.parquet"]) - 1
    new = {"id": pa.array([0.5]), "new": pa.array(["x"])}
    with full_beyond(room), pytest.raises(DestinationError, match="Make room"):
        store(destination, B, new)
    assert content(root) == before
    store(destination, B, new)
    assert table(destination).column("id").to_pylist() == [1, 0.5]
    assert len(history(root)) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("next_run", ["idle", "loads"])
def test_a_kill_between_swap_and_placement_loses_nothing(place: Any, next_run: str) -> None:
    """The new schema is read at once; the next writer moves the file and writes both reports."""
    destination = place.open()
    store(destination, A, {"id": pa.array([1])})
    old = content(local(place))
    store(destination, B, {"id": pa.array([0.5]), "new": pa.array(["x"])})
    copy = local(place)
    whole = content(copy)
    for report in ("_s3pq_tables/orders.parquet", "_s3pq_schemas/orders.parquet"):
        (copy / report).write_bytes(old[report])
    ledger = pl.read_parquet(copy / "_s3pq_objects" / "orders.parquet")
    ((name, file_id),) = ledger.filter(pl.col("key") == B.key).select("file", "file_id").rows()
    staged = copy / "_s3pq_staged" / "orders" / f"{file_id}.parquet"
    staged.parent.mkdir(exist_ok=True, parents=True)
    (copy / "orders" / name).rename(staged)
    if isinstance(place, ParquetS3Place):
        place.upload()
    assert table(destination).column("id").to_pylist() == [1, 0.5]
    assert table(destination).column("new").to_pylist() == [None, "x"]
    if next_run == "loads":
        store(destination, C, {"id": pa.array([2.5]), "new": pa.array(["y"])})
        assert [key for _, key, _ in history(local(place))] == [A.key, B.key]
        assert len(by_union(local(place))) == 3
        return
    with write(destination):
        pass
    assert content(local(place)) == whole


# Formats of the ledger


def adopted(place: Any) -> Destination:
    """Make a root of format 1."""
    target = place.copy.path if isinstance(place, ParquetS3Place) else place.path
    shutil.copytree(FORMAT_1, target)
    if isinstance(place, ParquetS3Place):
        place.upload()
    destination: Destination = place.open()
    return destination


@pytest.mark.first_case
def test_a_root_of_format_1_is_read_without_a_change(place: Any) -> None:
    """State, audit and rows are there before anything is written."""
    destination = adopted(place)
    before = content(local(place))
    state, audit = destination.state(OWNER), destination.audit(OWNER)
    assert (state.rows, state.schema_key) == (5, A.key)
    assert state.schema is not None
    assert state.schema.field("at").type == pa.timestamp("s")
    assert dict(audit.rows_by_key.rows()) == {A.key: 3, B.key: 2}
    assert table(destination).column("id").to_pylist() == [0, 1, 2, 0, 1]
    check_undo_is_refused(destination)
    assert content(local(place)) == before


@pytest.mark.first_case
def test_a_root_of_format_1_is_adopted_by_the_first_writer(place: Any) -> None:
    """Nothing is loaded again: entries and files stay, and the schema there is is version 1."""
    destination = adopted(place)
    before, ledger = content(local(place)), entries(destination)
    with destination.write(
        Owner("orders", "lake", "orders/", layout="5eed"), run_id="r", append=False, refresh=False
    ) as writer:
        bad = Entry(meta("orders/d"), Status.QUARANTINED, 0, "truncated")
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    after = content(local(place))
    assert {n for n in before if before[n] != after[n]} == {
        "_s3pq_objects/orders.parquet",
        "_s3pq_tables/orders.parquet",
    }
    assert set(after) - set(before) == {"_s3pq_schemas/orders.parquet"}
    assert entries(destination) == [*ledger, ("orders/d", "v1", "quarantined")]
    tables = pl.read_parquet(local(place) / "_s3pq_tables" / "orders.parquet")
    assert dict(tables.schema) == TABLE_COLUMNS
    assert tables.select("format_version", "layout", "schema_key").rows() == [
        (FORMAT_VERSION, "5eed", A.key)
    ]
    was = pl.read_parquet(FORMAT_1 / "_s3pq_tables" / "orders.parquet")
    check_undo_is_refused(destination)
    versions = pl.read_parquet(local(place) / "_s3pq_schemas" / "orders.parquet")
    assert versions.rows() == [("orders", 1, was["arrow_schema"][0], A.key, was["updated_at"][0])]


@pytest.mark.thorough
def test_a_root_of_format_1_changes_its_schema_at_once(place: Any) -> None:
    """Its files are read in the new schema; the one before is version 1."""
    destination = adopted(place)
    at = pa.array([NOON.replace(microsecond=5)], pa.timestamp("us"))
    store(destination, C, {"id": pa.array([0.5]), "at": at, "new": pa.array(["x"])})
    found = table(destination)
    assert found.column("id").to_pylist() == [0, 1, 2, 0, 1, 0.5]
    midnight = NOON.replace(hour=0)
    assert found.column("at").to_pylist() == [midnight] * 5 + at.to_pylist()
    assert found.column("new").to_pylist() == [None] * 5 + ["x"]
    assert [(version, key) for version, key, _ in history(local(place))] == [
        (1, A.key),
        (2, C.key),
    ]


@pytest.mark.thorough
def test_a_refresh_of_a_root_of_format_1_keeps_its_schema_as_a_version(place: Any) -> None:
    """Version 1 is the schema that format 1 had."""
    destination = adopted(place)
    store(destination, A2, {"id": pa.array(["text"])}, refresh=True)
    assert [columns for _, _, columns in history(local(place))] == [
        ["id: int64", "at: timestamp[s]", "_s3_key: string"],
        ["id: string", "_s3_key: string"],
    ]


@pytest.mark.thorough
def test_a_refresh_of_a_root_of_format_1_that_fails_changes_no_row(place: Any) -> None:
    """The root is of this format afterwards, and holds what it held."""
    destination = adopted(place)
    before = table(destination)

    def refresh() -> None:
        with write(destination, refresh=True) as writer:
            put(writer, A2, {"id": pa.array(["text"])})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        refresh()
    assert table(destination) == before
    assert [columns for _, _, columns in history(local(place))] == [
        ["id: int64", "at: timestamp[s]", "_s3_key: string"]
    ]


def test_a_table_without_a_schema_has_no_version(destination: Destination, root: Path) -> None:
    """All its objects are quarantined: there is nothing to report."""
    bad = Entry(A, Status.QUARANTINED, 0, "truncated")
    with write(destination) as writer:
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    assert not (root / "_s3pq_schemas").exists()
    store(destination, B, {"id": pa.array([1])})
    assert history(root) == [(1, B.key, ["id: int64", "_s3_key: string"])]


def test_the_manifest_has_every_schema(destination: Destination, root: Path) -> None:
    """The reports can be written anew from it alone."""
    store(destination, A, {"id": pa.array([1])})
    store(destination, B, {"id": pa.array([2]), "new": pa.array(["x"])})
    whole = content(root)
    facts = json.loads(
        pq.read_metadata(root / "_s3pq_objects" / "orders.parquet").metadata[b"s3pq"]
    )
    assert [(each["version"], each["since_key"]) for each in facts["schemas"]] == [
        (1, A.key),
        (2, B.key),
    ]
    for folder in ("_s3pq_schemas", "_s3pq_tables"):
        shutil.rmtree(root / folder)
    with write(destination):
        assert content(root) == whole
