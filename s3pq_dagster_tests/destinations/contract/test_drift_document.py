"""What the tables of `docs/drift.md` say holds in each destination."""

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import DestinationError, SchemaMismatchError, UnsupportedSchemaError
from s3pq_dagster.reading.added_columns import ID_COLUMN
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load, owner
from s3pq_dagster_tests.destinations.contract.parameters import ONE_OF_EACH_KIND
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.destinations.places.duckdb import DuckDBPlace
from s3pq_dagster_tests.destinations.tables import rows
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.pages import drift_modes, joins, value_of

RESCUED = "_s3pq_rescued"
FAILS: dict[str, list[Any]] = {"id": [1]}
"""What an error leaves: the object that was loaded before, and nothing of the checkpoint."""
HALF = pa.float16()


@dataclass(frozen=True)
class Difference:
    """Objects that differ from those before, and what becomes of them by what the page says."""

    objects: list[dict[str, list[Any]]]
    outcomes: dict[str, dict[str, list[Any]]]
    """The values of columns, in the order of keys; ``FAILS`` where the load fails."""


INT16, INT32, INT64 = pa.int16(), pa.int32(), pa.int64()
DIFFERENCES = {
    "new column": Difference(
        [{"id": [3], "x": pa.array([3], INT32), "y": ["new"]}],
        {
            "error": FAILS,
            "added, null in stored rows": {"x": [1, 2, 3], "y": [None, None, "new"]},
            "JSON in `_s3pq_rescued`": {"x": [1, 2, 3], RESCUED: [None, None, {"y": "new"}]},
        },
    ),
    "missing column": Difference(
        [{"id": [3]}],
        {"error": FAILS, "null": {"x": [1, 2, None]}},
    ),
    "another type, and one that holds both": Difference(
        [
            {"id": [3], "x": pa.array([3], INT16)},
            {"id": [4], "x": pa.array([2**40], INT64)},
        ],
        {
            "error": FAILS,
            "the column grows, or the values are cast": {"x": [1, 2, 3, 2**40]},
            "cast where exact, else null and JSON": {
                "x": [1, 2, 3, None],
                RESCUED: [None, None, None, {"x": 2**40}],
            },
        },
    ),
    "another type, and none holds both": Difference(
        [{"id": [3], "x": ["text"]}],
        {
            "error; nothing of the checkpoint is written": FAILS,
            "the same error": FAILS,
            "null and JSON": {"x": [1, 2, None], RESCUED: [None, None, {"x": "text"}]},
        },
    ),
    "a name alike but for the case of letters": Difference(
        [{"id": [3], "X": pa.array([3], INT32)}],
        {
            "error": FAILS,
            "the same column, spelt as first": {"x": [1, 2, 3]},
            "the same": {"x": [1, 2, 3]},
        },
    ),
}


def values(destination: Destination, *names: str) -> list[list[Any]]:
    """Return each column's values, in the order of keys; JSON as what it says."""
    found = rows(destination, "t", ["_s3_key", *names])
    found.sort(key=lambda row: row["_s3_key"])
    return [[_parsed(name, row[name]) for row in found] for name in names]


def _parsed(name: str, value: Any) -> Any:
    return json.loads(value) if name == RESCUED and value is not None else value


def columns(destination: Destination, bucket: Bucket) -> dict[str, pa.DataType]:
    """Return the types of the table's columns but for ours."""
    schema = destination.state(owner(bucket)).schema
    assert schema is not None
    return {each.name: each.type for each in schema if not each.name.startswith("_")}


def test_each_difference_of_the_page_is_made() -> None:
    """A row of the table of modes is made here, and there is none beside them."""
    assert {difference for difference, _ in drift_modes()} == set(DIFFERENCES)


@pytest.mark.first_case
@ONE_OF_EACH_KIND
@pytest.mark.parametrize("mode", ["strict", "evolve", "rescue"])
@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_mode_does_what_the_page_says(
    name: str, mode: str, bucket: Bucket, destination: Destination
) -> None:
    """Of each kind of difference; what is stored keeps its ids and entries in any case."""
    bucket.put("t/1", pa.table({"id": [1], "x": pa.array([1], INT32)}))
    load(bucket, destination, schema_mode=mode)
    stored, entries = values(destination, ID_COLUMN), _entries(destination, bucket)
    bucket.put("t/2", pa.table({"id": [2], "x": pa.array([2], INT32)}))
    for number, each in enumerate(DIFFERENCES[name].objects, start=3):
        bucket.put(f"t/{number}", pa.table(each))
    expected = DIFFERENCES[name].outcomes[drift_modes()[name, mode]]
    if expected is FAILS:
        with pytest.raises(SchemaMismatchError):
            load(bucket, destination, schema_mode=mode)
    else:
        load(bucket, destination, schema_mode=mode)
        assert load(bucket, destination, schema_mode=mode).objects == 0
    assert values(destination, *expected) == list(expected.values())
    there = dict.fromkeys(["id", "x", *expected])
    assert list(columns(destination, bucket)) == [name for name in there if name != RESCUED]
    assert values(destination, ID_COLUMN)[0][:1] == stored[0]
    assert _entries(destination, bucket)[:1] == entries


