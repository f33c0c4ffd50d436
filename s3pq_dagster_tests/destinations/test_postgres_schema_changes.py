"""Schemas that change in PostgreSQL: what is stored, what is in the way, what others see."""

import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tenacity import stop_after_delay

from s3pq_dagster import schemas
from s3pq_dagster.destinations.postgres.destination import PostgresDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
    SchemaMismatchError,
    UnsupportedSchemaError,
)
from s3pq_dagster.ledger import FORMAT_VERSION
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace, role, url_of
from s3pq_dagster_tests.destinations.tables import (
    BROKEN,
    OWNER,
    check_undo_is_refused,
    loaded,
    sealed,
    stream,
)
from s3pq_dagster_tests.unit.made import NOON, meta
from s3pq_dagster_tests.waiting import again_while

A, B, C = meta("orders/a"), meta("orders/b"), meta("orders/c")
A2, A3 = meta("orders/a", "v2", second=9), meta("orders/a", "v3", second=10)
B2 = meta("orders/b", "v2", second=9)
SINGLE = [float(each) if each is not None else None for each in np.array([0.1, -0.0], "f4")]
ID = uuid.UUID(int=5)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    """A new database."""
    found = PostgresPlace(tmp_path)
    yield found
    found.discard()


@pytest.fixture
def destination(place: PostgresPlace) -> PostgresDestination:
    """The database as a destination."""
    return PostgresDestination(place.url, lock_timeout_seconds=5)


def rows_of(key: str, **columns: pa.Array) -> pa.RecordBatch:
    """Make one object's rows."""
    count = len(next(iter(columns.values())))
    return pa.record_batch({**columns, "_s3_key": pa.array([key] * count)})


def ints(*values: int | None) -> pa.Array:
    """Make a column of 64 bits."""
    return pa.array(values, pa.int64())


def doubles(*values: float | None) -> pa.Array:
    """Make a column of floating-point numbers."""
    return pa.array(values, pa.float64())


def put(writer: Any, *objects: tuple[Any, pa.RecordBatch]) -> None:
    """Commit some objects as one checkpoint."""
    entries = [loaded(found, each.num_rows) for found, each in objects]
    batches = [each for _, each in objects]
    writer.commit(stream(*batches), schema_key=objects[-1][0].key, seal=lambda: sealed(*entries))


def put_into(
    destination: PostgresDestination,
    *objects: tuple[Any, pa.RecordBatch],
    owner: Owner = OWNER,
    **how: bool,
) -> None:
    """Load some objects in one checkpoint."""
    asked = {"append": False, "refresh": False} | how
    with destination.write(owner, run_id="r", **asked) as writer:
        put(writer, *objects)


def column_of(
    destination: PostgresDestination, name: str = "x", table: str = "orders"
) -> dict[str, list[Any]]:
    """Return a column's values by key, in the order of the rows."""
    found: dict[str, list[Any]] = {}
    with destination.read(table, [name, "_s3_key"]) as reader:
        for row in reader.read_all().to_pylist():
            found.setdefault(row["_s3_key"], []).append(row[name])
    return found


def versions(place: PostgresPlace, table: str = "orders") -> list[tuple[int, list[str], str]]:
    """Return version, columns with types, and key of each of a table's schemas."""
    rows = place.run(
        "SELECT version, arrow_schema, since_key FROM _s3pq_schemas "
        f"WHERE table_name = '{table}' ORDER BY version"
    )
    return [
        (number, [f"{e.name}: {e.type}" for e in schemas.from_bytes(data)], key)
        for number, data, key in rows
    ]


def struct(**fields: pa.DataType) -> pa.DataType:
    """Make the type of a struct."""
    return pa.struct(list(fields.items()))


# What is stored

