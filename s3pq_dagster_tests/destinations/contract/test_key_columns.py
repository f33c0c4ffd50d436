"""Columns that keys make, in each destination."""

import datetime as dt

import pyarrow as pa

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.layout.rules import Layout, Rule
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load, reasons
from s3pq_dagster_tests.destinations.contract.parameters import ONE_OF_EACH_KIND
from s3pq_dagster_tests.destinations.tables import rows

HIVE = Layout(
    rules=[
        Rule(
            match="t/{hive}/*",
            types={"n": "int", "ok": "bool", "day": "date", "at": "timestamp"},
        )
    ]
)


def ids(*values: int) -> pa.Table:
    """Make rows of one column."""
    return pa.table({"id": pa.array(values, pa.int64())})


@ONE_OF_EACH_KIND
def test_partitions_are_columns(bucket: Bucket, destination: Destination) -> None:
    """Text as it is in the key, and each declared type, with nulls; and the key byte for byte."""
    key = "t/c=%C3%BC 1/n=007/ok=true/day=2024-02-29/at=2024-02-29 09%3A30/p"
    nothing = f"t/c={'__HIVE_DEFAULT_PARTITION__'}/n=/ok=/day=/at=/p"
    bucket.put(key, ids(1, 2))
    bucket.put(nothing, ids(3))
    load(bucket, destination, layout=HIVE)
    values = {
        "c": "ü 1",
        "n": 7,
        "ok": True,
        "day": dt.date(2024, 2, 29),
        "at": dt.datetime(2024, 2, 29, 9, 30),  # noqa: DTZ001 - a key's time has no zone
        "_s3_key": key,
    }
    found = rows(destination, "t", ["id", *values])
    assert sorted(found, key=lambda row: row["id"]) == [
        {"id": 1, **values},
        {"id": 2, **values},
        {"id": 3, **dict.fromkeys(values), "_s3_key": nothing},
    ]
    again = load(bucket, destination, layout=HIVE)
    assert again.bytes == 0


@ONE_OF_EACH_KIND
def test_an_object_whose_key_has_no_value_is_set_aside(
    bucket: Bucket, destination: Destination
) -> None:
    """The reason names column, value and type; the others load."""
    bucket.put("t/n=1/p", ids(1))
    bucket.put("t/n=x/p", ids(2))
    bucket.put("t/n=1/N=2/p", ids(3))
    report = load(bucket, destination, layout=HIVE)
    assert sorted(report.quarantined_keys) == ["t/n=1/N=2/p", "t/n=x/p"]
    found = reasons(bucket, destination)
    assert "column 'n' the value 'x', which is no int" in found["t/n=x/p"]
    assert "column 'N' twice" in found["t/n=1/N=2/p"]
    assert [row["id"] for row in rows(destination, "t", ["id"])] == [1]


@ONE_OF_EACH_KIND
def test_a_value_of_a_key_obeys_the_destinations_rules(
    bucket: Bucket, destination: Destination
) -> None:
    """PostgreSQL's text cannot have NUL: it sets its object aside there, and is kept elsewhere."""
    bucket.put("t/c=a%00b/p", ids(1))
    bucket.put("t/c=b/p", ids(2))
    report = load(bucket, destination, layout=HIVE)
    kept = {row["id"]: row["c"] for row in rows(destination, "t", ["id", "c"])}
    refused = {2: "b"}
    assert kept in (refused, refused | {1: "a\0b"})
    assert report.quarantined_keys == ([] if 1 in kept else ["t/c=a%00b/p"])
