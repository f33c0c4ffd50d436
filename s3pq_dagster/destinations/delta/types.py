"""Which Delta type holds an Arrow type unchanged, and the conversion to it."""

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.batches import cast_column
from s3pq_dagster.destinations.column_rules import case_twins, check_columns
from s3pq_dagster.destinations.leaf_values import plain

_DIGITS = 38


def check_schema(schema: pa.Schema, key: str | None) -> None:
    """Refuse columns that Delta Lake would change, cut or fail on, before anything is written.

    Args:
        schema: The columns to be written.
        key: The object they come from, for the error.

    Raises:
        UnsupportedSchemaError: Some columns are refused; it says which, why, and what to do.
    """
    check_columns(
        schema,
        key,
        destination="Delta Lake",
        unusable=_unusable,
        unsupported=_unsupported,
        problems=[
            f"columns {one!r} and {other!r} are one name in Delta Lake, which folds the case of "
            f"every letter"
            for one, other in _twins(schema.names)
        ]
        + [
            f"column {field.name!r} has null within its type, which Delta Lake holds only as a "
            f"whole column"
            for field in schema
            if _has_null_within(field.type)
        ]
        + [
            f"column {name!r} has timestamps without zone in a map, and no column has any outside "
            f"of maps: delta-rs would create a table that it cannot open"
            for name in _undeclared(schema)
        ],
    )


def stored(schema: pa.Schema) -> pa.Schema:
    """Return the schema in which Delta Lake stores the columns of a checked schema."""
    return pa.schema([(field.name, stored_type(field.type)) for field in schema])


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of Delta Lake that holds a type's values unchanged, at any depth.

    For some timestamps that depends on the value: nanoseconds must be whole microseconds, and
    seconds and milliseconds must not be beyond the range of microseconds.
    """
    types = pa.types
    if isinstance(kind, pa.UuidType):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return stored_type(kind.storage_type)
    if types.is_struct(kind):
        return pa.struct([(field.name, stored_type(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(stored_type(kind.key_type), stored_type(kind.item_type))
    if types.is_nested(kind):
        return pa.list_(stored_type(kind.value_type))
    return _stored_scalar(schemas.canonical_type(kind))


def converted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Convert a batch to the columns and types of :func:`stored`.

    Raises:
        RefusedRowsError: A value would be changed or cut.
    """
    texts = pa.record_batch([plain(column) for column in batch.columns], names=batch.schema.names)
    columns = [cast_column(texts, each.name, each.type, into="Delta Lake") for each in schema]
    return pa.record_batch(columns, schema=schema)


def _stored_scalar(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_unsigned_integer(kind):
        wider = {8: pa.int16(), 16: pa.int32(), 32: pa.int64()}
        return wider.get(kind.bit_width, pa.decimal128(20, 0))
    if types.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if types.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    if types.is_time(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()  # noqa: PLR2004
    fixed = {
        types.is_null: pa.string(),
        types.is_float16: pa.float32(),
        types.is_date64: pa.date32(),
        types.is_duration: pa.int64(),
        types.is_fixed_size_binary: pa.binary(),
    }
    return next((found for is_so, found in fixed.items() if is_so(kind)), kind)


def _unusable(name: str) -> str | None:
    return None if name and "\x00" not in name else "empty or with NUL"


def _unsupported(kind: pa.DataType) -> str | None:
    types = pa.types
    if types.is_decimal(kind) and kind.precision > _DIGITS:
        return f"whose precision is beyond Delta Lake's {_DIGITS} digits"
    if types.is_decimal(kind) and kind.scale < 0:
        return "whose negative scale Delta Lake does not have"
    if types.is_interval(kind):
        return "which Delta Lake does not have"
    if types.is_struct(kind):
        names = [field.name for field in kind]
        if not names:
            return "which has no field that Parquet could hold"
        if twice := schemas.duplicates(names):
            return f"with more than one field {twice[0]!r}"
        if twins := _twins(names) or case_twins(names):
            return f"whose fields {twins[0][0]!r} and {twins[0][1]!r} differ only by case"
    return None


def _twins(names: list[str]) -> list[tuple[str, str]]:
    """Pair names that differ only by the case of letters beyond ASCII, which delta-rs folds."""
    plain = set(case_twins(names))
    first: dict[str, str] = {}
    pairs = [(first.setdefault(name.lower(), name), name) for name in names]
    return [(one, other) for one, other in pairs if one != other and (one, other) not in plain]


def _undeclared(schema: pa.Schema) -> list[str]:
    """Name the columns for which delta-rs does not declare the feature ``timestampNtz``.

    Of timestamps without zone, delta-rs 1.6 sees those in structs and lists, and not in maps.
    """
    if any(_has_local_time(kind, in_maps=False) for kind in schema.types):
        return []
    return [field.name for field in schema if _has_local_time(field.type, in_maps=True)]


def _has_local_time(kind: pa.DataType, *, in_maps: bool) -> bool:
    if pa.types.is_timestamp(kind):
        return kind.tz is None
    if pa.types.is_map(kind) and not in_maps:
        return False
    inner = (kind.field(index).type for index in range(kind.num_fields))
    return any(_has_local_time(each, in_maps=in_maps) for each in inner)


def _has_null_within(kind: pa.DataType) -> bool:
    if not pa.types.is_nested(kind):
        return False
    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return any(pa.types.is_null(each) or _has_null_within(each) for each in inner)
