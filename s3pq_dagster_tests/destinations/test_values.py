"""Values of other programs' files, from the bucket into each destination and back."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import UnsupportedSchemaError
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster_tests.buckets import Bucket, parquet
from s3pq_dagster_tests.destinations.logical_columns import LOGICAL, Refusal
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.malformed.annotated import annotated
from s3pq_dagster_tests.malformed.optional_keys import entries, with_optional_keys
from s3pq_dagster_tests.unit.decoding.test_int96 import FOR_EVER, LONG_AGO, int96
from s3pq_dagster_tests.unit.made import Lines, listed, logger, opened, spec

US, NS = pa.timestamp("us"), pa.timestamp("ns")
MOMENT = dt.datetime(2024, 2, 14, 12, 0, 0, 123_456)  # noqa: DTZ001 - INT96 has no zone


@pytest.fixture(params=first_of(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A new place of each kind of destination."""
    found: Place = PLACES[request.param](tmp_path)
    yield found
    found.discard()


def load(bucket: Bucket, place: Place, **options: Any) -> LoadReport:
    """Load what is pending of a table into a destination, as a run does."""
    with opened(bucket) as store:
        plan = LoadPlan(
            spec=spec(**bucket.spec),
            owner=Owner("t", bucket.name, "t/"),
            listing=listed(store, "t/"),
            options=LoadOptions(**options),
        )
        return TableLoad(plan=plan, store=store, log=logger(Lines()), run_id="run").into(
            place.open()
        )


def column_of(place: Place, name: str = "c") -> list[Any]:
    """Return a column's values in the order of keys, as an asset downstream gets them."""
    with place.open().read("t", ["_s3_key", name]) as reader:
        rows = reader.read_all().to_pylist()
    return [row[name] for row in sorted(rows, key=lambda row: row["_s3_key"])]


def reasons(bucket: Bucket, place: Place) -> dict[str, str]:
    """Return why objects are quarantined, by key."""
    frame = place.open().state(Owner("t", bucket.name, "t/")).ledger.frame
    return {
        key: reason
        for key, status, reason in frame.select("key", "status", "reason").rows()
        if status == "quarantined"
    }


def test_int96_is_stored_as_the_moment_in_the_file(bucket: Bucket, place: Place) -> None:
    """Far from 1970 too, at the top and in lists, structs and maps."""
    table = pa.table(
        {
            "c": pa.array([FOR_EVER, LONG_AGO, None], US),
            "list": pa.array([[FOR_EVER, None], [], None], pa.list_(US)),
            "struct": pa.array([{"at": LONG_AGO}, {"at": None}, None], pa.struct([("at", US)])),
            "map": pa.array([[(FOR_EVER, LONG_AGO)], [], None], pa.map_(US, US)),
        }
    )
    bucket.put("t/1.parquet", int96(table))
    assert load(bucket, place).rows == 3
    for name in table.column_names:
        assert column_of(place, name) == table[name].to_pylist()


@pytest.mark.first_case
@pytest.mark.parametrize("int96_first", [True, False])
def test_int96_and_microseconds_are_one_table(
    bucket: Bucket, place: Place, *, int96_first: bool
) -> None:
    """Whichever comes first, in one load or in two."""
    table = pa.table({"c": pa.array([MOMENT], US)})
    bodies = [int96(table), parquet(table)]
    bucket.put("t/1.parquet", bodies[not int96_first])
    bucket.put("t/2.parquet", bodies[int96_first])
    load(bucket, place)
    bucket.put("t/3.parquet", bodies[not int96_first])
    load(bucket, place)
    assert column_of(place) == [MOMENT] * 3


def test_a_column_of_nanoseconds_takes_int96_as_before(bucket: Bucket, place: Place) -> None:
    """What fits is loaded unchanged, what does not is quarantined by column and value."""
    bucket.put("t/1.parquet", pa.table({"c": pa.array([MOMENT], NS)}))
    load(bucket, place)
    bucket.put("t/2.parquet", int96(pa.table({"c": pa.array([LONG_AGO], US)})))
    bucket.put("t/3.parquet", int96(pa.table({"c": pa.array([MOMENT], US)})))
    load(bucket, place)
    with place.open().read("t", ["c"]) as reader:
        found = reader.read_all()["c"]
    assert (found.type, found.cast(US).to_pylist()) == (NS, [MOMENT] * 2)
    (reason,) = reasons(bucket, place).values()
    assert "'c'" in reason
    assert "1500-01-01T00:00:00.123456" in reason


