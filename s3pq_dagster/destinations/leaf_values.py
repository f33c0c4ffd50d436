"""Nested values rebuilt leaf by leaf, for conversions that Arrow's casts do not know."""

import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster import schemas

_UUID_LENGTH = 36
_DASHES = (8, 13, 18, 23)
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_DAY_NANOSECONDS = 86_400 * 10**9
_NO_TIME = pa.MonthDayNano([0, 0, 0])
_Hidden = np.ndarray[Any, np.dtype[np.bool_]]
"""Which values of an array are below a null, one flag a value."""


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with text for UUID and JSON, at any depth."""
    if _is_uuid(kind):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    return schemas.with_inner(kind, plain_type)


def plain(column: pa.Array) -> pa.Array:
    """Convert a column to its :func:`plain_type`: UUIDs become text of 36 characters."""
    return _plain(column, plain_type(column.type))


def _plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if _is_uuid(column.type):
        return _uuid_texts(column)
    if isinstance(column, pa.ExtensionArray):
        return _plain(column.storage, kind)
    return schemas.rebuilt(column, kind, _plain)


def restored(column: pa.Array, written: pa.DataType) -> pa.Array:
    """Convert a column to the type it was written with, without changing a value.

    Args:
        column: Values in the type that an engine returns, plain or not.
        written: The type of the values before the engine stored them.

    Raises:
        pa.ArrowInvalid: A value does not fit the type: somebody else wrote it.
    """
    return _restored(column, written, None)


def _restored(column: pa.Array, written: pa.DataType, hidden: _Hidden | None) -> pa.Array:
    """Convert a column, of which the values that are hidden mean nothing.

    Below a null, Arrow allows whatever bytes: an engine may leave empty text where a UUID was.
    """
    returned = column.type
    if returned == written:
        return column
    if isinstance(returned, pa.OpaqueType):
        return _restored(column.storage, written, hidden)
    if pa.types.is_null(written) and column.null_count == len(column):
        return pa.nulls(len(column))
    if _is_uuid(written) and not isinstance(returned, pa.BaseExtensionType):
        is_text = not pa.types.is_binary(returned) and not pa.types.is_fixed_size_binary(returned)
        nothing = uuid.UUID(int=0)
        return _uuids(_without(column, hidden, str(nothing) if is_text else nothing.bytes))
    if isinstance(written, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(
            written, _restored(column, written.storage_type, hidden)
        )
    if pa.types.is_interval(returned) and pa.types.is_duration(written):
        return _durations(_without(column, hidden, _NO_TIME)).cast(written)
    if _has_extension(returned) or _has_extension(written) or _has_interval(returned):
        return _restored_nested(column, written, hidden)
    return schemas.conform_column(column, written)


def _restored_nested(column: pa.Array, written: pa.DataType, hidden: _Hidden | None) -> pa.Array:
    if column.type.id == written.id:
        return _rebuilt(column, written, hidden)
    if pa.types.is_list(column.type):  # an engine that has no lists of fixed size
        listed = _rebuilt(column, pa.list_(written.value_type), hidden)
        return schemas.conform_column(listed, written)
    return schemas.conform_column(column, written)


def _rebuilt(column: pa.Array, kind: pa.DataType, hidden: _Hidden | None) -> pa.Array:
    below = _hidden_below(column, hidden)
    return schemas.rebuilt(column, kind, lambda inner, each: _restored(inner, each, below))


def _hidden_below(column: pa.Array, hidden: _Hidden | None) -> _Hidden:
    """Return which values within a nested column belong to no value of it."""
    nothing: _Hidden = column.is_null().to_numpy(zero_copy_only=False)
    if hidden is not None:
        nothing = nothing | hidden
    if pa.types.is_struct(column.type):
        return nothing
    # Unlike fields, values are those of the whole array that this column may be a slice of.
    most = len(column.values)
    if pa.types.is_fixed_size_list(column.type):
        starts = (column.offset + np.arange(len(column))) * column.type.list_size
        ends = starts + column.type.list_size
    else:
        offsets = column.offsets.to_numpy()
        starts, ends = offsets[:-1], offsets[1:]
    begun, ended = (np.bincount(each[~nothing], minlength=most + 1) for each in (starts, ends))
    below: _Hidden = np.cumsum(begun - ended)[:most] == 0
    return below


def _without(column: pa.Array, hidden: _Hidden | None, value: object) -> pa.Array:
    """Return a column of leaves with another value in place of what is hidden.

    Not with nulls: it may be the keys of a map, and Arrow ends the process if a key is null.
    """
    if hidden is None or not hidden.any():
        return column
    return pc.if_else(pa.array(hidden), pa.scalar(value, column.type), column)


def _is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.UuidType)


def _has_extension(kind: pa.DataType) -> bool:
    return bool(schemas.storage_type(kind) != kind)


def _has_interval(kind: pa.DataType) -> bool:
    if not pa.types.is_nested(kind):
        return bool(pa.types.is_interval(kind))
    return any(_has_interval(kind.field(number).type) for number in range(kind.num_fields))


def _uuid_texts(column: pa.Array) -> pa.Array:
    storage = column.storage
    bytes_ = np.frombuffer(storage.buffers()[1] or b"", dtype=np.uint8)
    start = storage.offset * 16
    bytes_ = bytes_[start : start + len(storage) * 16].reshape(-1, 16)
    digits = np.empty((len(storage), 32), dtype=np.uint8)
    digits[:, 0::2] = _HEX[bytes_ >> 4]
    digits[:, 1::2] = _HEX[bytes_ & 15]
    texts = np.full((len(storage), _UUID_LENGTH), ord("-"), dtype=np.uint8)
    texts[:, [at for at in range(_UUID_LENGTH) if at not in _DASHES]] = digits
    offsets = np.arange(len(storage) + 1, dtype=np.int32) * _UUID_LENGTH
    made = pa.StringArray.from_buffers(
        len(storage), pa.py_buffer(offsets), pa.py_buffer(texts.tobytes())
    )
    return pc.if_else(column.is_valid(), made, pa.scalar(None, pa.string()))


def _uuids(column: pa.Array) -> pa.Array:
    """Convert UUIDs from their 16 bytes, or from their text of 36 characters."""
    if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        return pa.ExtensionArray.from_storage(pa.uuid(), column.cast(pa.binary(16)))
    # Arrow has no cast from text to UUID. The dashes are removed and the hexadecimal digits of all
    # rows decoded at once; nulls stand for zeros meanwhile, so that every row has its 16 bytes.
    texts = column.cast(pa.string()).fill_null(str(uuid.UUID(int=0)))
    if pc.any(pc.not_equal(pc.binary_length(texts), _UUID_LENGTH)).as_py():
        msg = "a UUID does not have 36 characters"
        raise pa.ArrowInvalid(msg)
    digits = pc.replace_substring(texts, "-", "")
    data = bytes.fromhex("".join(digits.to_pylist()))
    ids = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(column), [None, pa.py_buffer(data)]
    )
    nothing = pa.scalar(None, ids.type)
    return pa.ExtensionArray.from_storage(pa.uuid(), pc.if_else(column.is_null(), nothing, ids))


def _durations(column: pa.Array) -> pa.Array:
    """Convert intervals to durations; a month has no fixed length and is refused."""
    intervals = column.to_pylist()
    if any(each is not None and each.months for each in intervals):
        raise pa.ArrowInvalid("an interval with months is not a duration")
    made = [None if i is None else i.days * _DAY_NANOSECONDS + i.nanoseconds for i in intervals]
    return pa.array(made, pa.duration("ns"))
