"""The name of the table of a prefix, and which names are loaded."""

import pytest

from s3pq_dagster.errors import TableNameError
from s3pq_dagster.source.table_names import is_selected, table_name
from s3pq_dagster_tests.key_rules import prefix_of

NAMES = [
    ("datafile_0.parquet", "datafile_0"),
    ("data/x.parquet", "data"),
    ("data/2024/x.parquet", "data_2024"),
    ("data/2024/02/14/14/15/x.parquet", "data_2024_02_14_14_15"),
    ("Data.PARQUET", "Data"),
    ("a-b/x.parquet", "a_b"),
    ("a b+c%d/x.parquet", "a_b_c_d"),
    ("__a__b__/x.parquet", "a_b"),
    ("a//b/../c/x.parquet", "a_b_c"),
    ("/lead/x.parquet", "lead"),
    ("year=2024/month=02/x.parquet", "year_2024_month_02"),
    ("straße/x.parquet", "stra_e"),
    ("日本1/x.parquet", "1"),
    ("a.b.parquet", "a_b"),
    ("x.parquet/y.parquet", "x_parquet"),
    ("a\nb/x.parquet", "a_b"),
]


@pytest.mark.parametrize(("key", "name"), NAMES)
def test_a_key_gives_its_table_name(key: str, name: str) -> None:
    """Every level of the prefix is in the name, by cq-source-s3's rule."""
    assert table_name(prefix_of(key)) == name


@pytest.mark.parametrize("key", ["/x.parquet", "日本/x.parquet", "__/x.parquet", "日本.parquet"])
def test_a_prefix_without_a_letter_or_digit_has_no_name(key: str) -> None:
    """An empty name is an error that names the prefix."""
    with pytest.raises(TableNameError, match="empty table name") as caught:
        table_name(prefix_of(key))
    assert repr(prefix_of(key)) in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "skip_tables", "selected"),
    [
        (["*"], [], True),
        (["orders"], [], True),
        (["order?"], [], True),
        (["[op]rders"], [], True),
        (["x", "ord*"], [], True),
        (["Orders"], [], False),
        (["customers"], [], False),
        (["*"], ["orders"], False),
        (["orders"], ["ord*"], False),
        (["*"], ["ORDERS"], True),
        ([], [], False),
    ],
)
def test_globs_choose_tables(tables: list[str], skip_tables: list[str], *, selected: bool) -> None:
    """A name passes when one of `tables` matches and none of `skip_tables` does."""
    assert is_selected("orders", tables=tables, skip_tables=skip_tables) is selected
