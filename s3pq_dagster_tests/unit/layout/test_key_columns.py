"""The columns that a key makes: names, values, types, and keys that have none."""

import datetime as dt

import pyarrow as pa
import pytest

from s3pq_dagster.layout.key_columns import (
    KeyColumnError,
    RawColumn,
    hive_segments,
    missing_in,
    read_columns,
    with_columns,
)
from s3pq_dagster.layout.value_types import ValueType


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ("", []),
        ("a=1/b=2/", [("a", "1"), ("b", "2")]),
        ("x=a=b/", [("x", "a=b")]),
        ("x=100%/y=%zz/z=%e4/", [("x", "100%"), ("y", "%zz"), ("z", "%e4")]),
        ("x=%2F/y=%252F/z=%C3%BC/", [("x", "/"), ("y", "%2F"), ("z", "ü")]),
        ("x=/y=__HIVE_DEFAULT_PARTITION__/", [("x", ""), ("y", None)]),
        ("aws-account-id=7/=x/", [("aws-account-id", "7")]),
        ("x=東京/", [("x", "東京")]),
    ],
)
def test_hive_segments_are_decoded_once(segments: str, found: list[tuple[str, str]]) -> None:
    """What cannot be decoded stays; Hive's name for null is null."""
    assert hive_segments(segments) == found


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", "007", "007"),
        ("int", "007", 7),
        ("int", "-9223372036854775808", -(2**63)),
        ("bool", "true", True),
        ("date", "2024-02-29", dt.date(2024, 2, 29)),
        ("date(%Y%m%d)", "20240229", dt.date(2024, 2, 29)),
        ("date(%Y/%j)", "2024/060", dt.date(2024, 2, 29)),
        ("timestamp", "2024-01-01 09:30", dt.datetime(2024, 1, 1, 9, 30)),  # noqa: DTZ001
        ("timestamp(%Y/%m/%d/%H)", "2024/01/01/09", dt.datetime(2024, 1, 1, 9)),  # noqa: DTZ001
    ],
)
def test_a_text_is_read_as_its_type(kind: str, text: str, value: object) -> None:
    """The column has the type that is declared, and a value for any number of rows."""
    (column,) = read_columns([RawColumn("c", text, ValueType.named(kind))])
    assert column.value == value
    assert column.repeated(2).to_pylist() == [value, value]
    assert column.repeated(0).type == column.type


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("int", "xx", "column 'c' the value 'xx', which is no int: it is no integer"),
        ("int", "\uff19", "no integer"),
        ("int", "9223372036854775808", "beyond 64 bits"),
        ("int", "1" * 900, "beyond 64 bits"),
        ("bool", "1", "neither true nor false"),
        ("date", "2024-02-30", "no date"),
        ("date", "20240101", "of the form 2024-01-31"),
        ("date(%Y/%m)", "2024/13", "no date"),
        ("timestamp", "2024-01-01T09:00Z", "no timestamp"),
    ],
)
def test_a_text_that_is_no_value_is_refused_by_name(kind: str, text: str, said: str) -> None:
    """The message names column, value and type."""
    with pytest.raises(KeyColumnError, match=said):
        read_columns([RawColumn("c", text, ValueType.named(kind))])


def test_an_empty_hive_value_is_empty_text_or_null() -> None:
    """Only text can be empty."""
    whole = ValueType.named("int")
    text, number = read_columns(
        [RawColumn("a", "", is_hive=True), RawColumn("b", "", whole, is_hive=True)]
    )
    assert (text.value, number.value) == ("", None)


@pytest.mark.parametrize(
    ("names", "said"), [(["a", "A"], "column 'A' twice"), (["_S3_key"], "this package's own")]
)
def test_a_name_is_there_once_and_is_not_ours(names: list[str], said: str) -> None:
    """Names are compared without the case of ASCII letters, as destinations compare them."""
    with pytest.raises(KeyColumnError, match=said):
        read_columns([RawColumn(name, "1") for name in names], ["_s3_key"])


def test_what_the_file_has_counts() -> None:
    """A column of the key is added only where the file has none of that name."""
    columns = read_columns([RawColumn("DAY", "1"), RawColumn("hour", "2")])
    schema = pa.schema([("day", pa.int64())])
    kept = missing_in(schema, columns)
    assert [column.name for column in kept] == ["hour"]
    assert with_columns(schema, kept).names == ["day", "hour"]
