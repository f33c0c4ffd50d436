"""How many rows are decoded at a time: the usual number for ordinary files, else fewer."""

import io
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from s3pq_dagster.decoding.decode_plan import (
    MOST_ROWS,
    DecodePlan,
    plan_from_page_headers,
    usual_rows,
)
from s3pq_dagster.decoding.parquet_file import open_file
from s3pq_dagster_tests.buckets import parquet

MIB = 1024 * 1024
BOUND = 512 * MIB
"""What decoding may take by default."""
ROWS = 50_000


def chosen(body: bytes, max_bytes: int = BOUND) -> int | None:
    """Choose the rows for a file in memory, all columns of which are decoded together."""
    plan = planned(body, max_bytes)
    assert plan is None or not plan.column_groups
    return None if plan is None else plan.rows


def planned(body: bytes, max_bytes: int) -> DecodePlan | None:
    """Plan the decoding of a file in memory."""
    source = pa.BufferReader(body)
    return plan_from_page_headers(open_file(source), source, max_bytes)


def usual(body: bytes) -> int:
    """Return the number of rows that the footer alone suggests."""
    return usual_rows(open_file(pa.BufferReader(body)).metadata)


def table(rows: int = ROWS) -> pa.Table:
    """Make a table with the usual types of columns."""
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "name": [f"name {i}" for i in range(rows)],
            "kind": [f"kind {i % 50}" for i in range(rows)],
            "ratio": [i / 3 for i in range(rows)],
            "tags": [[f"t{i % 9}"] * (i % 4) for i in range(rows)],
            "at": pa.array(range(rows), pa.timestamp("us", "UTC")),
        }
    )


def by_polars() -> bytes:
    """Write with Polars's defaults."""
    buffer = io.BytesIO()
    frame = pl.from_arrow(table())
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(buffer)
    return buffer.getvalue()


def by_duckdb(path: Path) -> bytes:
    """Write with DuckDB's defaults."""
    with duckdb.connect() as connection:
        connection.register("t", table())
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


@pytest.mark.first_case
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd"},
        {"compression": "gzip"},
        {"compression": "brotli"},
        {"compression": "lz4"},
        {"compression": "none"},
        {"use_dictionary": False},
        {"row_group_size": 1000},
        {"data_page_version": "2.0"},
        {"write_page_index": True},
    ],
    ids=str,
)
def test_what_pyarrow_writes_is_decoded_as_ever(options: dict[str, object]) -> None:
    """Ordinary files of every codec and layout are shown to be harmless, and lose no speed."""
    body = parquet(table(), **options)
    assert chosen(body) == usual(body) == MOST_ROWS


@pytest.mark.parametrize("write", [by_polars, None], ids=["polars", "duckdb"])
def test_what_others_write_is_decoded_as_ever(
    write: Callable[[], bytes] | None, tmp_path: Path
) -> None:
    """Files of other writers lose no speed either."""
    body = by_duckdb(tmp_path / "x.parquet") if write is None else write()
    assert chosen(body) == usual(body) == MOST_ROWS


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_a_long_value_in_a_dictionary_means_fewer_rows(compression: str) -> None:
    """Every row may have the long value, so only as many rows as fit, whatever the compression."""
    words = ["x" * MIB, *(f"word {i}" for i in range(3000))]
    body = parquet(pa.table({"c": words * 2}), compression=compression)
    rows = chosen(body)
    assert rows is not None
    assert BOUND // MIB // 16 < rows < BOUND // MIB
    assert usual(body) > 1000


def test_a_large_dictionary_of_short_values_costs_no_rows() -> None:
    """The longest value counts, not the size of the dictionary."""
    body = parquet(pa.table({"c": [f"a word of some length, number {i}" for i in range(30_000)]}))
    assert chosen(body) == MOST_ROWS


def test_a_dictionary_within_a_list_counts() -> None:
    """A list of dictionary values has as many bytes as its values together."""
    body = parquet(pa.table({"c": [["x" * MIB] * 40]}))
    assert chosen(body, 32 * MIB) is None


