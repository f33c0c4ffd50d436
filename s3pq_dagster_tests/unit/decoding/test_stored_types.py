"""A column that is stored as its annotation does not allow is refused by name."""

import pyarrow as pa
import pytest

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.parquet_file import open_file
from s3pq_dagster_tests.malformed.annotated import Leaf, annotated
from s3pq_dagster_tests.malformed.crafted import BYTE_ARRAY, FIXED, I32, INT32, INT64

ONE = Leaf("fine", INT32, [bytes(4)], [(6, I32, 17)])
WRONG = {
    "INT_8 in bytes": (Leaf("c", BYTE_ARRAY, [b"x"], [(6, I32, 15)]), "INT_8", "INT32"),
    "UINT_64 in 32 bits": (Leaf("c", INT32, [bytes(4)], [(6, I32, 14)]), "UINT_64", "INT64"),
    "DATE in 64 bits": (Leaf("c", INT64, [bytes(8)], [(6, I32, 6)]), "DATE", "INT32"),
    "TIMESTAMP_MICROS in bytes": (
        Leaf("c", BYTE_ARRAY, [b"x"], [(6, I32, 10)]),
        "TIMESTAMP_MICROS",
        "INT64",
    ),
    "text in 32 bits": (Leaf("c", INT32, [bytes(4)], [(6, I32, 0)]), "UTF8", "BYTE_ARRAY"),
}
"""A column, its annotation, and the physical type that the annotation needs."""


@pytest.mark.parametrize("name", WRONG)
def test_the_column_and_both_types_are_named(name: str) -> None:
    """Columns beside it are not at fault."""
    column, annotation, wanted = WRONG[name]
    with pytest.raises(RefusedValueError, match=f"'c' is annotated as {annotation}.* {wanted}"):
        open_file(pa.BufferReader(annotated(ONE, column)))


def test_a_column_of_values_without_a_size_is_named() -> None:
    """What pyarrow says is the size alone."""
    with pytest.raises(RefusedValueError, match=r"column 'c' has values of fixed size.* of 0"):
        open_file(pa.BufferReader(annotated(ONE, Leaf("c", FIXED, [b""], width=0))))
