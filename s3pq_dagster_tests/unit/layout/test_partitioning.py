"""What a rule's ``partitions`` may say, and the partition of a key."""

from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from s3pq_dagster.layout.key_partitions import first_partitions, partitions_of
from s3pq_dagster.layout.rules import Rule

HIVE = {"match": "e/{hive}/*.parquet"}
TIMED = {"match": "f/{table}/{dt:date(%Y/%m/%d)}/{hour:int}/*.parquet"}


@pytest.mark.parametrize(
    ("rule", "partitions"),
    [
        (
            HIVE | {"types": {"day": "date"}, "partitions": "daily(day)"},
            {
                "e/day=2024-01-05/x/p.parquet": None,
                "e/day=2024-01-05/p.parquet": "2024-01-05",
                "e/x=1/day=2024-01-05/y=2/p.parquet": "2024-01-05",
                "e/yesterday=2024-01-05/p.parquet": None,
                "e/day=__HIVE_DEFAULT_PARTITION__/p.parquet": None,
                "e/day=2024-02-30/p.parquet": None,
                "e/p.parquet": None,
                "else/where": None,
            },
        ),
        (
            HIVE | {"partitions": "daily(year, month, day, timezone=Europe/Berlin)"},
            {
                "e/year=2024/month=1/day=05/p.parquet": "2024-01-05",
                "e/year=2024/month=13/day=05/p.parquet": None,
                "e/year=2024/month=1/p.parquet": None,
            },
        ),
        (
            HIVE | {"types": {"t": "timestamp"}, "partitions": "hourly(t)"},
            {
                "e/t=2024-01-05 07%3A10/p.parquet": "2024-01-05-07:00",
                "e/t=2024-01-05T23:59:59/p.parquet": "2024-01-05-23:00",
            },
        ),
        (
            TIMED | {"partitions": "hourly(dt, hour)"},
            {
                "f/a/2024/01/05/7/x.parquet": "2024-01-05-07:00",
                "f/a/2024/01/05/24/x.parquet": None,
            },
        ),
        (TIMED | {"partitions": "daily(dt)"}, {"f/a/2024/01/05/7/x.parquet": "2024-01-05"}),
        (
            {"match": "m/{y}/{m}/*", "partitions": "monthly(y, m)"},
            {"m/2024/07/x.parquet": "2024-07-01", "m/0/07/x.parquet": None},
        ),
        (
            HIVE | {"partitions": "static(c)", "drop": ["c"]},
            {
                "e/c=S%C3%A3o/p.parquet": "São",
                "e/c=/p.parquet": None,
                "e/c=a...b/p.parquet": None,
            },
        ),
    ],
)
def test_a_key_says_what_its_partition_is(
    rule: dict[str, Any], partitions: dict[str, str | None]
) -> None:
    """Times are read by the types of their captures; what is no time has no partition."""
    found = partitions_of(Rule(**rule), pl.Series("key", list(partitions), pl.String))
    assert dict(zip(partitions, found, strict=True)) == partitions


@pytest.mark.parametrize(
    ("partitions", "said"),
    [
        ("dayly(c)", "'dayly.c.' is none of hourly.…., daily.…., monthly.…., static.…."),
        ("daily", "is none of hourly"),
        ("daily()", "names no capture, as in daily.day."),
        ("daily(c, start=2024)", "start '2024' is no day as 2024-01-31"),
        ("daily(c, begin=2024-01-31)", "'begin' is none of start, timezone"),
        ("daily(c, timezone=Mars)", "'Mars' is no time zone as Europe/Berlin"),
        ("static(c, d)", "static takes one capture and nothing else"),
        ("static(c, start=2024-01-31)", "static takes one capture and nothing else"),
        ("daily(x)", "names 'x', which 'm/.*' does not capture; it captures 'c', 'table'"),
        ("static(table)", "names 'table', of which the table's name is made"),
        ("daily(c)", "give daily.year, month, day., or daily.x. of one date or timestamp"),
        ("hourly(c)", "or hourly.x. of one timestamp, or hourly.x, hour. of one date"),
    ],
)
def test_partitions_that_cannot_be_are_an_error_at_once(partitions: str, said: str) -> None:
    """The message says what there is instead."""
    with pytest.raises(ValidationError, match=said):
        Rule(match="m/{table}/{c}/*.parquet", partitions=partitions)


def test_the_least_time_or_all_texts_make_the_definition() -> None:
    """It is what a code location has to know of the keys."""
    daily = Rule(**HIVE, types={"d": "date"}, partitions="daily(d)")  # type: ignore[arg-type]
    keys = pl.Series("key", [f"e/d=2024-01-0{n}/p.parquet" for n in (3, 2, 4)])
    assert first_partitions(daily, keys) == ["2024-01-02"]
    static = Rule(**HIVE, partitions="static(d)")  # type: ignore[arg-type]
    assert first_partitions(static, keys) == ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert first_partitions(daily, keys.clear()) == []
