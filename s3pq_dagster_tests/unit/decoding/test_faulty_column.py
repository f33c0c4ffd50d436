"""The error for a page that cannot be decoded has the name of its column."""

import io
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.column_groups import decode_column_groups
from s3pq_dagster.decoding.parquet_file import decode, open_file
from s3pq_dagster_tests.buckets import parquet

TABLE = pa.table(
    {
        "id": range(100),
        "s": pa.array([{"x": n, "y": f"text {n}"} for n in range(100)]),
        "z": [f"row {n}" for n in range(100)],
    }
)
GROUP = 50


def damaged(leaf: int) -> pa.BufferReader:
    """Zero the pages of one leaf column in the second of two row groups."""
    body = bytearray(parquet(TABLE, row_group_size=GROUP, compression="none", use_dictionary=False))
    chunk = pq.read_metadata(io.BytesIO(body)).row_group(1).column(leaf)
    start, size = chunk.data_page_offset, chunk.total_compressed_size
    body[start + 8 : start + size] = b"\xff" * (size - 8)
    return pa.BufferReader(bytes(body))


@pytest.mark.parametrize(("leaf", "name"), [(0, "id"), (2, "s"), (3, "z")])
@pytest.mark.parametrize("rows", [7, 100])
def test_the_column_is_named(leaf: int, name: str, rows: int) -> None:
    """By its name at the top, whichever leaf of it is at fault; rows before it come through."""
    batches = decode(open_file(damaged(leaf)), rows)
    good = [next(batches).num_rows for _ in range(math.ceil(GROUP / rows))]
    with pytest.raises(RefusedValueError, match=rf"^column '{name}' cannot be decoded: ."):
        list(batches)
    assert sum(good) == GROUP


def test_the_column_is_named_in_groups_of_columns() -> None:
    """Columns that are not decoded together are not looked at."""
    parts = [range(1), range(1, 3), range(3, 4)]
    with pytest.raises(RefusedValueError, match=r"^column 's' cannot be decoded: ."):
        list(decode_column_groups(open_file(damaged(1)), 10, parts, 10**6))
