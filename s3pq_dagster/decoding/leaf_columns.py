"""Which leaf columns of a Parquet file belong to which column."""

from itertools import accumulate, pairwise

import pyarrow as pa


def leaves_by_field(schema: pa.Schema) -> list[range]:
    """List the indices of the leaf columns of each field; Parquet numbers leaves in order."""
    ends = list(accumulate((_count_leaves(field.type) for field in schema), initial=0))
    return [range(start, stop) for start, stop in pairwise(ends)]


def _count_leaves(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _count_leaves(kind.storage_type)
    if not pa.types.is_nested(kind):
        return 1
    return sum(_count_leaves(kind.field(index).type) for index in range(kind.num_fields))