def test_digits_beyond_microseconds_set_their_object_aside(bucket: Bucket, place: Place) -> None:
    """The others are loaded; the reason has column and value."""
    bucket.put("t/1.parquet", int96(pa.table({"c": pa.array([MOMENT], US)})))
    bucket.put("t/2.parquet", int96(pa.table({"c": pa.array([1], NS)})))
    bucket.put("t/3.parquet", int96(pa.table({"c": pa.array([MOMENT], US)})))
    report = load(bucket, place)
    assert (report.objects, report.quarantined_keys) == (2, ["t/2.parquet"])
    assert column_of(place) == [MOMENT] * 2
    assert "'c' has the INT96 timestamp 1970-01-01T00:00:00.000000001" in str(
        reasons(bucket, place)
    )


JSON_TYPES: dict[str, tuple[pa.DataType, Callable[[str], Any]]] = {
    "top": (pa.json_(), lambda text: text),
    "list": (pa.list_(pa.json_()), lambda text: [None, text]),
    "struct": (pa.struct([("x", pa.json_())]), lambda text: {"x": text}),
    "map": (pa.map_(pa.string(), pa.json_()), lambda text: [("k", text)]),
}


@pytest.mark.first_case
@pytest.mark.parametrize("depth", JSON_TYPES)
def test_json_that_is_none_sets_its_object_aside(bucket: Bucket, place: Place, depth: str) -> None:
    """At any depth; the others are loaded, and the reason has the column and the value's start."""
    kind, within = JSON_TYPES[depth]
    for number, text in enumerate(['{"a": [1]}', "plain words " * 20, "null"]):
        plain = pa.array([within(text)], schemas.storage_type(kind))
        column = schemas.conform_column(plain, kind)
        bucket.put(f"t/{number}.parquet", parquet(pa.table({"c": column})))
    assert load(bucket, place).quarantined_keys == ["t/1.parquet"]
    assert column_of(place) == [within('{"a": [1]}'), within("null")]
    (reason,) = reasons(bucket, place).values()
    assert "column 'c' is JSON by its type and has the text 'plain words plain" in reason
    assert len(reason) < 250


REFUSABLE = {"FLOAT16", "DECIMAL(39, 0) in 17 bytes", "VARIANT"}
"""What some destination refuses; ``docs/types.md`` says which."""


def test_columns_of_each_logical_type_come_back(bucket: Bucket, place: Place) -> None:
    """A column is what it is without the others; what the destination refuses is left out."""
    columns = {
        name: replace(column, name=name)
        for name, (column, value) in LOGICAL.items()
        if not isinstance(value, Refusal)
    }
    bucket.put("t/1.parquet", annotated(*columns.values()))
    try:
        load(bucket, place)
    except UnsupportedSchemaError as error:
        refused = [name for name in columns if f"column {name!r}" in str(error)]
        assert refused
        assert REFUSABLE.issuperset(refused)
        for name in refused:
            del columns[name]
        bucket.put("t/1.parquet", annotated(*columns.values()))
        load(bucket, place)
    for name in columns:
        assert column_of(place, name) == [LOGICAL[name][1]], name


@pytest.mark.first_case
@pytest.mark.parametrize(
    "name", [n for n, (_, value) in LOGICAL.items() if isinstance(value, Refusal)]
)
def test_a_column_that_cannot_be_read_sets_its_object_aside(
    bucket: Bucket, place: Place, name: str
) -> None:
    """The reason names the column; objects beside it are loaded."""
    column, words = LOGICAL[name]
    bucket.put("t/1.parquet", 3)
    bucket.put("t/2.parquet", annotated(column))
    assert load(bucket, place).rows == 3
    assert f"{words}" in reasons(bucket, place)["t/2.parquet"]


def test_a_map_with_optional_keys_is_a_map(bucket: Bucket, place: Place) -> None:
    """As Hive and Athena wrote it, of one table with other maps; a key that is null is refused."""
    kind = entries(pa.string(), pa.int64())
    value = [{"key": "a", "value": 1}, {"key": "b", "value": None}]
    poison = [{"key": None, "value": 1}]
    bucket.put("t/1.parquet", with_optional_keys(pa.table({"c": pa.array([value, None], kind)})))
    ordinary = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    bucket.put("t/2.parquet", pa.table({"c": ordinary}))
    bucket.put("t/3.parquet", with_optional_keys(pa.table({"c": pa.array([poison], kind)})))
    load(bucket, place)
    assert column_of(place) == [[("a", 1), ("b", None)], None, [("a", 1)]]
    assert reasons(bucket, place) == {"t/3.parquet": "column 'c' has a map with a key that is null"}
