"""INT96 is read as the moment in the file, at any depth, or refused with column and value."""

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.column_groups import decode_column_groups
from s3pq_dagster.decoding.decode_plan import plan_from_page_headers
from s3pq_dagster.decoding.parquet_file import decode, open_file
from s3pq_dagster.decoding.sandbox import decode_in_sandbox
from s3pq_dagster_tests.buckets import parquet

US, NS = pa.timestamp("us"), pa.timestamp("ns")
FOR_EVER = dt.datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - INT96 has no zone
LONG_AGO = dt.datetime(1500, 1, 1, 0, 0, 0, 123_456)  # noqa: DTZ001
MOMENTS = [FOR_EVER, LONG_AGO, None, dt.datetime(2024, 2, 14)] * 5  # noqa: DTZ001
STRUCT = pa.struct([("at", US), ("text", pa.string())])
DEEP = pa.list_(pa.struct([("m", pa.map_(US, pa.list_(US)))]))
TABLE = pa.table(
    {
        "id": range(20),
        "at": pa.array(MOMENTS, US),
        "list": pa.array([[LONG_AGO, FOR_EVER], None, [], [None]] * 5, pa.list_(US)),
        "struct": pa.array([{"at": each, "text": "x"} for each in MOMENTS[:19]] + [None], STRUCT),
        "map": pa.array(
            [[(FOR_EVER, LONG_AGO)], None, [], [(LONG_AGO, None)]] * 5, pa.map_(US, US)
        ),
        "deep": pa.array([[{"m": [(FOR_EVER, [LONG_AGO, None])]}, None]] * 19 + [None], DEEP),
        "name": [f"row {n}" for n in range(20)],
    }
)
LEAVES = [range(2), range(2, 3), range(3, 7), range(7, 10)]
_JULIAN_EPOCH = 2_440_588


def int96(table: pa.Table, **options: object) -> bytes:
    """Write timestamps as INT96, as Spark did by default for years."""
    hints = {"use_deprecated_int96_timestamps": True, "store_schema": False}
    return parquet(table, **(hints | options))


def raw(day: int, nanoseconds: int) -> bytes:
    """Make a file with one INT96 value ``c`` of any day since 1970 and nanosecond of the day."""
    body = int96(
        pa.table({"c": pa.array([LONG_AGO], US)}),
        use_dictionary=False,
        compression="none",
        write_statistics=False,
    )
    old = int96_bytes((LONG_AGO.date() - dt.date(1970, 1, 1)).days, 123_456_000)
    assert body.count(old) == 1
    return body.replace(old, int96_bytes(day, nanoseconds))


def int96_bytes(day: int, nanoseconds: int) -> bytes:
    """Encode one INT96 value."""
    return nanoseconds.to_bytes(8, "little") + (day + _JULIAN_EPOCH).to_bytes(4, "little")


def decoded(body: bytes, rows: int = 1000, wanted: pa.Schema | None = None) -> pa.Table:
    """Open and decode a file; the batches have the schema that opening it promises."""
    file = open_file(pa.BufferReader(body), wanted)
    table = pa.Table.from_batches(decode(file, rows), file.canonical_schema)
    table.validate(full=True)
    return table


@given(rows=st.integers(1, 25), group=st.integers(1, 25), with_dictionary=st.booleans())
def test_moments_come_as_they_are_at_any_depth(
    *, rows: int, group: int, with_dictionary: bool
) -> None:
    """Whatever the number of rows in a batch and in a row group, dictionary or not."""
    found = decoded(int96(TABLE, row_group_size=group, use_dictionary=with_dictionary), rows)
    assert found.to_pylist() == TABLE.to_pylist()
    assert found.schema.field("at").type == US


@given(st.integers(1, 25), st.integers(1, 25))
def test_moments_come_as_they_are_in_groups_of_columns(rows: int, group: int) -> None:
    """Columns that are decoded some at a time have the same moments."""
    file = open_file(pa.BufferReader(int96(TABLE, row_group_size=group)))
    found = pa.Table.from_batches(decode_column_groups(file, rows, LEAVES, 2**26))
    assert found.to_pylist() == TABLE.to_pylist()


