"""A column of any type, three levels deep, comes back from each destination or is refused."""

import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3pq_dagster import schemas
from s3pq_dagster.decoding.parquet_file import decode, open_file
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import DestinationError, S3ParquetError
from s3pq_dagster_tests.buckets import parquet
from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.destinations.tables import loaded, sealed, stream
from s3pq_dagster_tests.examples import examples
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.unit.made import meta

DEPTH = 3
ROWS = 4
_SECONDS = st.integers(-62_135_596_800, 253_402_300_799)
"""The years 1 to 9999."""
_NEAR = st.integers(-(2**62), 2**62)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def _scaled(factor: int) -> st.SearchStrategy[int]:
    return st.builds(
        lambda second, rest: second * factor + rest, _SECONDS, st.integers(0, factor - 1)
    )


def _whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)) if signed else 0, 2 ** (bits - signed) - 1)


def _decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda number: Decimal(number).scaleb(-scale))


LEAVES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    *((getattr(pa, f"int{n}")(), _whole(n, signed=True)) for n in (8, 16, 32, 64)),
    *((getattr(pa, f"uint{n}")(), _whole(n, signed=False)) for n in (8, 16, 32, 64)),
    (pa.float16(), st.floats(width=16, allow_nan=False)),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.decimal128(9, 2), _decimals(9, 2)),
    (pa.decimal128(18, 0), _decimals(18, 0)),
    (pa.string(), _TEXT),
    (pa.large_string(), _TEXT),
    (pa.binary(), st.binary(max_size=5)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.dates()),
    (pa.time32("ms"), st.integers(0, 86_399_999)),
    (pa.time64("us"), st.integers(0, 86_399_999_999)),
    (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    *((pa.timestamp("ms", zone), _scaled(1_000)) for zone in (None, "UTC")),
    *((pa.timestamp("us", zone), _scaled(10**6)) for zone in (None, "UTC", "Europe/Berlin")),
    *((pa.timestamp("ns", zone), _NEAR) for zone in (None, "UTC")),
    (pa.duration("us"), st.integers(-(2**50), 2**50)),
    (pa.uuid(), st.binary(min_size=16, max_size=16)),
    (pa.json_(), st.sampled_from(['{"a": [1, 2.50]}', "null", " 1 ", '"\\u00fc"', "[]"])),
]
"""Types, and values as they are stored."""
KEYS = [pa.string(), pa.int32(), pa.uuid(), pa.timestamp("us"), pa.date32()]
Kind = tuple[pa.DataType, st.SearchStrategy[Any]]


def _nested(depth: int) -> st.SearchStrategy[Kind]:
    """Draw a type of at most so many levels above its leaves, and a strategy for its values."""
    leaf = st.sampled_from(LEAVES)
    if not depth:
        return leaf
    inner = _nested(depth - 1)
    key = st.sampled_from([each for each in LEAVES if each[0] in KEYS])
    return leaf | st.one_of(
        inner.map(_list), inner.map(_pair), st.lists(inner, min_size=1, max_size=2).map(_struct),
        st.tuples(key, inner).map(lambda two: _map(*two)),
    )  # fmt: skip


def _list(item: Kind) -> Kind:
    return pa.list_(item[0]), st.lists(st.none() | item[1], max_size=3)


def _pair(item: Kind) -> Kind:
    return pa.list_(item[0], 2), st.lists(st.none() | item[1], min_size=2, max_size=2)


def _struct(fields: list[Kind]) -> Kind:
    named = {f"f{number}": each for number, each in enumerate(fields)}
    values = st.fixed_dictionaries({name: st.none() | v for name, (_, v) in named.items()})
    return pa.struct([(name, kind) for name, (kind, _) in named.items()]), values


def _map(key: Kind, item: Kind) -> Kind:
    entries = st.dictionaries(key[1], st.none() | item[1], max_size=2)
    return pa.map_(key[0], item[0]), entries.map(lambda found: list(found.items()))


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """Draw a type and a column of it with nulls."""
    kind, values = draw(_nested(DEPTH))
    rows = draw(st.lists(st.none() | values, min_size=ROWS, max_size=ROWS))
    return schemas.retyped(pa.array(rows, schemas.storage_type(kind)), kind)


def is_same(found: pa.Array, expected: pa.Array) -> bool:
    """Return whether two columns have one type, and values that are equal to the last digit."""
    return bool(found.type == expected.type and found.equals(expected))


@given(columns())
def test_decoding_returns_what_was_written(column: pa.Array) -> None:
    """In the type that all types have which Parquet stores alike."""
    file = open_file(pa.BufferReader(parquet(pa.table({"c": column}))))
    (batch,) = decode(file, ROWS)
    assert batch.schema == file.canonical_schema
    expected = schemas.conform_column(column, schemas.canonical_type(column.type))
    assert is_same(batch.column("c"), expected)


@pytest.mark.first_case
@pytest.mark.parametrize("kind", first_of(PLACES, keep=2))
def test_a_column_comes_back_or_is_refused(kind: str, tmp_path: Path) -> None:
    """A refusal names the column, and is no failure of the destination."""
    place = PLACES[kind](tmp_path)
    numbers = itertools.count()

    @settings(max_examples=examples(40))
    @given(columns())
    def check(column: pa.Array) -> None:
        owner = Owner(f"t{next(numbers)}", "lake", "t/")
        canonical = schemas.conform_column(column, schemas.canonical_type(column.type))
        found = _stored(place.open(), owner, canonical)
        assert found is None or is_same(found, canonical)

    try:
        check()
    finally:
        place.discard()


def _stored(destination: Destination, owner: Owner, column: pa.Array) -> pa.Array | None:
    """Write a column and read it back; ``None`` if it is refused."""
    found = meta("t/a", "v1")
    rows = pa.record_batch([column, pa.array([found.key] * ROWS)], names=["c", "_s3_key"])
    try:
        with destination.write(owner, run_id="run", append=False, refresh=False) as writer:
            writer.commit(
                stream(rows), schema_key=found.key, seal=lambda: sealed(loaded(found, ROWS))
            )
    except DestinationError:
        raise
    except S3ParquetError as error:
        refusal = str(error)
    else:
        with destination.read(owner.table, ["c"]) as reader:
            return pa.concat_arrays([batch.column("c") for batch in reader])
    assert "column 'c'" in refusal
    assert not destination.state(owner).exists
    return None
