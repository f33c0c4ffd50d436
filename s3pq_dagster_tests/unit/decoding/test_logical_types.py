"""Columns of each logical type of the Parquet format are read as documented, or refused by name."""

import re

import pyarrow as pa
import pytest

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.parquet_file import decode, decode_group, open_file
from s3pq_dagster_tests.destinations.logical_columns import LOGICAL, Refusal
from s3pq_dagster_tests.malformed.annotated import ENUM, Leaf, annotated
from s3pq_dagster_tests.malformed.crafted import BYTE_ARRAY


def decoded(body: bytes, wanted: pa.Schema | None = None) -> pa.Table:
    """Open and decode a file; the batches have the schema that opening it promises."""
    file = open_file(pa.BufferReader(body), wanted)
    return pa.Table.from_batches(decode(file, 10), file.canonical_schema)


@pytest.mark.parametrize("name", LOGICAL)
def test_each_logical_type_has_its_value_or_is_refused(name: str) -> None:
    """A refusal names the column."""
    column, value = LOGICAL[name]
    if isinstance(value, Refusal):
        with pytest.raises(RefusedValueError, match=f"'c'.*{re.escape(value)}"):
            decoded(annotated(column))
    else:
        assert decoded(annotated(column)).to_pylist() == [{"c": value}]


def test_enum_that_is_no_text_is_refused() -> None:
    """The error names the column."""
    with pytest.raises(RefusedValueError, match=r"'c' is ENUM.*not UTF-8"):
        decoded(annotated(Leaf("c", BYTE_ARRAY, [b"\xff"], ENUM)))


def test_enum_stays_bytes_in_a_table_that_has_bytes() -> None:
    """A table that was created with bytes goes on loading them."""
    body = annotated(Leaf("c", BYTE_ARRAY, [b"RED"], ENUM))
    stored = pa.schema([("c", pa.binary())])
    found = decoded(body, stored)
    assert found.schema == stored
    assert found.to_pylist() == [{"c": b"RED"}]


def test_enum_is_text_in_groups_of_columns() -> None:
    """Of three columns that are decoded singly, only the ENUM becomes text."""
    kinds = {"a": (), "b": ENUM, "c": ()}
    file = open_file(
        pa.BufferReader(annotated(*(Leaf(n, BYTE_ARRAY, [b"x"], a) for n, a in kinds.items())))
    )
    batches = [next(decode_group(file, 0, 10, range(n, n + 1))) for n in range(3)]
    assert [batch.to_pylist() for batch in batches] == [[{"a": b"x"}], [{"b": "x"}], [{"c": b"x"}]]