def test_a_table_in_nanoseconds_gets_nanoseconds() -> None:
    """Only the columns that are in nanoseconds there; single nanoseconds are kept."""
    values = [1, -1, None, 2**62]
    table = pa.table({"a": pa.array(values, NS), "b": pa.array([[1000]] * 4, pa.list_(NS))})
    found = decoded(int96(table), 3, pa.schema([("b", pa.list_(US)), ("a", NS)]))
    assert found.schema == pa.schema([("a", NS), ("b", pa.list_(US))])
    assert found["a"].cast(pa.int64()).to_pylist() == values
    assert found["b"].to_pylist() == [[dt.datetime(1970, 1, 1, 0, 0, 0, 1)]] * 4  # noqa: DTZ001


def test_a_file_without_rows_has_the_units_of_its_table() -> None:
    """An empty file is of one schema with the others."""
    body = int96(TABLE.select(["at"]).slice(0, 0))
    assert decoded(body, wanted=pa.schema([("at", NS)])).schema == pa.schema([("at", NS)])


ONE = pa.scalar(1_707_912_000_123_456_789, NS)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (NS, ONE),
        (pa.list_(NS), [ONE]),
        (pa.struct([("x", NS)]), {"x": ONE}),
        (pa.map_(NS, pa.int8()), [(ONE, 1)]),
        (pa.map_(pa.int8(), NS), [(1, ONE)]),
    ],
    ids=str,
)
def test_single_nanoseconds_are_refused_in_microseconds(kind: pa.DataType, value: object) -> None:
    """The error names column and value, with its last digit."""
    with pytest.raises(RefusedValueError, match=r"'c'.* 2024-02-14T12:00:00.123456789,.*digits"):
        decoded(int96(pa.table({"c": pa.array([None, value], kind)})))


@pytest.mark.parametrize("moment", [FOR_EVER, LONG_AGO])
def test_what_nanoseconds_do_not_reach_is_refused_for_a_column_of_them(moment: dt.datetime) -> None:
    """The error names column and value, and says how the table can hold it."""
    body = int96(pa.table({"c": pa.array([[moment]], pa.list_(US))}))
    with pytest.raises(RefusedValueError, match=rf"'c'.*{moment.year}-.*full_refresh"):
        decoded(body, wanted=pa.schema([("c", pa.list_(NS))]))


@pytest.mark.parametrize(
    ("day", "shown"), [(2**32 - 1 - _JULIAN_EPOCH, "11754508"), (106_751_992, "294247-01-11")]
)
def test_what_microseconds_do_not_reach_is_refused(day: int, shown: str) -> None:
    """Days that INT96 has, and 64 bits of microseconds do not."""
    with pytest.raises(RefusedValueError, match=f"'c'.* {shown}.*do not reach"):
        decoded(raw(day, 86_399_999_999_000))


def test_the_ends_of_microseconds_are_kept() -> None:
    """The first day of INT96 but one, and the last that microseconds reach."""
    last = decoded(raw(106_751_990, 86_399_999_999_000))["c"].cast(pa.int64()).to_pylist()
    assert last == [106_751_991 * 86_400_000_000 - 1]
    first = decoded(raw(1 - _JULIAN_EPOCH, 0))["c"].cast(pa.int64()).to_pylist()
    assert first == [(1 - _JULIAN_EPOCH) * 86_400_000_000]


def test_nanoseconds_beyond_their_day_count_on_from_it() -> None:
    """``docs/types.md`` states it: what pyarrow returns does not tell them from the next day."""
    found = decoded(raw(0, 2 * 86_400 * 10**9))["c"].to_pylist()
    assert found == [dt.datetime(1970, 1, 3)]  # noqa: DTZ001


def test_day_zero_is_pyarrows_1970() -> None:
    """``docs/types.md`` states it: pyarrow returns 0 for day 0 in every unit."""
    assert decoded(raw(-_JULIAN_EPOCH, 5_000))["c"].to_pylist() == [dt.datetime(1970, 1, 1)]  # noqa: DTZ001


def test_the_bound_of_memory_counts_all_three_decoders() -> None:
    """A bound that suffices for one does not suffice for three."""
    body = int96(pa.table({"c": pa.array(MOMENTS * 1000, US)}))
    plain = parquet(pa.table({"c": pa.array(MOMENTS * 1000, US)}))

    def rows(data: bytes) -> int:
        source = pa.BufferReader(data)
        plan = plan_from_page_headers(open_file(source), source, 2_500_000)
        return plan.rows if plan else 0

    assert 0 < rows(body) < rows(plain)


def test_the_sandbox_decodes_what_the_run_may_refuse() -> None:
    """Only the run knows the unit of the table."""
    body = int96(pa.table({"c": pa.array([1], NS)}))
    assert decode_in_sandbox("k", body, 10, max_bytes=2**25, max_seconds=60) == 10
