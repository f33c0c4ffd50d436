"""Which values DuckDB refuses or changes, asked of one object before it is written."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster.destinations.value_rules import (
    Rule,
    any_of,
    entries_of,
    refused_by_cast,
    within,
)

_MOST_MICROSECONDS = 2**63 // 1000 - 1
"""Longest duration: DuckDB returns intervals in nanoseconds, in 64 bits."""


def rule_of(field: pa.Field) -> Rule | None:
    """Return the rule for a column; ``None`` if DuckDB stores every value of its type."""
    return within(_rule, field.type)


def _rule(kind: pa.DataType) -> Rule | None:
    types = pa.types
    if types.is_map(kind):
        return _equal_keys
    if types.is_timestamp(kind) and kind.unit in {"s", "ms"}:
        # Without a time zone DuckDB takes them, and fails with an internal error, after which the
        # file has to be opened again, when somebody reads them as text.
        return refused_by_cast(pa.timestamp("us", kind.tz))
    if types.is_duration(kind):
        return any_of(refused_by_cast(pa.duration("us")), _too_long)
    return None


def _too_long(column: pa.Array) -> str | None:
    """Refuse durations that DuckDB would return as other ones."""
    found = pc.min_max(column.cast(pa.duration("us")).cast(pa.int64())).as_py()
    least, most = found["min"], found["max"]
    if least is None or (least >= -_MOST_MICROSECONDS and most <= _MOST_MICROSECONDS):
        return None
    return "DuckDB returns intervals in nanoseconds, in 64 bits, and it takes more"


def _equal_keys(column: pa.Array) -> str | None:
    """Refuse a map that has a key twice."""
    ends, entries = entries_of(column)
    parents = pa.array(np.repeat(np.arange(len(ends) - 1), np.diff(ends)))
    keys = entries.field(0)
    if _count(parents, keys) < len(keys):
        return "it has a map with a key twice"
    return None


def _count(parents: pa.Array, keys: pa.Array) -> int:
    """Count the different keys of all maps."""
    if not pa.types.is_floating(keys.type) and not pa.types.is_nested(keys.type):
        pairs = pa.table({"map": parents, "key": keys})
        return int(pairs.group_by(["map", "key"]).aggregate([]).num_rows)
    # 0.0 and -0.0 are one key, as are all NaN, and Arrow does not group by nested values.
    plain = (repr(key + 0.0 if isinstance(key, float) else key) for key in keys.to_pylist())
    return len(set(zip(parents.to_pylist(), plain, strict=True)))
