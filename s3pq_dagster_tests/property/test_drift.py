"""Drifting objects: no value is lost, and neither order nor grouping matters."""

import base64
import datetime as dt
import itertools
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3pq_dagster import schemas
from s3pq_dagster.drift.fitting import RESCUE, conversion, fit
from s3pq_dagster.drift.rescued import RESCUED_COLUMN
from s3pq_dagster.errors import SchemaMismatchError, UnsupportedSchemaError
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load, owner
from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.property.test_any_type import ROWS, columns

MOST_EXACT = 2**53
_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}


@st.composite
def two_schemas(draw: st.DrawFn) -> tuple[pa.RecordBatch, pa.Schema]:
    """Draw rows of up to three columns, and a table that has some of their names."""
    own = {name: draw(columns()) for name in draw(st.sets(st.sampled_from("abC"), min_size=1))}
    batch = pa.record_batch(
        [
            schemas.conform_column(column, schemas.canonical_type(column.type))
            for column in own.values()
        ],
        names=list(own),
    )
    table = {name: draw(columns()).type for name in draw(st.sets(st.sampled_from("aBc")))}
    for name in draw(st.sets(st.sampled_from(sorted(own)))):
        table = {each: kind for each, kind in table.items() if each.lower() != name.lower()}
        table[name] = own[name].type
    return batch, schemas.canonical(pa.schema(list(table.items())))


def from_json(value: Any, kind: pa.DataType) -> Any:  # noqa: C901 - a line a type
    """Read a rescued value back, in the terms of :func:`shown`."""
    types = pa.types
    if value is None:
        return None
    if isinstance(kind, pa.JsonType):
        return value
    if isinstance(kind, pa.UuidType) or types.is_boolean(kind) or types.is_string(kind):
        return value
    if types.is_struct(kind):
        return [from_json(value[each.name], each.type) for each in kind]
    if types.is_map(kind):
        return [[from_json(k, kind.key_type), from_json(v, kind.item_type)] for k, v in value]
    if types.is_list(kind) or types.is_fixed_size_list(kind):
        return [from_json(each, kind.value_type) for each in value]
    if types.is_integer(kind):
        return int(value)
    if types.is_floating(kind):
        return repr(float(value))
    if types.is_decimal(kind):
        return Decimal(value)
    if types.is_binary(kind) or types.is_fixed_size_binary(kind):
        return base64.b64decode(value)
    return _time(value, kind)


def _time(text: str, kind: pa.DataType) -> int:
    """Count the units since the epoch, or midnight, in ISO 8601."""
    if pa.types.is_duration(kind):
        return int(Decimal(text.removeprefix("-").strip("PTS")) * 10**6) * (
            -1 if text.startswith("-") else 1
        )
    if pa.types.is_date(kind):
        return (dt.date.fromisoformat(text) - dt.date(1970, 1, 1)).days
    whole, _, part = text.removesuffix("Z").partition(".")
    assert text.endswith("Z") == (pa.types.is_timestamp(kind) and kind.tz is not None)
    day = f"{whole}" if "T" in whole else f"1970-01-01T{whole}"
    seconds = (dt.datetime.fromisoformat(day) - dt.datetime(1970, 1, 1)) // dt.timedelta(seconds=1)  # noqa: DTZ001
    places = {"s": 0, "ms": 3, "us": 6, "ns": 9}[kind.unit]
    return int(seconds * 10**places + int(part.ljust(places, "0") or 0))


def shown(column: pa.Array) -> Any:
    """Return values as Python has them, times as numbers, floats as text."""
    types, kind = pa.types, column.type
    if isinstance(kind, pa.UuidType):
        return [None if each is None else str(each) for each in column.to_pylist()]
    if isinstance(kind, pa.JsonType):
        return [None if each is None else each for each in column.storage.to_pylist()]
    if types.is_temporal(kind):
        bits = 32 if kind.bit_width == 32 else 64
        return column.cast(pa.int32() if bits == 32 else pa.int64()).to_pylist()
    if types.is_floating(kind):
        return [None if each is None else repr(each) for each in column.to_pylist()]
    if types.is_nested(kind):
        return [_shown_nested(column, row) for row in range(len(column))]
    return column.to_pylist()


def _shown_nested(column: pa.Array, row: int) -> Any:
    kind, scalar = column.type, column[row]
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(kind):
        return [shown(column[row : row + 1].flatten()[n])[0] for n in range(kind.num_fields)]
    if pa.types.is_map(kind):
        entries = scalar.values
        pairs = zip(shown(entries.field(0)), shown(entries.field(1)), strict=True)
        return [list(pair) for pair in pairs]
    return shown(scalar.values)


@given(two_schemas())
def test_what_is_in_the_file_is_in_the_row_or_in_the_json(
    drawn: tuple[pa.RecordBatch, pa.Schema],
) -> None:
    """Both put together are the file's rows again, of every type and at any depth."""
    batch, table = drawn
    after = fit(table, batch.schema, RESCUE).schema
    made = conversion(after, batch.schema, (), RESCUE)(batch)
    assert made.schema == after
    texts = made.column(RESCUED_COLUMN).storage.to_pylist()
    kept = [{} if text is None else json.loads(text) for text in texts]
    spelling = {name.lower(): name for name in after.names}
    for name in batch.schema.names:
        wanted = shown(batch.column(name))
        there = spelling.get(name.lower())
        for row in range(ROWS):
            if name in kept[row]:
                assert there is None or not made.column(there)[row].is_valid
                assert from_json(kept[row][name], batch.schema.field(name).type) == wanted[row]
            elif wanted[row] is not None:
                assert there is not None
                back = made.column(there)[row : row + 1]
                kind = batch.schema.field(name).type
                same = back if back.type == kind else back.cast(kind)
                assert shown(same) == [wanted[row]]
    assert all(set(each) <= set(batch.schema.names) for each in kept)


