"""Which values Delta Lake cannot hold, asked of one object before it is written."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster.destinations.delta.types import stored_type
from s3pq_dagster.destinations.leaf_values import plain
from s3pq_dagster.destinations.value_rules import Rule, any_of, refused_by_cast, within


def rule_of(field: pa.Field, partition_by: Sequence[str]) -> Rule | None:
    """Return the rule for a column; ``None`` if Delta Lake holds every value of its type.

    Args:
        field: The column.
        partition_by: Names of the partition columns.
    """
    text = pa.types.is_string(field.type) and field.name in partition_by
    cast = refused_by_cast(stored_type(field.type))
    return any_of(
        (lambda column: cast(plain(column))) if _may_be_cut(field.type) else None,
        _empty if text else None,
    )


def _may_be_cut(kind: pa.DataType) -> bool:
    """Return whether a type has timestamps in it that are stored in another unit."""
    return within(_cut, kind) is not None


def _cut(kind: pa.DataType) -> Rule | None:
    is_cut = pa.types.is_timestamp(kind) and kind.unit != "us"
    return refused_by_cast(stored_type(kind)) if is_cut else None


def _empty(column: pa.Array) -> str | None:
    """Refuse an empty text among the values that rows are partitioned by."""
    if not pc.any(pc.equal(pc.binary_length(column), 0)).as_py():
        return None
    return "the table is partitioned by it, and Delta Lake reads an empty text back as null"