def _entries(destination: Destination, bucket: Bucket) -> list[Any]:
    ledger = destination.state(owner(bucket)).ledger.frame
    return ledger.sort("key").rows()


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("mode", first_of(["strict", "evolve", "rescue"]))
def test_the_order_of_columns_does_not_matter(
    mode: str, bucket: Bucket, destination: Destination
) -> None:
    """In any mode: rows go by the columns' names."""
    bucket.put("t/1", pa.table({"id": [1], "x": ["a"]}))
    load(bucket, destination, schema_mode=mode)
    bucket.put("t/2", pa.table({"x": ["b"], "id": [2]}))
    load(bucket, destination, schema_mode=mode)
    assert values(destination, "id", "x") == [[1, 2], ["a", "b"]]


def pairs(*, joined: bool) -> dict[str, tuple[pa.DataType, pa.DataType, pa.DataType | None]]:
    """Return the pairs of the page either way round, each under a column's name."""
    both = [
        each for one, other, kind in joins() for each in ((one, other, kind), (other, one, kind))
    ]
    named = {f"x{number:02}": each for number, each in enumerate(both)}
    return {name: each for name, each in named.items() if (each[2] is not None) is joined}


@ONE_OF_EACH_KIND
def test_two_types_become_the_one_of_the_page(bucket: Bucket, destination: Destination) -> None:
    """A value of either, whichever comes first, is the same value in the type that holds both."""
    drifting = {name: pair for name, pair in pairs(joined=True).items() if pair[0] != HALF}
    assert drifting
    for number in (0, 1):
        made = {name: value_of(pair[number]) for name, pair in drifting.items()}
        bucket.put(f"t/{number}", pa.table(made))
        load(bucket, destination, schema_mode="evolve")
    assert columns(destination, bucket) == {name: kind for name, (_, _, kind) in drifting.items()}
    for name, (first, second) in zip(drifting, values(destination, *drifting), strict=True):
        if not any(map(pa.types.is_null, drifting[name])):
            assert first == second, name
        assert (first, second) != (None, None), name


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("way", [0, 1], ids=["one first", "the other first"])
def test_two_types_that_none_holds_are_an_error(
    way: int, bucket: Bucket, destination: Destination
) -> None:
    """The error has each pair that the page says has none, and the first row stays."""
    drifting = dict(list(pairs(joined=False).items())[way::2])  # an error names ten columns
    assert drifting
    for number in (0, 1):
        made = {name: value_of(pair[number]) for name, pair in drifting.items()}
        bucket.put(f"t/{number}", pa.table({"id": [number]} | made))
        if number == 0:
            load(bucket, destination, schema_mode="evolve")
    with pytest.raises(SchemaMismatchError) as caught:
        load(bucket, destination, schema_mode="evolve")
    for name, (one, other, _) in drifting.items():
        assert f"column {name!r}: no type holds both {one} and {other} unchanged" in str(
            caught.value
        )
    assert values(destination, "id") == [[0]]


@ONE_OF_EACH_KIND
@pytest.mark.parametrize(
    ("kind", "other", "refusing"),
    [
        (HALF, pa.float32(), "duckdb"),
        (pa.list_(pa.null()), pa.list_(pa.string()), "delta"),
    ],
    ids=str,
)
def test_a_type_that_a_destination_lacks_may_be_part_of_another(
    kind: pa.DataType, other: pa.DataType, refusing: str, bucket: Bucket, place: Place
) -> None:
    """Alone it is refused where the page says so, and nowhere else; with the other it loads."""
    destination = place.open()
    bucket.put("t/1", pa.table({"id": [1], "x": pa.array([None], kind)}))
    if isinstance(place, PLACES[refusing]):
        with pytest.raises(UnsupportedSchemaError, match="column 'x' has"):
            load(bucket, destination, schema_mode="evolve")
    else:
        load(bucket, destination, schema_mode="evolve")
    bucket.put("t/2", pa.table({"id": [2], "x": pa.array([None], other)}))
    load(bucket, destination, schema_mode="evolve")
    assert columns(destination, bucket)["x"] == other
    assert values(destination, "id") == [[1, 2]]


