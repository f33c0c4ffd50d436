"""Which values of a column a type holds unchanged, where it does not hold all of them."""

from typing import Any

import numpy as np
import pyarrow as pa

from s3pq_dagster.drift.casts import InexactError, exact
from s3pq_dagster.schemas import folded

Mask = np.ndarray[Any, np.dtype[np.bool_]]
"""One flag a row."""
_MANTISSA = {16: 11, 32: 24, 64: 53}
"""Bits of the integers that floating-point numbers hold one by one, by their width."""
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def exact_where_possible(column: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """Cast the values of a column that do not change by it; the others become null.

    Args:
        column: In a canonical type.
        kind: A type that has a join with the column's.

    Returns:
        The column, and where it is null although the value was not.
    """
    kept = fits(column, kind)
    lost = pa.array(~kept & _valid(column))
    rows = pa.array(np.arange(len(column)), mask=~kept)
    return exact(column if kept.all() else column.take(rows), kind), lost


def fits(column: pa.Array, kind: pa.DataType) -> Mask:
    """Return which rows a type holds unchanged; those that are null are among them."""
    types = pa.types
    if column.type == kind or types.is_null(column.type):
        return np.ones(len(column), bool)
    if types.is_null(kind):
        return ~_valid(column)
    if types.is_struct(kind):
        found = _structs(column, kind)
    elif types.is_nested(kind):
        found = _lists(column, kind)
    else:
        found = _leaves(column, kind)
    return found | ~_valid(column)


def _valid(column: pa.Array) -> Mask:
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False), bool)


def _structs(column: pa.Array, kind: pa.DataType) -> Mask:
    wanted = {folded(each.name): each.type for each in kind}
    found = np.ones(len(column), bool)
    for each, part in zip(column.type, column.flatten(), strict=True):
        found &= fits(part, wanted.get(folded(each.name), pa.null()))
    return found


def _lists(column: pa.Array, kind: pa.DataType) -> Mask:
    """Return which lists, or maps, have only values that fit."""
    column = column.take(pa.array(np.arange(len(column))))  # null rows then have no values
    if pa.types.is_map(kind):
        inner = fits(column.keys, kind.key_type) & fits(column.items, kind.item_type)
    else:
        inner = fits(column.flatten(), kind.value_type)
    ends, wrong = _ends(column), np.concatenate([[0], np.cumsum(~inner)])
    return np.asarray(wrong[ends[1:] - ends[0]] == wrong[ends[:-1] - ends[0]])


def _ends(column: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.offsets.to_numpy())
    return np.concatenate([[0], np.cumsum(_valid(column)) * column.type.list_size])


def _leaves(column: pa.Array, kind: pa.DataType) -> Mask:
    types, own = pa.types, column.type
    if types.is_timestamp(kind):
        return _timestamps(column, kind)
    if types.is_decimal(kind) or types.is_decimal(own):
        return _one_by_one(column, kind)
    values = column.fill_null(pa.scalar(0, own)).to_numpy(zero_copy_only=False)
    if types.is_integer(own) and types.is_integer(kind):
        least, most = np.iinfo(kind.to_pandas_dtype()), np.iinfo(own.to_pandas_dtype())
        return np.asarray(
            (values >= max(least.min, most.min)) & (values <= min(least.max, most.max))
        )
    if types.is_integer(own):
        bound = 2 ** _MANTISSA[kind.bit_width]
        bound = min(bound, np.iinfo(own.to_pandas_dtype()).max)
        least = max(-bound, np.iinfo(own.to_pandas_dtype()).min)
        return np.asarray((values >= least) & (values <= bound))
    with np.errstate(all="ignore"):
        return _floats(values.astype(np.float64), kind)


def _floats(values: np.ndarray[Any, np.dtype[np.float64]], kind: pa.DataType) -> Mask:
    """Return which floating-point numbers have equals among fewer bits, or among integers."""
    if pa.types.is_floating(kind):
        back = values.astype(kind.to_pandas_dtype()).astype(np.float64)
        return np.asarray((back == values) | np.isnan(values))
    bounds = np.iinfo(kind.to_pandas_dtype())
    is_within = (values >= float(bounds.min)) & (values < float(bounds.max) + 1)
    is_minus_zero = (values == 0) & np.signbit(values)
    return np.asarray(is_within & (values == np.trunc(values)) & ~is_minus_zero)


def _timestamps(column: pa.Array, kind: pa.DataType) -> Mask:
    values = column.cast(pa.int64()).fill_null(0).to_numpy()
    one, other = _UNITS[column.type.unit], _UNITS[kind.unit]
    if one > other:
        return np.asarray(values % (one // other) == 0)
    most = (2**63 - 1) // (other // one)
    return np.asarray((values <= most) & (values >= -most))


def _one_by_one(column: pa.Array, kind: pa.DataType) -> Mask:
    """Halve a column until each part fits, or is one value that does not."""
    try:
        exact(column, kind)
    except InexactError:
        if len(column) == 1:
            return np.zeros(1, bool)
    else:
        return np.ones(len(column), bool)
    half = len(column) // 2
    return np.concatenate([_one_by_one(part, kind) for part in (column[:half], column[half:])])