I8, I16, I32, I64 = pa.int8(), pa.int16(), pa.int32(), pa.int64()
U8, U16, U32, U64 = pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()
F16, F32, F64 = pa.float16(), pa.float32(), pa.float64()
NULL, TEXT = pa.null(), pa.string()
DEC, WIDER = pa.decimal128(5, 2), pa.decimal128(9, 4)
MOMENT = dt.datetime(1969, 7, 20, 20, 17, 40, tzinfo=dt.UTC)
LOCAL = MOMENT.replace(tzinfo=None)
FAR = dt.datetime(9999, 12, 31, tzinfo=dt.UTC).replace(tzinfo=None)
FIRST_AND_LAST = [[-128, 127], [-(2**15), 2**15 - 1], [-(2**31), 2**31 - 1], [-(2**63), 2**63 - 1]]
NUMBERS = [
    (I8, I16, FIRST_AND_LAST[0]),
    (I16, I32, FIRST_AND_LAST[1]),
    (I32, I64, FIRST_AND_LAST[2]),
    (I8, I64, FIRST_AND_LAST[0]),
    (U8, U16, [0, 255]),
    (U16, U32, [0, 2**16 - 1]),
    (U32, U64, [0, 2**32 - 1]),
    (U8, I16, [0, 255]),
    (U32, I64, [0, 2**32 - 1]),
    (U64, pa.decimal128(20, 0), [0, 2**64 - 1]),
    (I64, pa.decimal128(21, 2), FIRST_AND_LAST[3]),
    (I8, pa.decimal128(5, 2), FIRST_AND_LAST[0]),
    (I8, F64, FIRST_AND_LAST[0]),
    (I32, F64, FIRST_AND_LAST[2]),
    (I64, F64, [-(2**53), 2**53]),
    (F16, F32, [0.5, -0.0]),
    (F16, F64, [0.5, float("inf")]),
    (F32, F64, [*SINGLE, float("-inf")]),
    (DEC, WIDER, [Decimal("123.45"), Decimal("-0.01")]),
]
TIMES = [
    (pa.timestamp("s"), pa.timestamp("ms"), [LOCAL, FAR]),
    (pa.timestamp("ms"), pa.timestamp("us"), [LOCAL.replace(microsecond=5000)]),
    (pa.timestamp("us"), pa.timestamp("ns"), [LOCAL.replace(microsecond=5)]),
    (pa.timestamp("s"), pa.timestamp("ns"), [LOCAL]),
    (pa.timestamp("s", "UTC"), pa.timestamp("us", "UTC"), [MOMENT]),
    (pa.timestamp("us", "Europe/Paris"), pa.timestamp("ns", "UTC"), [MOMENT]),
]
NOTHING: list[tuple[pa.DataType, pa.DataType, list[Any]]] = [
    (NULL, kind, [None, None])
    for kind in (
        pa.bool_(),
        I8,
        F64,
        DEC,
        TEXT,
        pa.binary(),
        pa.date32(),
        pa.timestamp("us", "UTC"),
        pa.duration("us"),
        pa.uuid(),
        pa.json_(TEXT),
        pa.list_(I64),
        pa.list_(struct(a=I8)),
        struct(a=TEXT),
        pa.map_(TEXT, I8),
    )
]
LISTS = [
    (pa.list_(NULL), pa.list_(TEXT), [[None, None], [], None]),
    (pa.list_(NULL), pa.list_(DEC), [[None], []]),
    (pa.list_(NULL), pa.list_(pa.timestamp("us", "UTC")), [[None], []]),
    (pa.list_(NULL), pa.list_(struct(a=I8)), [[None, None], [], None]),
    (pa.list_(NULL), pa.list_(pa.list_(I8)), [[None, None], [], None]),
    (pa.list_(NULL, 2), pa.list_(I64, 2), [[None, None], None]),
    (pa.list_(I16), pa.list_(F64), [[1, None], [], None]),
    (pa.list_(I64), pa.list_(F64), [[2**53, None], [-(2**53)], None]),
    (pa.list_(U64), pa.list_(pa.decimal128(20, 0)), [[2**64 - 1, None], []]),
    (pa.list_(F32), pa.list_(F64), [SINGLE, None]),
    (pa.list_(I8, 2), pa.list_(I32, 2), [[1, 2], None]),
    (pa.list_(pa.timestamp("s")), pa.list_(pa.timestamp("ns")), [[LOCAL, None], []]),
]
MANY = struct(**{f"f{n}": I8 for n in range(60)})
MANY_WIDER = struct(**{f"f{n}": pa.decimal128(3, 0) for n in range(60)})
JSON = [
    (struct(a=I8), struct(a=I8, b=TEXT), [{"a": 1}, {"a": None}, None]),
    (struct(a=I8), struct(a=I64), [{"a": 1}, {"a": None}, None]),
    (struct(a=I64), struct(a=F64), [{"a": 2**53}, None]),
    (struct(a=I64), struct(a=pa.decimal128(19, 0)), [{"a": 2**63 - 1}, {"a": None}, None]),
    (struct(a=U64), struct(a=pa.decimal128(20, 0), b=I8), [{"a": 2**64 - 1}, None]),
    (struct(a=F32), struct(a=F64), [{"a": each} for each in SINGLE]),
    (struct(a=DEC), struct(a=WIDER), [{"a": Decimal("123.45")}, {"a": None}]),
    (struct(a=NULL), struct(a=pa.list_(DEC)), [{"a": None}, None]),
    (struct(a=NULL, b=F32), struct(a=TEXT, b=F64), [{"a": None, "b": SINGLE[0]}, None]),
    *[(struct(a=old), struct(a=new), [{"a": v} for v in values]) for old, new, values in TIMES],
    (MANY, MANY_WIDER, [{f"f{n}": n for n in range(60)}]),
    (
        struct(**{"it's": struct(**{'\\"': F32}), "[]": pa.list_(I8)}),
        struct(**{"it's": struct(**{'\\"': F64}), "[]": pa.list_(DEC), "new": I8}),
        [{"it's": {'\\"': SINGLE[0]}, "[]": [1, None]}, {"it's": None, "[]": []}, None],
    ),
    (
        pa.list_(struct(a=pa.list_(pa.list_(F32)), n=I8)),
        pa.list_(struct(a=pa.list_(pa.list_(F64)), n=WIDER, more=TEXT)),
        [[{"a": [SINGLE, [], None], "n": 1}, None, {"a": None, "n": None}], [], None],
    ),
    (pa.map_(TEXT, F32), pa.map_(TEXT, F64), [[("k", SINGLE[0]), ("l", None)], [], None]),
    (pa.map_(I8, NULL), pa.map_(DEC, TEXT), [[(1, None), (2, None)], [], None]),
    (pa.map_(I64, struct(a=I8)), pa.map_(F64, struct(a=I8, b=I8)), [[(2**53, {"a": 1})], None]),
]


