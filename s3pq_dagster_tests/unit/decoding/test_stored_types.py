"""A column that is stored as its annotation does not allow is refused by name."""

import pyarrow as pa
import pytest

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.parquet_file import open_file
from s3pq_dagster_tests.malformed.annotated import (
    MILLIS,
    Group,
    Leaf,
    annotated,
    decimal,
    integer,
    logical,
    timed,
)
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


IGNORED = {
    "DECIMAL of 12 digits in 32 bits": (INT32, decimal(2, 12), 4),
    "DECIMAL of 20 digits in 64 bits": (INT64, decimal(2, 20), 8),
    "DECIMAL, in both annotations": (INT32, [(6, I32, 5), *decimal(2, 12)], 4),
    "DATE in 64 bits": (INT64, logical(6), 8),
    "TIME in milliseconds in 64 bits": (INT64, timed(7, MILLIS, utc=True), 8),
    "TIMESTAMP in 32 bits": (INT32, timed(8, MILLIS, utc=True), 4),
}
"""Physical type, annotation, and bytes of a value."""


@pytest.mark.parametrize("name", IGNORED)
@pytest.mark.parametrize("within", [False, True], ids=["top", "group"])
def test_an_annotation_that_would_be_ignored_is_refused(name: str, *, within: bool) -> None:
    """A decimal of two digits after the point would be a hundred times as much."""
    kind, annotation, width = IGNORED[name]
    column: Leaf | Group = Leaf("c", kind, [bytes(width)], annotation)
    column = Group("g", [Leaf("x", INT32, [bytes(4)]), column]) if within else column
    narrow = Leaf("narrow", INT32, [bytes(4)], integer(8, signed=True))
    wanted = f"'c' is annotated as {name.split(maxsplit=1)[0].strip(',')} and stored as INT"
    with pytest.raises(RefusedValueError, match=wanted):
        open_file(pa.BufferReader(annotated(narrow, ONE, column)))


def test_an_annotation_that_nobody_knows_is_ignored() -> None:
    """As the format says of new ones: the column is what it is stored as."""
    body = annotated(Leaf("c", BYTE_ARRAY, [b"x"], logical(99)))
    assert open_file(pa.BufferReader(body)).canonical_schema.field("c").type == pa.binary()