YEAR_9999 = pa.array([dt.datetime(9999, 12, 31)], pa.timestamp("us"))  # noqa: DTZ001


@ONE_OF_EACH_KIND
def test_a_year_that_nanoseconds_do_not_reach_keeps_its_column(
    bucket: Bucket, destination: Destination
) -> None:
    """No object with nanoseconds joins the table; the error says which value stands in the way."""
    bucket.put("t/1", pa.table({"x": YEAR_9999}))
    load(bucket, destination, schema_mode="evolve")
    bucket.put("t/2", pa.table({"x": pa.array([1000], pa.timestamp("ns"))}))
    with pytest.raises(SchemaMismatchError, match="column 'x' has a value that timestamp"):
        load(bucket, destination, schema_mode="evolve")
    assert columns(destination, bucket) == {"x": pa.timestamp("us")}
    assert len(values(destination, "x")[0]) == 1


@pytest.mark.parametrize("place", ["duckdb"], indirect=True)
@pytest.mark.parametrize("column", ["id", "x"])
def test_an_index_of_duckdb_keeps_a_type_and_no_new_column(
    column: str, bucket: Bucket, place: DuckDBPlace
) -> None:
    """A column may come; the error of another type names the index, without which it loads."""
    destination = place.open()
    bucket.put("t/1", pa.table({"id": [1], "x": pa.array([1], INT32)}))
    load(bucket, destination, schema_mode="evolve")
    place.run(f"CREATE INDEX of_somebody ON t ({column})")
    bucket.put("t/2", pa.table({"id": [2], "x": pa.array([2], INT32), "y": ["new"]}))
    load(bucket, destination, schema_mode="evolve")
    assert values(destination, "x", "y") == [[1, 2], [None, "new"]]
    bucket.put("t/3", pa.table({"id": [3], "x": [2**40], "y": ["new"]}))
    with pytest.raises(DestinationError, match="index 'of_somebody' on it is in the way"):
        load(bucket, destination, schema_mode="evolve")
    assert values(destination, "x") == [[1, 2]]
    place.run("DROP INDEX of_somebody")
    load(bucket, destination, schema_mode="evolve")
    place.run(f"CREATE INDEX of_somebody ON t ({column})")
    assert values(destination, "x") == [[1, 2, 2**40]]


@ONE_OF_EACH_KIND
def test_json_leaves_with_a_full_refresh_and_not_before(
    bucket: Bucket, destination: Destination
) -> None:
    """`rescue` adds its column to a table of another mode, `evolve` leaves it and its values."""
    bucket.put("t/1", pa.table({"x": [1]}))
    load(bucket, destination, schema_mode="strict")
    assert list(columns(destination, bucket)) == ["x"]
    bucket.put("t/2", pa.table({"x": [2], "y": ["b"]}))
    load(bucket, destination, schema_mode="rescue")
    bucket.put("t/3", pa.table({"x": [3], "y": ["c"]}))
    load(bucket, destination, schema_mode="evolve")
    rescued = [None, {"y": "b"}, None]
    assert values(destination, "y", RESCUED) == [[None, None, "c"], rescued]
    load(bucket, destination, schema_mode="evolve", options={"full_refresh": True})
    assert values(destination, "x", "y") == [[1, 2, 3], [None, "b", "c"]]


@ONE_OF_EACH_KIND
def test_what_becomes_json_reads_as_the_page_says(bucket: Bucket, destination: Destination) -> None:
    """Each kind of value has one form; a column of nulls takes the first type that comes."""
    bucket.put("t/1", pa.table({"id": [1], "nulls": pa.nulls(1)}))
    load(bucket, destination, schema_mode="rescue")
    made = {
        "more": pa.array([float("inf")]),
        "less": pa.array([-float("inf")]),
        "none": pa.nulls(1, pa.string()),
        "bytes": pa.array([b"\xff\x00"]),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        "day": pa.array([dt.date(2024, 1, 14)]),
        "whole": pa.array([2**53]),
    }
    bucket.put("t/2", pa.table({"id": [2], "nulls": [7]} | made))
    load(bucket, destination, schema_mode="rescue")
    assert columns(destination, bucket) == {"id": INT64, "nulls": INT64}
    assert values(destination, "nulls", RESCUED) == [
        [None, 7],
        [
            None,
            {
                "more": "Infinity",
                "less": "-Infinity",
                "bytes": "/wA=",
                "map": [["a", 1]],
                "day": "2024-01-14",
                "whole": 2**53,
            },
        ],
    ]
