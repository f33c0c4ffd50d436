"""SQL that converts a column's stored values to what its new type is stored as."""

import pyarrow as pa

from s3pq_dagster.destinations.leaf_values import plain_type
from s3pq_dagster.destinations.postgres.names import quoted
from s3pq_dagster.destinations.postgres.types import form_of

_VALUE = "$1"


def converted(name: str, old: pa.DataType, new: pa.DataType) -> str | None:
    """Return SQL for the values of a column in its new type.

    Args:
        name: The column.
        old: The Arrow type that its values were written with.
        new: One in which every stored value has its equal.

    Returns:
        ``None`` where the column stays as it is, or where :func:`json_function` converts it.
    """
    before, after = form_of(old), form_of(new)
    if before.sql == after.sql:
        return None
    if pa.types.is_null(old):
        return f"NULL::{after.sql}"
    if before.is_json:  # a list of nulls
        items = f"array_fill(NULL::{after.sql[:-2]}, ARRAY[json_array_length({quoted(name)})])"
        return f"CASE WHEN {quoted(name)} IS NOT NULL THEN {items} END"
    return f"{quoted(name)}::{after.sql}"


def json_function(old: pa.DataType, new: pa.DataType) -> str | None:
    """Return what has to follow a function's name where stored JSON reads otherwise in a new type.

    Returns:
        Arguments, result and body of the function, which converts one value; ``None`` if every
        value reads the same.
    """
    if not (form_of(old).is_json and form_of(new).is_json):
        return None
    body = _json(_VALUE, plain_type(old), plain_type(new), 0)
    if body is None:
        return None
    # Else the database's settings may cut digits of numbers that become text.
    return (
        "(json) RETURNS json LANGUAGE sql IMMUTABLE SET extra_float_digits = 3 "
        f"AS {_literal(f'SELECT {body}')}"
    )


def _json(value: str, old: pa.DataType, new: pa.DataType, depth: int) -> str | None:
    """Return SQL that converts JSON, or ``None`` if it reads the same in the new type."""
    types = pa.types
    if old == new or types.is_null(old):
        return None
    if types.is_map(old):
        return _list(value, (_entry(old), _entry(new)), depth)
    if types.is_struct(old):
        return _struct(value, old, new, depth)
    if types.is_nested(old):
        return _list(value, (old.value_type, new.value_type), depth)
    if types.is_integer(old) and types.is_decimal(new):
        return f"to_json({value} #>> '{{}}')"
    if types.is_floating(old):
        return f"to_json(({value} #>> '{{}}')::real::double precision)"
    return None


def _entry(kind: pa.MapType) -> pa.DataType:
    return pa.struct([("key", kind.key_type), ("value", kind.item_type)])


def _list(value: str, inner: tuple[pa.DataType, pa.DataType], depth: int) -> str | None:
    item = f"e{depth}"
    changed = _json(f"{item}.value", *inner, depth + 1)
    if changed is None:
        return None
    return (
        f"CASE json_typeof({value}) WHEN 'array' THEN (SELECT coalesce(json_agg({changed} "
        f"ORDER BY {item}.n), '[]') FROM json_array_elements({value}) "
        f"WITH ORDINALITY AS {item} (value, n)) ELSE {value} END"
    )


def _struct(value: str, old: pa.DataType, new: pa.DataType, depth: int) -> str | None:
    item = f"e{depth}"
    coming = {each.name: each.type for each in new}
    cases = ""
    for each in old:
        changed = _json(f"{item}.value", each.type, coming[each.name], depth + 1)
        if changed is not None:
            cases += f"WHEN {_literal(each.name)} THEN {changed} "
    if not cases:
        return None
    return (
        f"CASE json_typeof({value}) WHEN 'object' THEN (SELECT json_object_agg({item}.key, "
        f"CASE {item}.key {cases}ELSE {item}.value END) FROM json_each({value}) AS {item}) "
        f"ELSE {value} END"
    )


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