GROUPS = {"numbers": NUMBERS, "times": TIMES, "nulls": NOTHING, "lists": LISTS, "json": JSON}


def wide(key: str, kinds: list[pa.DataType], values: list[list[Any]]) -> pa.RecordBatch:
    """Make one object's rows with a column of each type; nulls fill up short ones."""
    most = max(map(len, values)) + 1
    columns = [
        pa.array([*each, *[None] * (most - len(each))], kind)
        for kind, each in zip(kinds, values, strict=True)
    ]
    return rows_of(key, **{f"c{number}": each for number, each in enumerate(columns)})


@pytest.mark.thorough
@pytest.mark.parametrize("group", GROUPS)
def test_stored_values_are_the_same_in_the_new_type(
    destination: PostgresDestination, group: str
) -> None:
    """Rows of other objects stay, those of an overwritten one go, in the commit that widens."""
    old, new, values = (list(each) for each in zip(*GROUPS[group], strict=True))  # type: ignore[misc]
    put_into(destination, *((o, wide(o.key, old, values)) for o in (A, B)))
    backwards = [list(reversed(each)) for each in values]
    put_into(destination, *((o, wide(o.key, new, backwards)) for o in (A2, C)))
    with destination.read("orders", None) as reader:
        table = reader.read_all()
    assert table.schema == wide("", new, values).schema
    expected = {A.key: backwards, B.key: values, C.key: backwards}
    for key, each in expected.items():
        kept = table.filter(pc.equal(table["_s3_key"], key))
        for name, column in kept.to_pydict().items():  # repr tells -0.0 from 0.0
            assert (name, repr(column)) == (name, repr(wide(key, new, each)[name].to_pylist()))
    state = destination.state(OWNER)
    assert (state.rows, state.ledger.rows) == (len(table), len(table))
    assert state.schema == table.schema
    assert state.schema_key == C.key


