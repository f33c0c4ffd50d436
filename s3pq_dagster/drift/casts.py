"""Casts that change no value, at any depth, of columns whose types have a join."""

import numpy as np
import pyarrow as pa

from s3pq_dagster.schemas import folded


class InexactError(ValueError):
    """A value has no equal in the type that its column is to have."""


def exact(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast a column to another type.

    Args:
        column: In a canonical type.
        kind: A type that has a join with the column's, wider or narrower.

    Raises:
        InexactError: A value would change.
    """
    try:
        return _exact(column, kind)
    except pa.ArrowInvalid as error:
        if not pa.types.is_nested(kind):
            raise InexactError(str(error)) from error
    # The value may lie below a null, where it is none. Taking every row leaves that out.
    try:
        return _exact(column.take(pa.array(np.arange(len(column)))), kind)
    except pa.ArrowInvalid as error:
        raise InexactError(str(error)) from error


def may_be_inexact(one: pa.DataType, other: pa.DataType) -> bool:
    """Return whether values of a type may have no equal in the join with another, ``other``."""
    types = pa.types
    if types.is_integer(one) and types.is_floating(other):
        return bool(one.bit_width > 32)  # noqa: PLR2004 - double holds 32 bits
    if types.is_timestamp(one) and types.is_timestamp(other):
        return bool(one.unit != other.unit)
    if one == other or not (types.is_nested(one) and types.is_nested(other)):
        return False
    coming = {folded(each.name): each.type for each in _inner(other)}
    return any(
        may_be_inexact(each.type, coming.get(folded(each.name), each.type)) for each in _inner(one)
    )


def _inner(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_map(kind):
        return [pa.field("key", kind.key_type), pa.field("value", kind.item_type)]
    return [kind.field(number) for number in range(kind.num_fields)]


def _exact(column: pa.Array, kind: pa.DataType) -> pa.Array:
    types = pa.types
    if column.type == kind:
        return column
    if types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if types.is_struct(kind):
        return _struct(column, kind)
    if column.null_count and (types.is_map(kind) or types.is_list(kind)):
        column = column.take(pa.array(np.arange(len(column))))  # null rows then have no values
    if types.is_map(kind):
        keys, items = _exact(column.keys, kind.key_type), _exact(column.items, kind.item_type)
        return pa.MapArray.from_arrays(_offsets(column), keys, items, kind)
    if types.is_fixed_size_list(kind):
        values = _exact(column.flatten(), kind.value_type)
        return _fixed_size(column, values, kind)
    if types.is_list(kind):
        return pa.ListArray.from_arrays(
            _offsets(column), _exact(column.values, kind.value_type), kind
        )
    return _leaf(column, kind)


def _offsets(column: pa.Array) -> pa.Array:
    """Return the offsets of a list or map; that of a null row is null."""
    offsets = column.offsets
    if not column.null_count:
        return offsets
    is_null = np.append(column.is_null().to_numpy(zero_copy_only=False), False)
    return pa.array(offsets.to_numpy(), pa.int32(), mask=is_null)


def _fixed_size(column: pa.Array, values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Make lists of one size; ``values`` are those of the rows that are not null."""
    if not kind.list_size:  # pyarrow 26 would divide by it
        return pa.array([None if is_null else [] for is_null in column.is_null().to_pylist()], kind)
    if column.null_count:
        there = column.is_valid().to_numpy(zero_copy_only=False)
        places = np.repeat(np.cumsum(there) - 1, kind.list_size) * kind.list_size
        places += np.tile(np.arange(kind.list_size), len(column))
        hidden = ~np.repeat(there, kind.list_size)
        values = values.take(pa.array(places, mask=hidden))
    return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=column.is_null())


def _struct(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast the fields by name; those that the column has not are null.

    Raises:
        pa.ArrowInvalid: A field that ``kind`` has not holds a value.
    """
    own = {
        folded(each.name): part for each, part in zip(column.type, column.flatten(), strict=True)
    }
    fields = []
    for each in kind:
        part = own.pop(folded(each.name), None)
        fields.append(pa.nulls(len(column), each.type) if part is None else _exact(part, each.type))
    for name, part in own.items():
        if part.null_count < len(part):
            msg = f"field {name.decode()!r} has values"
            raise pa.ArrowInvalid(msg)
    return pa.StructArray.from_arrays(fields, fields=list(kind), mask=column.is_null())


def _leaf(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(kind) and pa.types.is_integer(column.type):
        # Arrow asks for as many digits as the type may have, and not as its values have.
        column = column.cast(pa.decimal128(20, 0))
    made = column.cast(kind)
    is_narrower = pa.types.is_floating(column.type) and (
        not pa.types.is_floating(kind) or kind.bit_width < column.type.bit_width
    )
    if is_narrower and (found := _first_changed(column, made)) is not None:
        msg = f"the value {found} is not {kind}"
        raise pa.ArrowInvalid(msg)
    return made


def _first_changed(before: pa.Array, after: pa.Array) -> float | None:
    """Return the first floating-point number that a cast to fewer bits, or to integers, changed."""
    old = before.cast(pa.float64()).fill_null(0).to_numpy()
    new = after.cast(pa.float64(), safe=False).fill_null(0).to_numpy()
    same = (old == new) & (np.signbit(old) == np.signbit(new)) | (np.isnan(old) & np.isnan(new))
    return None if same.all() else float(old[~same][0])
