"""Casts that change no value."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from s3pq_dagster.drift.casts import (
    InexactError,
    exact,
    may_be_inexact,
)
from s3pq_dagster.drift.kept_values import exact_where_possible


def struct(**fields: pa.DataType) -> pa.DataType:
    """Return a struct of some fields."""
    return pa.struct(list(fields.items()))


EXACT: list[tuple[list[Any], pa.DataType, pa.DataType, list[Any]]] = [
    ([1, None, 2**53], pa.int64(), pa.float64(), [1.0, None, float(2**53)]),
    ([1, None], pa.uint8(), pa.decimal128(5, 0), [Decimal(1), None]),
    ([2**64 - 1, None], pa.uint64(), pa.decimal128(20, 0), [Decimal(2**64 - 1), None]),
    ([-(2**63)], pa.int64(), pa.decimal128(21, 2), [Decimal("-9223372036854775808.00")]),
    ([Decimal("1.5")], pa.decimal128(3, 1), pa.decimal128(6, 3), [Decimal("1.500")]),
    ([1.5, float("nan")], pa.float32(), pa.float64(), [1.5, float("nan")]),
    ([None, None], pa.null(), pa.list_(pa.uuid()), [None, None]),
    ([[1, None], None, []], pa.list_(pa.int8()), pa.list_(pa.float64()), [[1.0, None], None, []]),
    (
        [[1, 2], None, [3, 4]],
        pa.list_(pa.int8(), 2),
        pa.list_(pa.int64(), 2),
        [[1, 2], None, [3, 4]],
    ),
    (
        [[("k", 1)], None, [], [("l", None)]],
        pa.map_(pa.string(), pa.int8()),
        pa.map_(pa.string(), pa.int64()),
        [[("k", 1)], None, [], [("l", None)]],
    ),
    (
        [{"A": 1}, None, {"A": None}],
        pa.struct([("A", pa.int8())]),
        pa.struct([("b", pa.string()), ("a", pa.int64())]),
        [{"b": None, "a": 1}, None, {"b": None, "a": None}],
    ),
    ([1_000], pa.timestamp("ms"), pa.timestamp("ns"), [1_000_000_000]),
]


@pytest.mark.parametrize(("values", "kind", "wanted", "expected"), EXACT, ids=str)
@pytest.mark.parametrize("start", [0, 1])
def test_values_stay(
    values: list[Any], kind: pa.DataType, wanted: pa.DataType, expected: list[Any], start: int
) -> None:
    """Of slices as well, and at any depth."""
    made = pa.array([None, *values][1 - start :], kind)[start and 1 :]
    found = exact(made, wanted)
    found.validate(full=True)
    assert found.type == wanted
    if pa.types.is_timestamp(wanted):
        found = found.cast(pa.int64())
    assert str(found.to_pylist()) == str(expected[len(expected) - len(found) :])


INEXACT: list[tuple[Any, pa.DataType, pa.DataType]] = [
    (2**53 + 1, pa.int64(), pa.float64()),
    ([2**53 + 1], pa.list_(pa.int64()), pa.list_(pa.float64())),
    ({"a": [2**53 + 1]}, struct(a=pa.list_(pa.int64())), struct(a=pa.list_(pa.float64()))),
    (dt.datetime(9999, 12, 31), pa.timestamp("us"), pa.timestamp("ns")),  # noqa: DTZ001
    (2.5, pa.float64(), pa.int64()),
    (-0.0, pa.float64(), pa.int64()),
    (2.0**63, pa.float64(), pa.int64()),
    (0.1, pa.float64(), pa.float32()),
    (300, pa.int64(), pa.int8()),
    (-1, pa.int8(), pa.uint8()),
    (Decimal("1.25"), pa.decimal128(5, 2), pa.decimal128(5, 1)),
    (1_001, pa.timestamp("us"), pa.timestamp("ms")),
    ({"a": 1, "b": 2}, struct(a=pa.int8(), b=pa.int8()), struct(a=pa.int8())),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "wanted"), INEXACT, ids=str)
def test_a_value_without_an_equal_is_refused(
    value: Any, kind: pa.DataType, wanted: pa.DataType
) -> None:
    """And nothing else of its column, where that is asked for."""
    column = pa.array([None, value, None], kind)
    with pytest.raises(InexactError):
        exact(column, wanted)
    for start in (0, 1):
        found, lost = exact_where_possible(column[start:], wanted)
        assert found.type == wanted
        assert found.to_pylist() == [None] * (3 - start)
        assert lost.to_pylist() == [False, True, False][start:]


def test_what_lies_below_a_null_does_not_count() -> None:
    """A value that no row has cannot be refused."""
    storage = pa.array([2**53 + 1, 1])
    column = pa.StructArray.from_arrays([storage], ["a"], mask=pa.array([True, False]))
    found = exact(column, pa.struct([("a", pa.float64())]))
    assert found.to_pylist() == [None, {"a": 1.0}]
    hidden = pa.ListArray.from_arrays(pa.array([0, 1, 2]), storage, mask=pa.array([True, False]))
    assert exact(hidden, pa.list_(pa.float64())).to_pylist() == [None, [1.0]]


def test_a_list_of_no_values_has_a_type_too() -> None:
    """Its size is 0, by which pyarrow would divide."""
    column = pa.array([[], None], pa.list_(pa.int32(), 0))
    assert exact(column, pa.list_(pa.int64(), 0)).to_pylist() == [[], None]


def test_a_null_row_that_spans_values_takes_no_place() -> None:
    """The rows beside it keep theirs."""
    offsets, values = pa.py_buffer(np.array([0, 2, 4, 5], np.int32)), pa.array([1, 2, 3, 4, 5])
    validity = pa.py_buffer(bytes([0b101]))
    column = pa.Array.from_buffers(pa.list_(pa.int64()), 3, [validity, offsets], children=[values])
    assert exact(column, pa.list_(pa.float64())).to_pylist() == [[1, 2], None, [5]]
    kept, lost = exact_where_possible(column, pa.list_(pa.int8()))
    assert (kept.to_pylist(), lost.to_pylist()) == ([[1, 2], None, [5]], [False] * 3)


def test_integers_that_a_decimal_holds_are_kept() -> None:
    """Whatever other values their type may have."""
    kept, lost = exact_where_possible(pa.array([123, 10**7]), pa.decimal128(8, 2))
    assert (kept.to_pylist(), lost.to_pylist()) == ([Decimal(123), None], [False, True])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.int64(), pa.float64(), True),
        (pa.int32(), pa.float64(), False),
        (pa.timestamp("us"), pa.timestamp("ns"), True),
        (pa.int64(), pa.decimal128(19, 0), False),
        (pa.list_(pa.int64()), pa.list_(pa.float64()), True),
        (pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.float64()), True),
        (pa.struct([("A", pa.int64())]), pa.struct([("a", pa.float64())]), True),
        (pa.struct([("a", pa.int64())]), pa.struct([("b", pa.float64())]), False),
        (pa.null(), pa.float64(), False),
    ],
    ids=str,
)
def test_only_some_joins_have_to_be_checked(
    one: pa.DataType,
    other: pa.DataType,
    expected: bool,  # noqa: FBT001
) -> None:
    """Stored columns are read for these alone."""
    assert may_be_inexact(one, other) is expected