def test_columns_are_added_and_the_order_of_the_rows_columns_does_not_matter(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """New columns are null in stored rows; values go into columns by name."""
    put_into(destination, (A, rows_of(A.key, x=ints(1), y=ints(2))))
    key = pa.array([B.key])
    other = {"new": ints(3), "y": doubles(2.5), "_s3_key": key, "b": ints(4), "x": ints(5)}
    put_into(destination, (B, pa.record_batch(other)))
    sql = 'SELECT x, y, "new", b FROM orders ORDER BY x'
    assert place.run(sql) == [(1, 2.0, None, None), (5, 2.5, 3, 4)]
    assert column_of(destination, "new") == {A.key: [None], B.key: [3]}
    assert [name for name, *_ in versions(place)] == [1, 2]
    put_into(destination, (C, pa.record_batch(other).select(["x", "b", "y", "new", "_s3_key"])))
    assert len(versions(place)) == 2


def test_each_change_is_a_version_with_the_key_it_came_with(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """The first schema is version 1; a checkpoint of the same schema writes none."""
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        put(writer, (A, rows_of(A.key, x=ints(1))))
        put(writer, (B, rows_of(B.key, x=doubles(1.5))))
        put(writer, (C, rows_of(C.key, x=doubles(2.5))))
    assert versions(place) == [
        (1, ["x: int64", "_s3_key: string"], A.key),
        (2, ["x: double", "_s3_key: string"], B.key),
    ]
    assert destination.state(OWNER).schema_key == B.key


# What is refused


@pytest.mark.thorough
@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1])
@pytest.mark.parametrize("shape", ["x", "list", "struct"])
def test_a_stored_integer_without_an_equal_is_told(
    place: PostgresPlace, destination: PostgresDestination, value: int, shape: str
) -> None:
    """PostgreSQL would round it in silence. Nothing changes, and the writer goes on."""
    kinds = {"x": (I64, F64), "list": (pa.list_(I64), pa.list_(F64))}
    old, new = kinds.get(shape, (struct(a=I64), struct(a=F64)))
    wrapped = {"x": value, "list": [1, None, value], "struct": {"a": value}}[shape]
    put_into(destination, (A, rows_of(A.key, x=pa.array([None, wrapped], old))))
    before = whole(place)
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        with pytest.raises(SchemaMismatchError, match=rf"'x'.*{value}.*stored already"):
            put(writer, (B, rows_of(B.key, x=pa.nulls(1, new))))
        assert whole(place) == before
        put(writer, (B, rows_of(B.key, x=pa.nulls(1, old))))
    assert column_of(destination) == {A.key: [None, wrapped], B.key: [None]}


@pytest.mark.thorough
@pytest.mark.parametrize("is_list", [False, True])
def test_a_stored_time_without_an_equal_is_told(
    destination: PostgresDestination, *, is_list: bool
) -> None:
    """Nanoseconds end in the year 2262; PostgreSQL stores both units alike, and reading failed."""
    old, new = pa.timestamp("us"), pa.timestamp("ns")
    far: Any = FAR
    if is_list:
        far, old, new = [None, FAR], pa.list_(old), pa.list_(new)
    put_into(destination, (A, rows_of(A.key, x=pa.array([far], old))))
    with pytest.raises(SchemaMismatchError, match=r"'x'.*stored already"):
        put_into(destination, (B, rows_of(B.key, x=pa.nulls(1, new))))
    assert column_of(destination) == {A.key: [far]}


def whole(place: PostgresPlace) -> list[Any]:
    """Return everything that a commit may change."""
    columns = (
        "SELECT attname::text, atttypid::regtype::text FROM pg_attribute "
        "WHERE attrelid = 'orders'::regclass AND attnum > 0 ORDER BY attnum"
    )
    tables = ["orders", "_s3pq_objects", "_s3pq_tables", "_s3pq_schemas"]
    texts = [f"SELECT t::text FROM {name} AS t ORDER BY 1" for name in tables]
    functions = "SELECT count(*) FROM pg_proc WHERE proname LIKE '@_s3pq%' ESCAPE '@'"
    return [place.run(sql) for sql in (columns, *texts, functions)]


