"""Which leaf columns of a Parquet file belong to which column."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

import pyarrow as pa

from s3pq_dagster import schemas


def leaves_by_field(schema: pa.Schema) -> list[range]:
    """List the indices of the leaf columns of each field; Parquet numbers leaves in order."""
    ends = list(accumulate((count_leaves(field.type) for field in schema), initial=0))
    return [range(start, stop) for start, stop in pairwise(ends)]


def fields_with(leaves_by_field: Sequence[range], leaves: Collection[int]) -> list[int]:
    """List the indices of the fields that have one of some leaf columns."""
    return [n for n, each in enumerate(leaves_by_field) if any(leaf in leaves for leaf in each)]


def fields_there(leaves_by_field: Sequence[range], leaves: range | None) -> list[int]:
    """List the indices of the fields in a batch of some leaf columns; ``None`` is all of them."""
    return [
        number
        for number, each in enumerate(leaves_by_field)
        if leaves is None or (each and each.start in leaves)
    ]


def with_fields(
    batch: pa.RecordBatch,
    fields: Collection[int],
    there: Sequence[int],
    change: Callable[[int, str, pa.Array], pa.Array],
) -> pa.RecordBatch:
    """Return a batch in which some of a file's fields are changed.

    Args:
        batch: Some or all of the file's fields.
        fields: Indices of the fields to change, in the file.
        there: Indices of the fields that the batch has, from :func:`fields_there`.
        change: Gets a field's index, its name and its column.
    """
    columns = list(batch.columns)
    for at, number in enumerate(there):
        if number in fields:
            columns[at] = change(number, batch.schema.field(at).name, columns[at])
    return pa.record_batch(columns, names=batch.schema.names)


def leaf_types(schema: pa.Schema) -> list[pa.DataType]:
    """List the canonical types of the leaf columns of a schema."""
    return [leaf for kind in schema.types for leaf in _leaf_types(schemas.canonical_type(kind))]


@lru_cache(maxsize=1024)
def _leaf_types(kind: pa.DataType) -> tuple[pa.DataType, ...]:
    if not pa.types.is_nested(kind):
        return (kind,)
    inner = (kind.field(index).type for index in range(kind.num_fields))
    return tuple(leaf for each in inner for leaf in _leaf_types(each))


def with_leaf_types(
    kind: pa.DataType, leaves: range, change: Callable[[int, pa.DataType], pa.DataType]
) -> pa.DataType:
    """Change the types of the leaf columns of a field; ``change`` gets each leaf's index."""
    numbers: Iterator[int] = iter(leaves)

    def changed(found: pa.DataType) -> pa.DataType:
        if pa.types.is_nested(found):
            return schemas.with_inner(found, changed)
        return change(next(numbers), found)

    return changed(kind)


def count_leaves(kind: pa.DataType) -> int:
    """Count the leaf columns of a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return count_leaves(kind.storage_type)
    if not pa.types.is_nested(kind):
        return 1
    return sum(count_leaves(kind.field(index).type) for index in range(kind.num_fields))