Kinds = list[tuple[pa.DataType, list[Any]]]
NULLS: Kinds = [(pa.null(), [None])]
INTEGERS: Kinds = [
    (pa.int8(), [-128, 127]),
    (pa.uint8(), [255]),
    (pa.int32(), [-(2**31), 5]),
    (pa.uint32(), [2**32 - 1]),
    (pa.int64(), [2**40, 7]),
]
FAMILIES: list[Kinds] = [
    [*INTEGERS, (pa.float32(), [0.5]), (pa.float64(), [0.1, 1e300])],
    [*INTEGERS, (pa.int64(), [2**53 + 1]), (pa.float64(), [0.1])],
    [*INTEGERS, (pa.decimal128(6, 2), [Decimal("1234.56")]), (pa.decimal128(9, 4), [None])],
    [(pa.string(), ["text"]), (pa.large_string(), ["large"]), (pa.int8(), [1])],
    [
        (pa.timestamp("ms"), [dt.datetime(2024, 2, 29)]),  # noqa: DTZ001
        (pa.timestamp("us"), [dt.datetime(2024, 3, 1, 1, 2, 3, 4)]),  # noqa: DTZ001
    ],
    [
        (pa.list_(pa.null()), [[None], []]),
        (pa.list_(pa.int32()), [[1, None]]),
        (pa.list_(pa.float64()), [[0.5], None]),
    ],
    [
        (pa.struct([("a", pa.int8())]), [{"a": 1}]),
        (pa.struct([("a", pa.int64()), ("b", pa.string())]), [{"a": 2**40, "b": "y"}, None]),
        (pa.struct([("c", pa.list_(pa.int8()))]), [{"c": [1]}]),
    ],
]
"""Types of one column in several objects, most of which have a join."""
SEEDS = range(20)
QUICK_SEEDS, THOROUGH_SEEDS, SEEDS_OF_OTHERS = 3, 10, 2
"""How many are tried in DuckDB in every and in a thorough run, and in a thorough one elsewhere; a
nightly run tries all everywhere."""


def levels() -> Iterator[Any]:
    """Return each destination and seed, marked with the kind of run that tries it."""
    for kind, seed in itertools.product(PLACES, SEEDS):
        is_duckdb = kind == "duckdb"
        if is_duckdb and seed < QUICK_SEEDS:
            yield kind, seed
        elif seed < (THOROUGH_SEEDS if is_duckdb else SEEDS_OF_OTHERS):
            yield pytest.param(kind, seed, marks=pytest.mark.thorough)
        else:
            yield pytest.param(kind, seed, marks=pytest.mark.nightly)


PERMUTATIONS = 3


def drifting(seed: int) -> list[pa.Table]:
    """Make a few objects whose columns drift."""
    chance = random.Random(seed)
    families = {name: chance.choice(FAMILIES) for name in "xyz"}
    made = []
    for number in range(4):
        fields: dict[str, pa.Array] = {"id": pa.array([number], pa.int64())}
        for name in chance.sample(sorted(families), 2):
            kind, values = chance.choice([*families[name], *NULLS])
            spelt = chance.choice([name, name.upper()])
            fields[spelt] = pa.array([chance.choice(values)], kind)
        made.append(pa.table(fields))
    return made


def outcome(
    bucket: Bucket, destination: Any, order: list[tuple[int, pa.Table]], cuts: set[int]
) -> Any:
    """Load objects in an order and in groups; return columns and rows, or what was in the way."""
    for place, (number, table) in enumerate(order):
        bucket.put(f"t/{place}-{number}", table)
        if place in cuts or place == len(order) - 1:
            try:
                if load(bucket, destination, schema_mode="evolve").quarantined_keys:
                    return "quarantined"
            except SchemaMismatchError:
                return "error"
            except UnsupportedSchemaError:
                return "refused"  # by what is pending, which the grouping decides
    with destination.read("t", None) as reader:
        found = reader.read_all()
    state = destination.state(owner(bucket))
    names = sorted((name for name in found.schema.names if not name.startswith("_")), key=str.lower)
    kinds = {name.lower(): _plain(found.schema.field(name).type) for name in names}
    assert {each.name: each.type for each in state.schema} == {
        each.name: each.type for each in found.schema
    }
    rows = found.select(names).to_pylist()
    return kinds, sorted((_lower(row) for row in rows), key=lambda row: row["id"])


def _plain(kind: pa.DataType) -> Any:
    return (
        {each.name: _plain(each.type) for each in kind} if pa.types.is_struct(kind) else str(kind)
    )


def _lower(row: dict[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in row.items()}


@pytest.mark.first_case
@pytest.mark.parametrize(("kind", "seed"), list(levels()))
def test_order_and_grouping_do_not_matter(
    bucket: Bucket, kind: str, seed: int, tmp_path: Path
) -> None:
    """Objects that load without an error in one order do so in every other, to the same rows."""
    chance = random.Random(seed)
    objects = list(enumerate(drifting(seed)))
    found = []
    for turn in range(PERMUTATIONS):
        place = PLACES[kind](tmp_path / f"{turn}")
        order = chance.sample(objects, len(objects))
        cuts = {cut for cut in range(len(order)) if chance.random() < 0.5}
        try:
            found.append(outcome(bucket, place.open(), order, cuts))
        finally:
            place.discard()
        for each in itertools.chain.from_iterable(
            page.get("Contents", ())
            for page in bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
        ):
            bucket.delete(each["Key"])
    clean = [each for each in found if each not in ("error", "quarantined", "refused")]
    assert len(clean) in (0, len(found)) or "refused" in found, found
    assert all(each == clean[0] for each in clean)
