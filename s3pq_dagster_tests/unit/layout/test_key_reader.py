"""Key columns are right in whatever order keys are asked for."""

import random

import pytest

from s3pq_dagster.layout.key_columns import KeyColumnError
from s3pq_dagster.layout.key_reader import KeyReader
from s3pq_dagster.layout.rules import Layout, Rule

LAYOUT = Layout(
    rules=[
        Rule(match="a/{table}/{n:int}.parquet"),
        Rule(match="a/{hive}/{name}.parquet", drop=["k"]),
    ],
    unmatched="dated",
)


def test_each_key_has_the_columns_of_the_rule_that_takes_it() -> None:
    """In order, not in order, and keys that were not announced."""
    keys = [f"a/t/{number}.parquet" for number in range(2500)]
    asked = random.Random(1).sample(keys, 40)
    reader = KeyReader(LAYOUT, keys)
    for key in [*keys[:5], *asked, keys[-1], "a/t/77777.parquet"]:
        (column,) = reader.columns(key)
        assert f"a/t/{column.value}.parquet" == key


def test_what_no_rule_takes_is_the_presets() -> None:
    """A dropped capture makes no column, and an ignored key none at all."""
    reader = KeyReader(LAYOUT)
    named = reader.columns("a/k=1/l=2/x.parquet")
    assert [(column.name, column.value) for column in named] == [("l", "2"), ("name", "x")]
    dated = reader.columns("b/k=1/2024/02/x.parquet")
    assert [column.name for column in dated] == ["k", "year", "month"]
    assert KeyReader(Layout(unmatched="prefix")).columns("b/k=1/x.parquet") == []
    assert KeyReader(Layout(unmatched="ignore")).columns("b/k=1/x.parquet") == []


def test_keys_of_a_folder_are_read_once_and_each_as_alone() -> None:
    """Whatever comes between: another folder, a key without one, names that are taken."""
    keys = ["t/d=1/a.parquet", "t/d=1/b.parquet", "t/d=2/a.parquet", "t/a.parquet", "a.parquet"]
    reader = KeyReader(Layout(), keys)
    for key in [*keys, *reversed(keys)]:
        assert reader.columns(key) == KeyReader(Layout()).columns(key)
    assert reader.columns(keys[0]) is reader.columns(keys[1])
    with pytest.raises(KeyColumnError, match="'d'"):
        reader.columns(keys[1], ("d",))
