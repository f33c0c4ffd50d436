"""Rules for values: which one is refused, how it is named, and what is never looked at."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.destinations.duckdb.rules import rule_of as duckdb_rule
from s3pq_dagster.destinations.value_rules import Rule, ValueRules, within
from s3pq_dagster.errors import RefusedObjectError, UnsupportedSchemaError

MAP = pa.map_(pa.string(), pa.int64())
TWICE = [("k", 1), ("k", 2)]


def no_nine(column: pa.Array) -> str | None:
    """Refuse 9."""
    return "it is 9" if 9 in column.to_pylist() else None


def rules(
    rule: Rule = no_nine, check: Callable[[pa.Schema, str | None], None] = lambda *_: None
) -> ValueRules:
    """Make rules that are the same for every column but ``free``."""
    return ValueRules("Here", check, lambda field: None if field.name == "free" else rule)


@pytest.mark.parametrize("at", [0, 1, 499, 999])
def test_the_first_value_that_is_refused_is_named(at: int) -> None:
    """Wherever it is among the rows; later ones are not told."""
    values = [*range(10, 10 + at), 9, 9]
    with pytest.raises(RefusedObjectError, match=r"^object 't/a' cannot be loaded: ") as raised:
        rules().check(pa.record_batch({"free": [9] * len(values), "n": values}), "t/a")
    assert raised.value.reason == (
        "column 'n' has the value 9, which Here cannot hold unchanged: it is 9"
    )


def test_a_long_value_is_cut_short() -> None:
    """So that the ledger does not hold what the table cannot."""
    with pytest.raises(RefusedObjectError) as raised:
        rules(lambda _: "no").check(pa.record_batch({"j": ["x" * 10_000]}), "t/a")
    assert "'" + "x" * 79 + "…" in raised.value.reason
    assert len(raised.value.reason) < 400


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (
            pa.struct([("at", pa.timestamp("s")), ("n", pa.int64())]),
            "{'at': -2000-01-01 00:00:00, 'n': 1}",
        ),
        (pa.list_(pa.timestamp("s")), "[-2000-01-01 00:00:00]"),
    ],
)
def test_a_value_that_python_does_not_have_is_named_within_others(
    kind: pa.DataType, shown: str
) -> None:
    """Python's years begin with 1."""
    moment = int(np.datetime64("-2000-01-01", "s").astype(int))
    column = pa.array([{"at": moment, "n": 1} if pa.types.is_struct(kind) else [moment]], kind)
    with pytest.raises(RefusedObjectError) as raised:
        rules(lambda _: "no").check(pa.record_batch({"j": column}), "t/a")
    assert f"column 'j' has the value {shown}, which Here" in raised.value.reason


def test_types_that_are_refused_have_no_rules() -> None:
    """They are an error of the table, which the commit raises: no object is set aside for it."""

    def refuse(_schema: pa.Schema, _key: str | None) -> None:
        raise UnsupportedSchemaError

    rules(check=refuse).check(pa.record_batch({"n": [9]}), "t/a")


@pytest.mark.parametrize(
    ("column", "is_refused"),
    [
        (pa.array([TWICE], MAP), True),
        (pa.array([[("k", 1)], [("k", 1)], None, []], MAP), False),
        (pa.array([[], TWICE, []], MAP).slice(2), False),
        (pa.array([[], TWICE, []], MAP).slice(1), True),
        (pa.array([[TWICE]], pa.list_(MAP)), True),
        (pa.array([{"m": None}, {"m": TWICE}], pa.struct([("m", MAP)])), True),
        (pa.array([[("k", TWICE)]], pa.map_(pa.string(), MAP)), True),
        (pa.array([[TWICE]], pa.list_(MAP, 1)), True),
        (pa.array([[(0.0, 1), (-0.0, 1)]], pa.map_(pa.float64(), pa.int64())), True),
        (pa.array([[(0.0, 1), (1.0, 1)]], pa.map_(pa.float64(), pa.int64())), False),
        (
            pa.array([[({"a": 1}, 1)] * 2], pa.map_(pa.struct([("a", pa.int64())]), MAP.item_type)),
            True,
        ),
    ],
)
def test_a_map_with_a_key_twice_is_found_at_any_depth(
    column: pa.Array, *, is_refused: bool
) -> None:
    """One map at a time, and without what is sliced off."""
    rule = duckdb_rule(pa.field("c", column.type))
    assert rule is not None
    assert (rule(column) is not None) == is_refused


UUID_MAP = pa.map_(pa.uuid(), pa.duration("us"))
PAIRS = pa.list_(pa.struct([("d", pa.duration("us")), ("j", pa.json_())]), 2)
PLAIN_PAIRS = pa.list_(pa.struct([("d", pa.int64()), ("j", pa.string())]), 2)
ID = b"0" * 16


@pytest.mark.parametrize(
    ("kind", "rows", "is_refused"),
    [
        (UUID_MAP, [None, None], False),
        (UUID_MAP, [None, []], False),
        (UUID_MAP, [[(ID, 1)], None, [(ID, 2), (ID, 3)]], True),
        (PAIRS, [None, None], False),
        (PAIRS, [None, [{"d": 1, "j": "1"}, {"d": 2**62, "j": "2"}], None], True),
    ],
    ids=str,
)
def test_extension_types_within_lists_and_maps_with_nulls_are_looked_into(
    kind: pa.DataType, rows: list[Any], *, is_refused: bool
) -> None:
    """Also where all are null: Arrow 26 cannot make such an array, not even an empty one."""
    stored = pa.map_(pa.binary(16), pa.int64()) if kind == UUID_MAP else PLAIN_PAIRS
    column = schemas.retyped(pa.array(rows, stored), kind)
    rule = duckdb_rule(pa.field("c", kind))
    assert rule is not None
    assert (rule(column) is not None) == is_refused


def test_a_value_beyond_python_is_shown_beside_a_null_list() -> None:
    """Whatever it is nested in, nulls included."""
    kind = pa.list_(pa.list_(pa.timestamp("ms", "UTC"), 2))
    beyond = pa.array([[None, [2**63 - 808, None]]], pa.list_(pa.list_(pa.int64(), 2)))
    batch = pa.record_batch([schemas.retyped(beyond, kind)], names=["c"])
    with pytest.raises(RefusedObjectError, match=r"\[None, \[.*9223372036854775000.*, None\]\]"):
        ValueRules("DuckDB", lambda *_: None, duckdb_rule).check(batch, "t/a")


def test_a_time_is_shown_with_its_nanoseconds() -> None:
    """Python's has none, and they are what is refused."""
    times = pa.array([1], pa.int64()).view(pa.time64("ns"))
    with pytest.raises(RefusedObjectError, match=r"has the value 00:00:00\.000000001, which"):
        rules(lambda _: "no").check(pa.record_batch([times], names=["c"]), "t/a")


def test_values_behind_a_null_do_not_count() -> None:
    """A null may hide a value, which nobody reads and nobody writes."""
    hidden = pa.StructArray.from_arrays([pa.array([9, 1])], ["n"], mask=pa.array([True, False]))
    rule = within(lambda kind: no_nine if pa.types.is_integer(kind) else None, hidden.type)
    assert rule is not None
    assert rule(hidden) is None