@pytest.mark.thorough
def test_an_error_while_rows_stream_undoes_the_change(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """Table, ledger and history are as they were; the same session can go on."""
    put_into(destination, (A, rows_of(A.key, x=ints(1), j=pa.array([{"f": 1}], struct(f=F32)))))
    before = whole(place)
    wider = rows_of(B.key, x=doubles(1.5), j=pa.array([{"f": 0.1}], struct(f=F64)), new=ints(1))
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        with pytest.raises(BROKEN):
            writer.commit(stream(wider, break_at=1), schema_key=B.key, seal=sealed)
        assert whole(place) == before
        put(writer, (B, wider))
    assert column_of(destination) == {A.key: [1.0], B.key: [1.5]}
    assert column_of(destination, "j") == {A.key: [{"f": 1.0}], B.key: [{"f": 0.1}]}


def test_a_view_is_named_and_stays(place: PostgresPlace, destination: PostgresDestination) -> None:
    """The server does not change a column that a view uses; nobody's view is dropped for it."""
    put_into(destination, (A, rows_of(A.key, x=ints(1), y=ints(1))))
    place.run('CREATE VIEW "Seen" AS SELECT x + 1 AS n FROM orders')
    place.run("CREATE MATERIALIZED VIEW kept AS SELECT x FROM orders")
    place.run("CREATE VIEW harmless AS SELECT y FROM orders")
    place.run("CREATE INDEX by_x ON orders (x)")
    before = whole(place)
    wider = rows_of(B.key, x=doubles(1.5), y=ints(1), new=ints(1))
    said = r"'x'.*'orders'.*way: materialized view kept, view \"Seen\" \(.*Drop or change"
    with pytest.raises(DestinationDeniedError, match=said):
        put_into(destination, (B, wider))
    assert whole(place) == before
    put_into(destination, (C, rows_of(C.key, x=ints(3), y=ints(1), new=ints(1))))
    assert place.run('SELECT n FROM "Seen" ORDER BY 1') == [(2,), (4,)]  # a new column is no harm
    place.run('DROP VIEW "Seen"')
    place.run("DROP MATERIALIZED VIEW kept")
    put_into(destination, (B, wider))
    assert column_of(destination) == {A.key: [1.0], B.key: [1.5], C.key: [3.0]}


def test_a_generated_column_is_named(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """A column that is computed from it is in the way of a type, too."""
    put_into(destination, (A, rows_of(A.key, x=ints(1))))
    place.run("ALTER TABLE orders ADD COLUMN twice bigint GENERATED ALWAYS AS (2 * x) STORED")
    with pytest.raises(DestinationDeniedError, match="column twice"):
        put_into(destination, (B, rows_of(B.key, x=doubles(1.5))))


def test_an_index_is_built_again(place: PostgresPlace, destination: PostgresDestination) -> None:
    """PostgreSQL builds indexes anew for the new type."""
    put_into(destination, (A, rows_of(A.key, x=ints(1))))
    place.run("CREATE UNIQUE INDEX by_x ON orders (x, _s3_key)")
    put_into(destination, (B, rows_of(B.key, x=doubles(1.5))))
    assert place.run("SELECT count(*) FROM pg_indexes WHERE indexname = 'by_x'") == [(1,)]
    assert column_of(destination) == {A.key: [1.0], B.key: [1.5]}


@pytest.mark.thorough
def test_an_index_that_is_not_for_the_new_type_is_named(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """The expression of an index may have no equal for the new type."""
    put_into(destination, (A, rows_of(A.key, x=ints(1))))
    place.run("CREATE INDEX odd ON orders ((x & 1))")
    with pytest.raises(DestinationDeniedError, match="way: index odd"):
        put_into(destination, (B, rows_of(B.key, x=doubles(1.5))))
    assert place.stored_type("orders", "x") == "bigint"


def test_a_users_column_of_the_name_is_not_taken(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """Its values are somebody else's."""
    put_into(destination, (A, rows_of(A.key, x=ints(1))))
    place.run("ALTER TABLE orders ADD COLUMN new bigint DEFAULT 7")
    with pytest.raises(UnsupportedSchemaError, match=r"'new'.*somebody added.*Rename or drop"):
        put_into(destination, (B, rows_of(B.key, x=ints(1), new=ints(1))))
    assert place.run("SELECT new FROM orders") == [(7,)]


# Refreshes


@pytest.mark.parametrize("is_new", [False, True])
def test_a_refresh_grows_its_table(destination: PostgresDestination, *, is_new: bool) -> None:
    """Rows of its own earlier checkpoints are widened, and replaced where they are overwritten."""
    put_into(destination, (C, rows_of(C.key, **{"other" if is_new else "x": ints(9)})))
    with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
        put(writer, (A, rows_of(A.key, x=ints(1))), (B, rows_of(B.key, x=ints(2))))
        put(writer, (A2, rows_of(A.key, x=doubles(1.5, 2.5))))
        put(writer, (C, rows_of(C.key, x=doubles(3.5))))
        put(writer, (A3, rows_of(A.key, x=doubles(4.5))))
        put(writer, (B2, rows_of(B.key, x=doubles(5.5), new=ints(1))))
        assert writer.state().rows == 3
    assert column_of(destination) == {A.key: [4.5], B.key: [5.5], C.key: [3.5]}
    assert column_of(destination, "new") == {A.key: [None], B.key: [1], C.key: [None]}
    state = destination.state(OWNER)
    assert (state.rows, state.ledger.rows) == (3, 3)


@pytest.mark.thorough
def test_a_refresh_that_grows_keeps_what_people_gave_the_table(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """The table that was emptied is the one that is altered."""
    put_into(destination, (A, rows_of(A.key, x=ints(1))))
    place.run("GRANT SELECT ON orders TO public")
    place.run("CREATE VIEW seen AS SELECT count(*) AS n FROM orders")
    with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
        put(writer, (A, rows_of(A.key, x=ints(1))))
        put(writer, (B, rows_of(B.key, x=doubles(1.5))))
    assert place.run("SELECT n FROM seen") == [(2,)]


@pytest.mark.thorough
def test_a_refresh_that_fails_leaves_what_was(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """Types, rows, ledger and history are those of before."""
    put_into(destination, (A, rows_of(A.key, x=ints(2**53 + 1))))
    before = whole(place)
    wider = rows_of(B.key, x=doubles(1.5))

    def refresh(first: int) -> None:
        with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
            put(writer, (A, rows_of(A.key, x=ints(first))))
            put(writer, (B, wider))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        refresh(1)
    assert whole(place) == before
    with pytest.raises(SchemaMismatchError, match="stored already"):
        refresh(2**53 + 1)
    assert whole(place) == before


@pytest.mark.thorough
def test_the_history_outlives_a_refresh(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """A refresh to other columns is the next version, one to the same columns is none."""
    put_into(destination, (A, rows_of(A.key, x=ints(1))))
    put_into(destination, (B, rows_of(B.key, x=ints(1))), refresh=True)
    put_into(destination, (C, rows_of(C.key, y=ints(1))), refresh=True)
    assert versions(place) == [
        (1, ["x: int64", "_s3_key: string"], A.key),
        (2, ["y: int64", "_s3_key: string"], C.key),
    ]


@pytest.mark.thorough
def test_rows_of_an_object_that_was_cut_go_in_the_commit_that_widens(
    destination: PostgresDestination,
) -> None:
    """With append, rows go where an object comes with its e_tag and another size."""
    put_into(destination, (A, rows_of(A.key, x=ints(1))), (B, rows_of(B.key, x=ints(2))))
    again = replace(A, size=A.size + 1)
    put_into(destination, (again, rows_of(A.key, x=doubles(1.5))), append=True)
    assert column_of(destination) == {A.key: [1.5], B.key: [2.0]}


# What others see


@pytest.mark.thorough
def test_a_reader_that_has_begun_is_waited_for(place: PostgresPlace) -> None:
    """The wait ends with the timeout, and the error says who reads."""
    destination = PostgresDestination(place.url, lock_timeout_seconds=0.3)
    put_into(destination, (A, rows_of(A.key, x=ints(1))))
    wider = rows_of(B.key, x=doubles(1.5))
    said = r"somebody reads the table.*server process \d+ of .*lock_timeout_seconds"
    with destination.read("orders", ["x"]) as reader:
        before = whole(place)
        with pytest.raises(DestinationLockedError, match=said):
            put_into(destination, (B, wider))
        assert whole(place) == before
        assert reader.read_all()["x"].to_pylist() == [1]
    put_into(destination, (B, wider))
    assert column_of(destination) == {A.key: [1.0], B.key: [1.5]}


@pytest.mark.thorough
def test_a_reader_that_comes_later_waits_and_sees_the_new_table(
    place: PostgresPlace, destination: PostgresDestination
) -> None:
    """Its snapshot is taken when it has its lock, so it never sees a table without rows."""
    put_into(destination, (A, rows_of(A.key, x=ints(1))))
    found: list[Any] = []

    def read() -> None:
        found.append(destination.state(OWNER).rows)
        found.append(destination.audit(OWNER).rows_by_key["rows"].sum())
        found.append(column_of(destination))

    thread = threading.Thread(target=read)

    def seal() -> Any:
        thread.start()
        waiting = (
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            f"AND datname = '{place.database}'"
        )
        until = again_while(lambda found: found == [(False,)], stop_after_delay(30))
        until(lambda: place.run(waiting))
        return sealed(loaded(B, 1))

    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        wider = rows_of(B.key, x=doubles(1.5))
        writer.commit(stream(wider), schema_key=B.key, seal=seal)
    thread.join()
    assert found == [2, 2, {A.key: [1.0], B.key: [1.5]}]


# Format 1

OLD_LEDGER = """
    CREATE TABLE _s3pq_objects (
        table_name text NOT NULL, bucket text NOT NULL, key text NOT NULL, e_tag text,
        size bigint NOT NULL, last_modified timestamptz NOT NULL, "rows" bigint NOT NULL,
        status text NOT NULL, reason text, run_id text NOT NULL, loaded_at timestamptz NOT NULL
    );
    CREATE UNIQUE INDEX _s3pq_objects_once ON _s3pq_objects
        (table_name, key, status, coalesce(e_tag, ''), size, last_modified);
    CREATE TABLE _s3pq_tables (
        table_name text PRIMARY KEY, bucket text NOT NULL, prefix text NOT NULL,
        arrow_schema bytea, schema_key text, fingerprint text, "cursor" timestamptz,
        updated_at timestamptz NOT NULL, format_version integer NOT NULL
    );
"""
"""The ledger as the release that had format 1 made it."""


@pytest.fixture
def old(place: PostgresPlace) -> PostgresPlace:
    """A database of format 1, with a loaded table and one whose objects are all quarantined."""
    schema = rows_of(A.key, x=ints(1)).schema
    with psycopg.connect(place.url) as connection:
        connection.execute(OLD_LEDGER)
        connection.execute("CREATE TABLE orders (x bigint, _s3_key text)")
        connection.execute("INSERT INTO orders VALUES (1, %s)", [A.key])
        connection.execute(
            "INSERT INTO _s3pq_objects VALUES ('orders', 'lake', %s, %s, %s, %s, 1, 'loaded', "
            "NULL, 'old', now())",
            [A.key, A.e_tag, A.size, A.last_modified],
        )
        connection.execute(
            "INSERT INTO _s3pq_tables VALUES ('orders', 'lake', 'orders/', %s, %s, 'f', NULL, "
            "%s, 1), ('none', 'lake', 'none/', NULL, NULL, NULL, NULL, now(), 1)",
            [schemas.to_bytes(schema), A.key, NOON],
        )
    return place


def formats(place: PostgresPlace) -> list[Any]:
    """Return the format of each table in the ledger."""
    return [n for (n,) in place.run("SELECT format_version FROM _s3pq_tables ORDER BY table_name")]


def test_format_1_is_read_and_not_touched(
    old: PostgresPlace, destination: PostgresDestination
) -> None:
    """State, audit and rows are read without a write."""
    assert destination.state(OWNER).ledger.holds(A)
    assert destination.audit(OWNER).rows_by_key.rows() == [(A.key, 1)]
    assert column_of(destination) == {A.key: [1]}
    check_undo_is_refused(destination, OWNER, "old")
    assert old.tables() == {"orders", "_s3pq_objects", "_s3pq_tables"}
    assert formats(old) == [1, 1]


def test_format_1_is_adopted_with_the_first_write(
    old: PostgresPlace, destination: PostgresDestination
) -> None:
    """Every table that has a schema gets version 1; nothing is loaded again."""
    owner = replace(OWNER, layout="hash")
    put_into(destination, (B, rows_of(B.key, x=doubles(1.5))), owner=owner)
    assert formats(old) == [FORMAT_VERSION] * 2
    assert versions(old) == [
        (1, ["x: int64", "_s3_key: string"], A.key),
        (2, ["x: double", "_s3_key: string"], B.key),
    ]
    sql = "SELECT count(*), min(changed_at) FROM _s3pq_schemas"
    assert old.run(sql) == [(2, NOON)]
    assert old.run("SELECT table_name, layout FROM _s3pq_tables ORDER BY 1") == [
        ("none", None),
        ("orders", "hash"),
    ]
    assert column_of(destination) == {A.key: [1.0], B.key: [1.5]}
    assert destination.state(owner).ledger.holds(A)
    check_undo_is_refused(destination, OWNER, "old")


@pytest.mark.thorough
def test_a_table_that_an_older_release_adds_is_adopted_too(
    old: PostgresPlace, destination: PostgresDestination
) -> None:
    """A ledger of this format that is empty is no reason for an older release not to write."""
    saved = "UPDATE _s3pq_tables SET format_version = {}, table_name = 'orders'"
    put_into(destination, (B, rows_of(B.key, x=ints(2))))
    old.run("DELETE FROM _s3pq_tables WHERE table_name = 'none'")
    old.run("DELETE FROM _s3pq_schemas")
    old.run(saved.format(1))
    put_into(destination, (C, rows_of(C.key, x=ints(3))))
    assert formats(old) == [FORMAT_VERSION]
    assert len(versions(old)) == 1


@pytest.mark.thorough
def test_two_writers_adopt_once(old: PostgresPlace, destination: PostgresDestination) -> None:
    """The tables of a namespace are loaded side by side, from the first write on."""
    owners = [Owner(f"t{n}", "lake", f"t{n}/") for n in range(4)]
    key = rows_of(A.key, x=ints(1))
    threads = [
        threading.Thread(target=put_into, args=(destination, (A, key)), kwargs={"owner": each})
        for each in owners
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert formats(old) == [FORMAT_VERSION] * 6
    assert old.run("SELECT count(*) FROM _s3pq_schemas") == [(5,)]


@pytest.mark.thorough
def test_who_may_only_write_rows_needs_no_more_once_it_is_adopted(old: PostgresPlace) -> None:
    """Adoption takes the ledger's owner; writes of known columns take rights on rows."""
    name = f"writer_{uuid.uuid4().hex}"
    with role(name, "secret"):
        try:
            old.run(f"GRANT USAGE ON SCHEMA public TO {name}")
            rights = "SELECT, INSERT, UPDATE, DELETE"
            old.run(f"GRANT {rights} ON orders, _s3pq_objects, _s3pq_tables TO {name}")
            destination = PostgresDestination(url_of(old.database, f"{name}:secret"))
            with pytest.raises(DestinationDeniedError, match="make it the owner"):
                put_into(destination, (B, rows_of(B.key, x=ints(2))))
            assert formats(old) == [1, 1]
            with PostgresDestination(old.url).write(OWNER, run_id="r", append=False, refresh=False):
                pass
            put_into(destination, (B, rows_of(B.key, x=ints(2))))
            assert column_of(destination) == {A.key: [1], B.key: [2]}
            with pytest.raises(DestinationError, match="must be owner of table orders"):
                put_into(destination, (C, rows_of(C.key, x=doubles(1.5))))
        finally:
            old.run(f"DROP OWNED BY {name}")
