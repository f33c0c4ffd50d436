"""The least type, and the least schema, that holds two others without changing a value."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from s3pq_dagster.schemas import folded

_MOST_DIGITS = 38
"""Digits of the widest decimal that every destination has."""
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}
"""Digits of the integers with sign, by their width in bits."""
_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_UNSIGNED = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}
_FLOATS = {16: pa.float16(), 32: pa.float32(), 64: pa.float64()}
_UINT64 = pa.decimal128(20, 0)
"""What holds 64 bits without a sign, and numbers with one."""
_UNITS = ("s", "ms", "us", "ns")


def join_types(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the least type that holds every value of two canonical types.

    Nothing becomes text, dates and timestamps stay apart, and so do timestamps with and without a
    time zone. Two joins are lossless for most values only, so values are checked when they are
    cast: 64-bit integers with floating-point numbers, and timestamps that become finer.

    Returns:
        The type; ``None`` if there is none.
    """
    if one == other:
        return one
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        return _join_timestamps(one, other)
    if _is_number(one) and _is_number(other):
        return _join_numbers(one, other)
    if one.id == other.id and pa.types.is_nested(one):
        return _join_nested(one, other)
    return None


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _join_numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_decimal(one) or types.is_decimal(other):
        if types.is_floating(one) or types.is_floating(other):
            return None
        return _join_decimals(_as_decimal(one), _as_decimal(other))
    if types.is_floating(one) and types.is_floating(other):
        return _FLOATS[max(one.bit_width, other.bit_width)]
    if types.is_floating(one) or types.is_floating(other):
        return None if pa.uint64() in (one, other) else pa.float64()
    return _join_integers(one, other)


def _join_integers(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    are_signed = pa.types.is_signed_integer(one), pa.types.is_signed_integer(other)
    if are_signed == (False, False):
        return _UNSIGNED[max(one.bit_width, other.bit_width)]
    widths = [_signed_width(kind) for kind in (one, other)]
    return _SIGNED.get(max(widths), _UINT64)


def _signed_width(kind: pa.DataType) -> int:
    """Return how many bits an integer type takes with a sign."""
    return int(kind.bit_width) * (1 if pa.types.is_signed_integer(kind) else 2)


def _as_decimal(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(kind):
        return kind
    digits = _DIGITS.get(_signed_width(kind))
    return _UINT64 if digits is None else pa.decimal128(digits, 0)


def _join_decimals(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    scale = max(one.scale, other.scale)
    digits = max(one.precision - one.scale, other.precision - other.scale) + scale
    return pa.decimal128(digits, scale) if digits <= _MOST_DIGITS else None


def _join_timestamps(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if (one.tz is None) != (other.tz is None):
        return None
    unit = max(one.unit, other.unit, key=_UNITS.index)
    return pa.timestamp(unit, one.tz if one.tz == other.tz else "UTC")


def _join_nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_struct(one):
        if _has_twins(one) or _has_twins(other):
            return None
        fields = _join_fields(list(one), list(other))
        return None if fields.conflicts else pa.struct(fields.fields)
    if types.is_fixed_size_list(one) and one.list_size != other.list_size:
        return None
    if types.is_map(one):
        key = join_types(one.key_type, other.key_type)
        item = join_types(one.item_type, other.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    inner = join_types(one.value_type, other.value_type)
    if inner is None:
        return None
    return pa.list_(inner, one.list_size) if types.is_fixed_size_list(one) else pa.list_(inner)


def _has_twins(kind: pa.DataType) -> bool:
    """Return whether two fields of a struct have names that differ by case at most."""
    return len({folded(each.name) for each in kind}) < int(kind.num_fields)


@dataclass(slots=True)
class _Fields:
    fields: list[pa.Field] = field(default_factory=list)
    conflicts: list[tuple[str, pa.DataType, pa.DataType]] = field(default_factory=list)


def _join_fields(one: Sequence[pa.Field], other: Sequence[pa.Field]) -> _Fields:
    """Join fields by name: those of ``one`` first, spelt as there."""
    found = _Fields()
    coming = {folded(each.name): each for each in other}
    for each in one:
        same = coming.pop(folded(each.name), None)
        kind = each.type if same is None else join_types(each.type, same.type)
        if kind is None and same is not None:
            found.conflicts.append((each.name, each.type, same.type))
        found.fields.append(pa.field(each.name, kind or each.type))
    found.fields += [pa.field(each.name, each.type) for each in coming.values()]
    return found


@dataclass(frozen=True, slots=True)
class Joined:
    """What holds two schemas."""

    schema: pa.Schema
    """The columns of the first, spelt and in order as there, then those that only the second has;
    a column without a join keeps the first's type."""
    conflicts: Sequence[tuple[str, pa.DataType, pa.DataType]]
    """Name and both types of each column that has no join."""


def join_schemas(one: pa.Schema, other: pa.Schema) -> Joined:
    """Join two canonical schemas column by column.

    Names that differ only by the case of ASCII letters are one column.
    """
    found = _join_fields(list(one), list(other))
    return Joined(pa.schema(found.fields), found.conflicts)
