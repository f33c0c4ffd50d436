"""Which Arrow types PostgreSQL stores, as which of its types, and how values are sent."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.column_rules import check_columns
from s3pq_dagster.destinations.leaf_values import plain_type
from s3pq_dagster.destinations.postgres.names import MOST_BYTES, is_long, is_usable

_MOST_COLUMNS = 1_600
_SYSTEM = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
_NAMES = {
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "smallint",
    pa.uint16(): "integer",
    pa.uint32(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.uuid(): "uuid",
}
"""PostgreSQL's type for each Arrow type whose values are sent unchanged."""
_DAY_MICROSECONDS = 86_400 * 10**6


@dataclass(frozen=True, slots=True)
class Form:
    """How PostgreSQL stores an Arrow type."""

    sql: str
    """PostgreSQL's name of the type, as ``format_type`` returns it."""
    sent: pa.DataType
    """The Arrow type that values are cast to for COPY's encoder."""
    bounds: tuple[int, int] | None = None
    """Least and greatest value, as integers; others would be refused, or taken for infinity."""
    is_json: bool = False
    """Whether values are stored as JSON; see :mod:`nested`."""


_TIMESTAMPS = (-210_866_803_200_000_000, 2**63 - 1)  # 4714-11-24 BC, and all that Arrow has
_TIMES = {
    "date": Form("date", pa.date32(), (-2_440_588, 2_145_042_905)),
    "time": Form("time without time zone", pa.time64("us"), (0, _DAY_MICROSECONDS - 1)),
    # The driver that reads intervals converts them to nanoseconds, in 64 bits.
    "duration": Form("interval", pa.duration("us"), (-(2**63) // 1000 + 1, 2**63 // 1000 - 1)),
    "timestamp": Form("timestamp without time zone", pa.timestamp("us"), _TIMESTAMPS),
    "instant": Form("timestamp with time zone", pa.timestamp("us", "UTC"), _TIMESTAMPS),
}


def form_of(kind: pa.DataType) -> Form:
    """Return how a type is stored; :func:`check_schema` must have accepted it."""
    found = _plain(kind)
    if found is None and _is_list(kind):
        found = _array(kind)
    return found or Form("json", pa.string(), is_json=True)


def check_schema(schema: pa.Schema, key: str | None) -> None:
    """Refuse a schema that PostgreSQL would change, truncate or fail on.

    Args:
        schema: The schema to be written.
        key: Key of the object it comes from, for the error.

    Raises:
        UnsupportedSchemaError: A column is refused. The error names every such column, the reason,
            and what to do.
    """
    problems = [
        f"column {name!r} has a name of more than {MOST_BYTES} bytes, which PostgreSQL cuts"
        for name in schema.names
        if is_long(name)
    ]
    problems += [
        f"column {name!r} has a name that PostgreSQL keeps for itself"
        for name in schema.names
        if name in _SYSTEM
    ]
    if len(schema) > _MOST_COLUMNS:
        problems.append(f"they are {len(schema)}, more than PostgreSQL's {_MOST_COLUMNS}")
    check_columns(
        schema,
        key,
        destination="PostgreSQL",
        unusable=lambda name: None if is_usable(name) else "empty or with NUL",
        unsupported=_unsupported,
        problems=problems,
    )


def is_in_json(kind: pa.DataType) -> bool:
    """Return whether JSON keeps the values of a type that is not nested itself."""
    types = pa.types
    return bool(
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_float32(kind)
        or types.is_float64(kind)
        or types.is_string(kind)
        or types.is_null(kind)
        or types.is_timestamp(kind)
        or types.is_date32(kind)
        or types.is_decimal(kind)
    )


def _plain(kind: pa.DataType) -> Form | None:
    types = pa.types
    if kind in _NAMES:
        return Form(_NAMES[kind], kind)
    if types.is_uint64(kind):
        return Form("numeric(20,0)", pa.decimal128(20, 0))
    if types.is_float16(kind):
        return Form("real", pa.float32())
    if types.is_decimal(kind) and kind.scale >= 0:
        made = pa.decimal256 if types.is_decimal256(kind) else pa.decimal128
        return Form(f"numeric({kind.precision},{kind.scale})", made(kind.precision, kind.scale))
    if types.is_null(kind):
        return Form("text", pa.string())
    if types.is_fixed_size_binary(kind):
        return Form("bytea", pa.binary())
    if isinstance(kind, pa.JsonType):
        return Form("json", pa.string())
    return _time(kind)


def _time(kind: pa.DataType) -> Form | None:
    tests: dict[str, Callable[[pa.DataType], bool]] = {
        "date": pa.types.is_date,
        "time": pa.types.is_time,
        "duration": pa.types.is_duration,
        "timestamp": lambda kind: pa.types.is_timestamp(kind) and kind.tz is None,
        "instant": pa.types.is_timestamp,
    }
    return next((_TIMES[name] for name, test in tests.items() if test(kind)), None)


def _array(kind: pa.DataType) -> Form | None:
    """Return the form of a list whose items can be in an array, which may have any length."""
    inner = kind.value_type
    element = _plain(inner)
    types = pa.types
    if element is None or isinstance(inner, pa.BaseExtensionType):
        return None
    if types.is_null(inner) or types.is_duration(inner):
        return None
    return Form(f"{element.sql}[]", pa.list_(element.sent), element.bounds)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _unsupported(kind: pa.DataType) -> str | None:
    if _plain(kind) or (_is_list(kind) and _array(kind)):
        return None
    if pa.types.is_decimal(kind):
        return "whose negative scale PostgreSQL does not have in general"
    if not pa.types.is_nested(kind):
        return "which PostgreSQL does not have"
    return _unsupported_in_json(kind)


def _unsupported_in_json(kind: pa.DataType) -> str | None:
    if pa.types.is_struct(kind) and (twice := schemas.duplicates(field.name for field in kind)):
        return f"with more than one field {twice[0]!r}"
    if not pa.types.is_nested(kind):
        return (
            None if is_in_json(plain_type(kind)) else f"with {kind} in it, which JSON does not have"
        )
    fields = [kind.field(index) for index in range(kind.num_fields)]
    return next(filter(None, (_unsupported_in_json(field.type) for field in fields)), None)
