"""Batches are joined or regrouped, and every row keeps its place."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3pq_dagster.destinations.batches import cast_column, joined, regrouped
from s3pq_dagster.errors import UnsupportedSchemaError

ROWS = 8


def stream(sizes: list[int]) -> pa.RecordBatchReader:
    """Build batches of these sizes; their rows are numbered throughout."""
    ends = np.cumsum([0, *sizes])
    batches = [
        pa.record_batch({"id": pa.array(np.arange(start, end))}) for start, end in pairwise(ends)
    ]
    return pa.RecordBatchReader.from_batches(pa.schema({"id": pa.int64()}), batches)


def numbers(batches: list[pa.RecordBatch]) -> list[int]:
    """Return the row numbers in the order of the batches."""
    return [number for batch in batches for number in batch.column("id").to_pylist()]


@pytest.mark.parametrize(
    ("keys", "where"),
    [(["a", "a"], "in object 'a'. "), (["a", "b", "c"], "'a', 'c' or one between")],
)
def test_a_value_that_is_refused_is_in_one_of_its_batchs_objects(
    keys: list[str], where: str
) -> None:
    """The error names the first and the last object of the batch."""
    each = pa.record_batch({"c": [2**40] * len(keys), "_s3_key": keys})
    with pytest.raises(UnsupportedSchemaError, match=f"{where}.*skip_tables"):
        cast_column(each, "c", pa.int32(), into="Parquet")


@given(sizes=st.lists(st.integers(0, 20), max_size=30))
def test_every_row_stays_and_few_batches_are_small(sizes: list[int]) -> None:
    """A small batch comes only before a large one, which is not copied, or at the end."""
    found = list(joined(stream(sizes), ROWS))
    assert numbers(found) == list(range(sum(sizes)))
    counts = [batch.num_rows for batch in found]
    for count, after in pairwise(counts):
        assert count >= ROWS or 2 * count >= ROWS or 2 * after >= ROWS


@pytest.mark.parametrize("size", [ROWS // 2, ROWS, 3 * ROWS])
def test_a_large_batch_is_not_copied(size: int) -> None:
    """The batch that is yielded has the same buffers."""
    (before,) = stream([size])
    (after,) = joined(pa.RecordBatchReader.from_batches(before.schema, [before]), ROWS)
    assert after.column(0).buffers()[1].address == before.column(0).buffers()[1].address


@given(sizes=st.lists(st.integers(0, 40), max_size=30))
def test_every_batch_but_the_last_is_cut_to_size(sizes: list[int]) -> None:
    """Batches of any size become batches of the size that an engine stores together."""
    found = list(regrouped(stream(sizes), ROWS))
    assert numbers(found) == list(range(sum(sizes)))
    counts = [batch.num_rows for batch in found]
    assert all(count == ROWS for count in counts[:-1])
    assert all(0 < count <= ROWS for count in counts[-1:])


def test_what_is_cut_is_not_copied() -> None:
    """A large batch is sliced; the slices share its buffers."""
    (before,) = stream([3 * ROWS])
    pieces = list(regrouped(pa.RecordBatchReader.from_batches(before.schema, [before]), ROWS))
    assert len(pieces) == 3
    addresses = {piece.column(0).buffers()[1].address for piece in pieces}
    assert addresses == {before.column(0).buffers()[1].address}


@pytest.mark.parametrize(
    ("row_bytes", "counts"), [(2**20, [60, 40]), (2**19, [100]), (2**26, [1] * 100)]
)
def test_wide_rows_are_cut_in_halves(row_bytes: int, counts: list[int]) -> None:
    """Instead of 120 rows a batch has as many of its halves as fit 64 MiB."""
    row = pa.record_batch({"text": pa.array(["x" * (row_bytes - 8)])})
    wide = pa.RecordBatchReader.from_batches(row.schema, [row] * 100)
    assert [batch.num_rows for batch in regrouped(wide, 120)] == counts


def texts(sizes: list[int]) -> pa.RecordBatch:
    """Build a batch of texts of these lengths."""
    return pa.record_batch({"text": pa.array(["x" * size for size in sizes])})


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("wide", "counts"),
    [
        ([[2**20]] * 100, [73, 37]),
        ([[2**20] * 100], [10, 60, 40]),
        ([[0] * 110, [2**27]], [120, 1]),
    ],
)
def test_wider_rows_are_not_joined_to_many(wide: list[list[int]], counts: list[int]) -> None:
    """At most 64 MiB are copied at a time; a single larger row is yielded without a copy."""
    batches = [texts([0] * 10), *map(texts, wide)]
    found = list(regrouped(pa.RecordBatchReader.from_batches(batches[0].schema, batches), 120))
    assert [batch.num_rows for batch in found] == counts
