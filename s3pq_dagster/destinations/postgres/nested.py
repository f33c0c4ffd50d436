"""Converts nested values to JSON and back."""

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

_NAME = "v"
_PREFIX, _SUFFIX = f'{{"{_NAME}":', "}"


def as_json(column: pa.Array) -> pa.Array:
    """Convert each value to one line of JSON; null stays null.

    Times and decimals become text, a map becomes a list of ``{"key": …, "value": …}``.

    Raises:
        pa.ArrowInvalid: A value would not come back the same: JSON has no NaN and no infinity.
    """
    # polars encodes structs only, so the column is put into a struct of one field, and the text
    # around the value is cut off. Reading the result back is the check that nothing is lost.
    plain = column.cast(_in_utc(column.type)).cast(_in_json(column.type))
    frame = pl.DataFrame(pa.table({_NAME: plain}))
    texts = frame.select(
        pl.struct(_NAME).struct.json_encode().str.slice(len(_PREFIX)).str.strip_suffix(_SUFFIX)
    ).to_series()
    lines = texts.to_arrow().cast(pa.string())
    found = pc.if_else(column.is_null(), pa.scalar(None, pa.string()), lines)
    if not from_json(found, column.type).equals(column):
        msg = "JSON would change a value"
        raise pa.ArrowInvalid(msg)
    return found


def from_json(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert JSON of :func:`as_json` back to values of a type.

    Raises:
        pa.ArrowInvalid: A text is not such JSON: somebody else wrote it.
    """
    if not len(texts):
        return pa.array([], kind)
    lines = pc.binary_join_element_wise(_PREFIX, texts.fill_null("null"), _SUFFIX, "")
    data = "\n".join(lines.to_pylist()).encode()
    found = pj.read_json(
        pa.BufferReader(data),
        pj.ReadOptions(block_size=len(data) + 1),
        pj.ParseOptions(
            explicit_schema=pa.schema([(_NAME, _in_json(kind))]), unexpected_field_behavior="error"
        ),
    )
    (column,) = found.column(_NAME).chunks
    return _rebuilt(column, _in_utc(kind)).cast(kind)


def _in_utc(kind: pa.DataType) -> pa.DataType:
    """Return the type with every time zone UTC, as times are written, and every list plain."""
    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp(kind.unit, "UTC" if kind.tz else None)
    if types.is_map(kind):
        return pa.map_(_in_utc(kind.key_type), _in_utc(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([(field.name, _in_utc(field.type)) for field in kind])
    return pa.list_(_in_utc(kind.value_type)) if types.is_nested(kind) else kind


def _in_json(kind: pa.DataType) -> pa.DataType:
    """Return the type that values have in JSON."""
    types = pa.types
    if types.is_map(kind):
        entry = [("key", _in_json(kind.key_type)), ("value", _in_json(kind.item_type))]
        return pa.list_(pa.struct(entry))
    if types.is_struct(kind):
        return pa.struct([(field.name, _in_json(field.type)) for field in kind])
    if types.is_nested(kind):
        return pa.list_(_in_json(kind.value_type))
    if types.is_timestamp(kind) or types.is_date(kind) or types.is_decimal(kind):
        return pa.string()
    return pa.string() if types.is_null(kind) else kind


def _rebuilt(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert lists back to maps and text back to its type; Arrow's casts do not know maps."""
    types = pa.types
    if column.type == kind:
        return column
    if types.is_null(kind):
        return pa.nulls(len(column))
    if types.is_map(kind):
        entries = column.values
        return pa.MapArray.from_arrays(
            column.offsets,
            _rebuilt(entries.field("key"), kind.key_type),
            _rebuilt(entries.field("value"), kind.item_type),
            type=kind,
            mask=column.is_null(),
        )
    if types.is_struct(kind):
        fields = [_rebuilt(column.field(i), field.type) for i, field in enumerate(kind)]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=column.is_null())
    if types.is_list(kind):
        values = _rebuilt(column.values, kind.value_type)
        return pa.ListArray.from_arrays(column.offsets, values, type=kind, mask=column.is_null())
    return column.cast(kind)
