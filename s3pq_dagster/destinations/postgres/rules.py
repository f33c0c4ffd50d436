"""Which values PostgreSQL refuses, asked of one object before it is written."""

import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster.destinations.leaf_values import plain
from s3pq_dagster.destinations.postgres.nested import as_json
from s3pq_dagster.destinations.postgres.types import Form, form_of
from s3pq_dagster.destinations.postgres.values import refusal
from s3pq_dagster.destinations.value_rules import Rule, refused_by_cast, within

_YEARS = (-62_135_596_800, 253_402_300_799)
"""First and last second of the years 1 to 9999, since 1970."""
_SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def rule_of(field: pa.Field) -> Rule | None:
    """Return the rule for a column; ``None`` if PostgreSQL stores every value of its type."""
    form = form_of(field.type)
    if form.is_json:
        return _in_json(field.type)
    sent = form.sent.value_type if pa.types.is_list(form.sent) else form.sent
    if "json" in form.sql or (form.bounds is None and not pa.types.is_string(sent)):
        return None
    return _sent(form)


def _sent(form: Form) -> Rule:
    """Make the rule for values that are sent as they are, or cast."""
    cast = refused_by_cast(form.sent)

    def rule(column: pa.Array) -> str | None:
        if column.type == form.sent:
            return refusal(column, form)
        return cast(column) or refusal(column.cast(form.sent), form)

    return rule


def _in_json(kind: pa.DataType) -> Rule | None:
    """Make the rule for nested values, which are stored as JSON.

    To convert them takes longer than all else that is done with them, so it is tried only where
    there are values that JSON may not keep.
    """
    doubtful = within(_doubtful, kind)
    if doubtful is None:
        return None

    def rule(column: pa.Array) -> str | None:
        if (found := doubtful(column)) is None:
            return None
        try:
            as_json(plain(column))
        except (pa.ArrowInvalid, ValueError, OverflowError):
            return found
        return None

    return rule


def _doubtful(kind: pa.DataType) -> Rule | None:
    if pa.types.is_floating(kind):
        return _not_finite
    if pa.types.is_timestamp(kind):
        return lambda column: _far(column, _SECONDS[kind.unit])
    if pa.types.is_date32(kind):
        return lambda column: _far(column.cast(pa.timestamp("s")), 1)
    return None


def _not_finite(column: pa.Array) -> str | None:
    is_finite = pc.all(pc.is_finite(column)).as_py()
    return "it has a number in it that JSON does not have" if is_finite is False else None


def _far(column: pa.Array, a_second: int) -> str | None:
    found = pc.min_max(column.view(pa.int64())).as_py()
    if found["min"] is None:
        return None
    first, last = (year * a_second for year in _YEARS)
    is_near = first <= found["min"] and found["max"] < last + a_second
    return None if is_near else "it has a year in it that is not between 1 and 9999"