def test_wide_pages_mean_fewer_rows() -> None:
    """A row of a page is at most the page, and a batch may touch many pages."""
    cells = pa.table({"c": [b"x"] * 1000 + [bytes(MIB // 4)] * 100})
    small = {"write_batch_size": 1, "data_page_size": 1000, "use_dictionary": False}
    body = parquet(cells, compression="zstd", **small)
    rows = chosen(body, 4 * MIB)
    assert rows is not None
    assert rows < 16


@pytest.mark.parametrize(
    "column",
    [
        pa.array([bytes(8 * MIB)], pa.binary()),
        pa.array([bytes(8 * MIB)], pa.binary(8 * MIB)),
        pa.array([[0] * MIB], pa.list_(pa.int64())),
    ],
    ids=["cell", "fixed width", "list"],
)
def test_a_row_beyond_the_bound_cannot_be_vouched_for(column: pa.Array) -> None:
    """No plan is made: a single row exceeds the bound."""
    assert chosen(parquet(pa.table({"c": column}), compression="zstd"), 4 * MIB) is None


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_encodings_with_counts_of_their_own_cannot_be_vouched_for(encoding: str) -> None:
    """Their page headers do not say how much the pages decode to."""
    table = pa.table({"c": ["a", "b"]})
    body = parquet(table, use_dictionary=False, column_encoding={"c": encoding})
    assert chosen(body) is None


def test_types_that_are_cast_in_python_cannot_be_vouched_for() -> None:
    """A list view is converted via Python objects, which are larger than any buffer."""
    body = parquet(pa.table({"c": pa.array([[1], None], pa.list_view(pa.int32()))}))
    file = open_file(pa.BufferReader(body))
    expected = None if pa.types.is_list_view(file.schema_arrow.field("c").type) else MOST_ROWS
    assert chosen(body) == expected


# Many columns


def wide(columns: int, rows: int = 4000) -> pa.Table:
    """Make a table whose dictionaries together take much more than a bound of 16 MiB."""
    made = {f"c{number}": pa.array([(i * number) / 7 for i in range(rows)]) for number in range(2)}
    return pa.table([made[f"c{n % 2}"] for n in range(columns)], [f"c{n}" for n in range(columns)])


def test_many_columns_are_decoded_some_at_a_time() -> None:
    """Many rows at a time, and every column is in one group, in order."""
    plan = planned(parquet(wide(200)), 16 * MIB)
    assert plan is not None
    assert plan.rows == 1024
    assert len(plan.column_groups) > 1
    assert [leaf for part in plan.column_groups for leaf in part] == list(range(200))


def test_the_leaves_of_a_column_stay_together() -> None:
    """All leaves of a list, struct or map are in one column group."""
    kind = pa.struct(
        [
            ("a", pa.list_(pa.float64())),
            ("m", pa.map_(pa.string(), pa.int64())),
            ("s", pa.struct([("x", pa.int64())])),
        ]
    )
    rows = [{"a": [1.5 * i], "m": [("k", i)], "s": {"x": i}} for i in range(4000)]
    columns = [pa.array(rows, kind)] * 40
    plan = planned(parquet(pa.table(columns, [f"c{n}" for n in range(40)])), 46 * MIB)
    assert plan is not None
    assert len(plan.column_groups) > 1
    assert all(part.start % 4 == 0 for part in plan.column_groups)
    assert plan.column_groups[-1].stop == 160


def test_one_column_that_is_too_large_is_not_helped_by_leaving_out_others() -> None:
    """No column groups are made: the sandbox decides, as for a file of one column."""
    table = wide(200).append_column("x", [["x" * MIB * 20, *[""] * 3999]])
    plan = planned(parquet(table), 16 * MIB)
    assert plan is None or not plan.column_groups


def test_no_plan_has_too_many_column_groups() -> None:
    """Each column group takes a temporary file, so their number is limited."""
    plan = planned(parquet(wide(200)), 200 * 1024)
    assert plan is None or not plan.column_groups
