"""Which rule makes a table, and the hash of what its stored rows depend on."""

from typing import Any

import polars as pl
import pytest

from s3pq_dagster.layout.presets import PRESETS
from s3pq_dagster.layout.rules import Layout
from s3pq_dagster.layout.table_rule import columns_hash, rule_of
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.catalog import group_objects


def layout(*rules: dict[str, Any], unmatched: str = "hive") -> Layout:
    """Return a layout of some rules."""
    return Layout.of({"rules": list(rules), "unmatched": unmatched})


def patterns(made: Layout, *keys: str) -> list[str]:
    """Return the patterns of the tables of some keys."""
    groups = group_objects(Listing(pl.DataFrame({"key": keys})), made).groups
    return [group.folder.pattern for group in groups]


@pytest.mark.parametrize(
    ("match", "table", "key"),
    [
        ("a/*.parquet", None, "a/x.parquet"),
        ("a/{table}/*.parquet", None, "a/{t}*{/x.parquet"),
        ("a/{{b}}/{table}/{x}*", None, "a/{b}/t/x1"),
        ("a/{s}.{table}/*", "{s}_{table}", "a/b.c.d/x"),
        ("{d:date(%Y/%m)}/{x:int}.parquet", "t{d}", "2024/01/5.parquet"),
        ("**/a/{hive}/{table}.parquet", None, "z/a/b=1/t.parquet"),
    ],
)
def test_the_rule_of_a_table_is_found_by_its_pattern(
    match: str, table: str | None, key: str
) -> None:
    """Whatever its name is made of; rules of other keys stand before it."""
    made = layout({"match": "other/{table}/*"}, {"match": match, "table": table})
    (pattern,) = patterns(made, key)
    assert rule_of(made, pattern) is made.rules[1]


def test_a_capture_of_another_rule_is_no_name() -> None:
    """Only text stands for a capture that names the table."""
    made = layout(
        {"match": "a/x_{table}.parquet"}, {"match": "a/{table}_{n}.parquet"}, {"match": "a/*"}
    )
    found = patterns(made, "a/x_1.parquet", "a/y_1.parquet", "a/z.parquet", "b/1.parquet")
    assert [rule_of(made, pattern) for pattern in sorted(found)] == [
        made.rules[2],
        made.rules[0],
        made.rules[1],
        None,
    ]


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("key", ["a/b/x.parquet", "a/y.parquet", "x.parquet", "a/k=1/x.parquet"])
def test_presets_that_make_the_same_rows_have_the_same_hash(preset: str, key: str) -> None:
    """None: so that a table goes on whether its folder has partitions yet or not."""
    made = layout(unmatched=preset)
    assert [columns_hash(made, pattern) for pattern in patterns(made, key)] == [""]


def test_a_date_is_the_same_by_preset_and_by_rule() -> None:
    """They make the same columns of the same pattern."""
    dated = layout(unmatched="dated")
    (pattern,) = patterns(dated, "f/2024/01/x.parquet")
    rule = layout({"match": pattern})
    assert columns_hash(dated, pattern) == columns_hash(rule, pattern) == "298f7637126dfe24"


def hashed(**fields: Any) -> str:
    """Return the hash of a rule's only table."""
    made = layout(fields)
    (pattern,) = patterns(made, "e/a/b/k=1/x.parquet")
    return columns_hash(made, pattern)


SAME = {"match": "e/{a}/b/{hive}/*.parquet", "table": "t"}


def test_what_rows_depend_on_changes_the_hash() -> None:
    """Captures, their types, those of partitions, and what is dropped; nothing else."""
    others: list[dict[str, Any]] = [
        {},
        {"match": "e/{z}/b/{hive}/*.parquet"},
        {"match": "e/{a}/{b}/{hive}/*.parquet"},
        {"types": {"k": "int"}},
        {"types": {"k": "date"}},
        {"types": {"k": "date(%Y)"}},
        {"types": {"a": "int"}},
        {"drop": ["k"]},
        {"drop": ["a"]},
    ]
    assert len({hashed(**SAME | other) for other in others}) == len(others)
    same: list[dict[str, Any]] = [
        {"table": "{a}"},
        {"types": {"k": "text", "a": "text"}},
        {"table_format": "files"},
        {"match": "e/{a:text}/*/{hive}/*"},
    ]
    assert {hashed(**SAME | other) for other in same} == {hashed(**SAME)}
    assert hashed(match="e/*/*/{hive}/*", table="t") == ""
    assert hashed(match="e/{table}/*/{hive}/*") == ""
