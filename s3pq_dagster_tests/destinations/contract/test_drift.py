"""Schemas that drift, in each mode and each destination."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import SchemaMismatchError, UnsupportedSchemaError
from s3pq_dagster.layout.rules import Layout, Rule
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load, owner, reasons
from s3pq_dagster_tests.destinations.contract.parameters import ONE_OF_EACH_KIND
from s3pq_dagster_tests.destinations.tables import rows

BIG = 2**53 + 1


def table(**columns: Any) -> pa.Table:
    """Make one row, or one for each item of a list."""
    arrays = {
        name: values if isinstance(values, pa.Array) else pa.array(values)
        for name, values in columns.items()
    }
    return pa.table(arrays)


def found(destination: Destination, *names: str) -> list[tuple[Any, ...]]:
    """Return the rows of some columns, sorted by their key."""
    wanted = rows(destination, "t", ["_s3_key", *names])
    wanted.sort(key=lambda row: row["_s3_key"])
    return [tuple(row[name] for name in names) for row in wanted]


def names(bucket: Bucket, destination: Destination) -> list[str]:
    """Return the table's columns but for ours."""
    schema = destination.state(owner(bucket)).schema
    return [] if schema is None else [n for n in schema.names if not n.startswith("_")]


def evolve(bucket: Bucket, destination: Destination, **fields: Any) -> LoadReport:
    """Load what is pending into a table that may grow."""
    return load(bucket, destination, **({"schema_mode": "evolve"} | fields))


@ONE_OF_EACH_KIND
def test_a_new_column_is_null_in_the_rows_that_are_there(
    bucket: Bucket, destination: Destination
) -> None:
    """As in change data: old rows keep their ids, and no object is read again."""
    bucket.put("t/LOAD", table(id=[1, 2], amount=[1.5, 2.5]))
    evolve(bucket, destination)
    before = {row["id"]: row["_cq_id"] for row in rows(destination, "t", ["id", "_cq_id"])}
    bucket.put("t/cdc", table(Op=["U"], id=[3], amount=[3.5]))
    report = evolve(bucket, destination)
    assert (report.objects, report.columns_added) == (1, ["Op"])
    assert found(destination, "id", "Op") == [(1, None), (2, None), (3, "U")]
    after = {row["id"]: row["_cq_id"] for row in rows(destination, "t", ["id", "_cq_id"])}
    assert {key: after[key] for key in before} == before
    again = evolve(bucket, destination)
    assert (again.bytes, again.columns_added) == (0, [])
    audit = destination.audit(owner(bucket))
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()


@ONE_OF_EACH_KIND
def test_columns_that_are_missing_are_null(bucket: Bucket, destination: Destination) -> None:
    """Whichever object lacks them, and in one run."""
    bucket.put("t/1", table(id=[1], a=["x"]))
    bucket.put("t/2", table(id=[2], b=["y"]))
    bucket.put("t/3", table(b=["z"], a=["w"]))
    evolve(bucket, destination)
    assert found(destination, "id", "a", "b") == [(1, "x", None), (2, None, "y"), (None, "w", "z")]


TAXIS = [
    {
        "VendorID": pa.array([1], pa.int32()),
        "passenger_count": pa.array([1], pa.int64()),
        "airport_fee": pa.nulls(1),
        "flag": pa.array(["N"], pa.large_string()),
        "at": pa.array([dt.datetime(2023, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001
    },
    {
        "VendorID": pa.array([2], pa.int64()),
        "passenger_count": pa.array([None], pa.float64()),
        "airport_fee": pa.array([1.25]),
        "flag": pa.array(["Y"], pa.string()),
        "at": pa.array([dt.datetime(2023, 2, 1)], pa.timestamp("us")),  # noqa: DTZ001
    },
    {
        "VendorID": pa.array([6], pa.int32()),
        "passenger_count": pa.array([2.0], pa.float64()),
        "Airport_fee": pa.array([1.75]),
        "flag": pa.array(["N"], pa.string()),
        "at": pa.array([dt.datetime(2023, 3, 1)], pa.timestamp("ns")),  # noqa: DTZ001
    },
]
"""How the files of New York's taxis drift from month to month."""


@ONE_OF_EACH_KIND
def test_types_grow_month_by_month(bucket: Bucket, destination: Destination) -> None:
    """A month a run; each object is requested once."""
    for number, month in enumerate(TAXIS, start=1):
        bucket.put(f"t/{number}", pa.table(month))
        assert evolve(bucket, destination).objects == 1
    wanted = [(1, 1.0, None, "N"), (2, None, 1.25, "Y"), (6, 2.0, 1.75, "N")]
    assert found(destination, "VendorID", "passenger_count", "airport_fee", "flag") == wanted
    state = destination.state(owner(bucket))
    assert state.schema is not None
    assert state.schema.field("VendorID").type == pa.int64()
    assert names(bucket, destination) == [*TAXIS[0]]
    days = [(dt.datetime(2023, month, 1),) for month in (1, 2, 3)]  # noqa: DTZ001
    assert found(destination, "at") == days


@ONE_OF_EACH_KIND
def test_a_stored_value_forbids_a_type_that_would_change_it(
    bucket: Bucket, destination: Destination
) -> None:
    """The error names column and value, and the table is as before."""
    bucket.put("t/1", table(x=[BIG]))
    evolve(bucket, destination)
    bucket.put("t/2", table(x=[0.5], y=[1]))
    with pytest.raises(SchemaMismatchError, match=rf"column 'x' .*{BIG}"):
        evolve(bucket, destination)
    assert names(bucket, destination) == ["x"]
    assert found(destination, "x") == [(BIG,)]


@ONE_OF_EACH_KIND
def test_a_value_without_an_equal_sets_its_object_aside(
    bucket: Bucket, destination: Destination
) -> None:
    """Other objects of the same run load, and the columns of the one are not added."""
    bucket.put("t/1", table(x=[0.5]))
    bucket.put("t/2", table(x=[BIG], y=[1]))
    bucket.put("t/3", table(x=[3]))
    report = evolve(bucket, destination)
    assert report.quarantined_keys == ["t/2"]
    assert f"{BIG}" in reasons(bucket, destination)["t/2"]
    assert found(destination, "x") == [(0.5,), (3.0,)]
    assert names(bucket, destination) == ["x"]


@ONE_OF_EACH_KIND
def test_types_without_a_join_are_an_error(bucket: Bucket, destination: Destination) -> None:
    """Never text; the first row stays."""
    bucket.put("t/1", table(x=["one"]))
    evolve(bucket, destination)
    bucket.put("t/2", table(x=[2]))
    with pytest.raises(SchemaMismatchError, match="no type holds both string and int64") as caught:
        evolve(bucket, destination)
    assert "schema_mode: rescue" in str(caught.value)
    assert found(destination, "x") == [("one",)]


@ONE_OF_EACH_KIND
def test_what_has_no_column_is_rescued(bucket: Bucket, destination: Destination) -> None:
    """Values that fit are kept in their column; the others, and new columns, are JSON."""
    bucket.put("t/1", table(x=[1]))
    load(bucket, destination, schema_mode="rescue")
    bucket.put("t/2", table(x=["q"], y=[2.0]))
    bucket.put("t/3", table(x=pa.array([3, None, 2**62], pa.uint64()), z=[None, [1], None]))
    bucket.put("t/4", table(X=[4.0, 4.5]))
    load(bucket, destination, schema_mode="rescue")
    assert names(bucket, destination) == ["x"]
    texts = found(destination, "x", "_s3pq_rescued")
    read = [(x, None if text is None else json.loads(text)) for x, text in texts]
    assert sorted(read, key=str) == sorted(
        [
            (1, None),
            (None, {"x": "q", "y": 2.0}),
            (3, None),
            (None, {"z": [1]}),
            (2**62, None),
            (4, None),
            (None, {"X": 4.5}),
        ],
        key=str,
    )


@ONE_OF_EACH_KIND
def test_strict_tells_every_schema_that_deviates(bucket: Bucket, destination: Destination) -> None:
    """One error, with the number of objects and the first key of each."""
    bucket.put("t/1", table(x=[1]))
    load(bucket, destination)
    for key in ("2", "3", "4"):
        bucket.put(f"t/{key}", table(x=["one"]))
    bucket.put("t/5", table(x=[1], y=[1]))
    with pytest.raises(SchemaMismatchError) as caught:
        load(bucket, destination)
    text = str(caught.value)
    assert "3 objects, 't/2' first: column 'x': expected int64, found string" in text
    assert "1 objects, 't/5' first: column 'y' (int64) is not in 't/1'" in text
    assert "schema_mode: evolve" in text


@pytest.mark.first_case
@ONE_OF_EACH_KIND
@pytest.mark.parametrize("mode", ["strict", "evolve", "rescue"])
def test_the_first_schema_counts_as_long_as_rows_of_it_are_left(
    bucket: Bucket, destination: Destination, mode: str
) -> None:
    """A table whose only object is overwritten has the new columns alone."""
    bucket.put("t/1", table(x=[1], y=["y"]))
    load(bucket, destination, schema_mode=mode)
    bucket.put("t/1", table(x=["one"], z=[1]))
    load(bucket, destination, schema_mode=mode)
    assert names(bucket, destination) == ["x", "z"]
    assert found(destination, "x", "z") == [("one", 1)]


@ONE_OF_EACH_KIND
def test_a_table_without_objects_takes_any_schema(bucket: Bucket, destination: Destination) -> None:
    """All were deleted and mirrored; what comes then has other columns."""
    bucket.put("t/1", table(x=[1]))
    load(bucket, destination, write_mode="mirror")
    bucket.delete("t/1")
    load(bucket, destination, write_mode="mirror", options={"allow_empty_listing": True})
    bucket.put("t/2", table(x=["one"]))
    load(bucket, destination, write_mode="mirror")
    assert found(destination, "x") == [("one",)]


@ONE_OF_EACH_KIND
def test_an_object_that_cannot_be_loaded_keeps_the_schema(
    bucket: Bucket, destination: Destination
) -> None:
    """All loaded objects are replaced, but not all of them can be read: ordinary drift."""
    bucket.put("t/1", table(x=[1]))
    bucket.put("t/2", table(x=[2]))
    load(bucket, destination)
    bucket.put("t/1", table(x=["one"]))
    bucket.put("t/2", b"no Parquet")
    with pytest.raises(SchemaMismatchError):
        load(bucket, destination)
    assert found(destination, "x") == [(1,), (2,)]


@ONE_OF_EACH_KIND
def test_a_mirror_removes_no_row_before_what_may_fail(
    bucket: Bucket, destination: Destination
) -> None:
    """One object has a new column, one is gone, one is as it was."""
    for key in ("1", "2", "3"):
        bucket.put(f"t/{key}", table(x=[int(key)]))
    load(bucket, destination, write_mode="mirror")
    bucket.put("t/1", table(x=[1], y=[1]))
    bucket.delete("t/2")
    with pytest.raises(SchemaMismatchError):
        load(bucket, destination, write_mode="mirror")
    assert found(destination, "x") == [(1,), (2,), (3,)]
    evolve(bucket, destination, write_mode="mirror")
    assert found(destination, "x", "y") == [(1, 1), (3, None)]


@ONE_OF_EACH_KIND
def test_a_mirror_whose_objects_are_all_others_says_so(
    bucket: Bucket, destination: Destination
) -> None:
    """The rows of two objects are gone, and the columns with them."""
    bucket.put("t/1", table(x=[1]))
    bucket.put("t/2", table(x=[2]))
    load(bucket, destination, write_mode="mirror")
    bucket.delete("t/1")
    bucket.delete("t/2")
    bucket.put("t/3", table(y=["y"]))
    report = load(bucket, destination, write_mode="mirror")
    assert (report.removed, report.objects) == (2, 1)
    assert found(destination, "y") == [("y",)]
    assert names(bucket, destination) == ["y"]


@ONE_OF_EACH_KIND
def test_chunks_of_a_day_are_replaced_and_gone(bucket: Bucket, destination: Destination) -> None:
    """As cost and usage reports come: a chunk is overwritten with a new column, another is gone."""
    layout = Layout(rules=[Rule(match="t/{hive}/*.parquet")])
    fields = {"layout": layout, "write_mode": "mirror"}
    bucket.put("t/BILLING_PERIOD=2024-01/c1.parquet", table(cost=[1.0, 2.0, 3.0]))
    bucket.put("t/BILLING_PERIOD=2024-01/c2.parquet", table(cost=[4.0, 5.0, 6.0]))
    evolve(bucket, destination, **fields)
    assert len(found(destination, "cost")) == 6
    bucket.put("t/BILLING_PERIOD=2024-01/c1.parquet", table(cost=[1.0, 2.0, 3.5], tag=["a"] * 3))
    bucket.delete("t/BILLING_PERIOD=2024-01/c2.parquet")
    bucket.put("t/BILLING_PERIOD=2024-02/c1.parquet", table(cost=[7.0]))
    evolve(bucket, destination, **fields)
    assert sorted(found(destination, "BILLING_PERIOD", "cost", "tag")) == [
        ("2024-01", 1.0, "a"),
        ("2024-01", 2.0, "a"),
        ("2024-01", 3.5, "a"),
        ("2024-02", 7.0, None),
    ]


@ONE_OF_EACH_KIND
def test_a_refresh_grows_within_its_transaction(bucket: Bucket, destination: Destination) -> None:
    """Each object adds or widens a column."""
    bucket.put("t/1", table(x=pa.array([1], pa.int32())))
    bucket.put("t/2", table(x=pa.array([2**40]), y=["y"]))
    bucket.put("t/3", table(x=[0.5], z=[[1]]))
    for _ in range(2):
        evolve(bucket, destination, incremental=False)
        assert found(destination, "x", "y", "z") == [
            (1.0, None, None),
            (float(2**40), "y", None),
            (0.5, None, [1]),
        ]


@ONE_OF_EACH_KIND
def test_an_overwritten_object_is_replaced_in_the_commit_that_widens(
    bucket: Bucket, destination: Destination
) -> None:
    """Its old rows go, though all rows of the table are written anew."""
    bucket.put("t/1", table(x=pa.array([1, 2], pa.int32())))
    bucket.put("t/2", table(x=pa.array([3], pa.int32())))
    evolve(bucket, destination)
    bucket.put("t/1", table(x=[2**40, 0.5], y=[1, 2]))
    evolve(bucket, destination)
    wanted = [(0.5, 2), (3.0, None), (float(2**40), 1)]
    assert sorted(found(destination, "x", "y")) == wanted


@ONE_OF_EACH_KIND
def test_nested_values_grow_part_by_part(bucket: Bucket, destination: Destination) -> None:
    """Fields are added within structs, and lists of nulls take the type that comes later."""
    first = pa.struct([("a", pa.int32())])
    then = pa.struct([("a", pa.int64()), ("b", pa.string())])
    bucket.put(
        "t/1",
        table(
            s=pa.array([{"a": 1}, None], first),
            l=pa.array([[1], None], pa.list_(first.field(0).type)),
        ),
    )
    evolve(bucket, destination)
    bucket.put("t/2", table(s=pa.array([{"a": 2**40, "b": "x"}], then), l=[[2**40]]))
    evolve(bucket, destination)
    assert sorted(found(destination, "s", "l"), key=str) == [
        (None, None),
        ({"a": 1, "b": None}, [1]),
        ({"a": 2**40, "b": "x"}, [2**40]),
    ]


@ONE_OF_EACH_KIND
def test_what_a_destination_can_hold_is_judged_by_all_that_is_pending(
    bucket: Bucket, destination: Destination
) -> None:
    """An object of half floats, which some destinations have not, comes before one of floats."""
    bucket.put("t/1", table(x=pa.array([0.5], pa.float16())))
    bucket.put("t/2", table(x=pa.array([0.25], pa.float32())))
    evolve(bucket, destination)
    assert found(destination, "x") == [(0.5,), (0.25,)]


@ONE_OF_EACH_KIND
def test_modes_may_change_from_run_to_run(bucket: Bucket, destination: Destination) -> None:
    """A table that rescued values goes on strictly, with the column that it has."""
    bucket.put("t/1", table(x=[1]))
    load(bucket, destination)
    bucket.put("t/2", table(x=[2], y=["y"]))
    load(bucket, destination, schema_mode="rescue")
    bucket.put("t/3", table(x=[3]))
    load(bucket, destination)
    bucket.put("t/4", table(x=[4], y=["z"]))
    evolve(bucket, destination)
    texts = found(destination, "x", "y", "_s3pq_rescued")
    assert [(x, y, text and json.loads(text)) for x, y, text in texts] == [
        (1, None, None),
        (2, None, {"y": "y"}),
        (3, None, None),
        (4, "z", None),
    ]


@ONE_OF_EACH_KIND
def test_what_only_becomes_json_obeys_no_other_rule(
    bucket: Bucket, destination: Destination
) -> None:
    """NUL, nanoseconds and durations are rescued, whatever the destination's own types hold."""
    bucket.put("t/1", table(x=[1]))
    load(bucket, destination, schema_mode="rescue")
    bucket.put("t/2", table(x=[2], y=["a\0b"]))
    bucket.put("t/3", table(x=[3], at=pa.array([1], pa.timestamp("ns"))))
    bucket.put("t/4", table(x=[4], took=pa.array([1], pa.duration("ns"))))
    assert load(bucket, destination, schema_mode="rescue").quarantined_keys == []
    texts = [json.loads(text) for _, text in found(destination, "x", "_s3pq_rescued")[1:]]
    assert texts == [
        {"y": "a\0b"},
        {"at": "1970-01-01T00:00:00.000000001"},
        {"took": "PT0.000000001S"},
    ]


@ONE_OF_EACH_KIND
def test_ids_of_files_are_theirs_alone(bucket: Bucket, destination: Destination) -> None:
    """Files with ids of their own in another type are joined by files that have none."""
    bucket.put("t/1", table(x=[1], _cq_id=["a"]))
    load(bucket, destination, schema_mode="rescue")
    bucket.put("t/2", table(x=[2]))
    load(bucket, destination, schema_mode="rescue")
    bucket.put("t/3", table(x=[3]))
    evolve(bucket, destination)
    assert found(destination, "x", "_cq_id") == [(1, "a"), (2, None), (3, None)]


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("mode", ["strict", "evolve", "rescue"])
def test_the_name_of_rescued_values_is_taken(
    bucket: Bucket, destination: Destination, mode: str
) -> None:
    """In every mode, so that one may be changed to another."""
    bucket.put("t/1", table(x=[1], _S3PQ_rescued=[1]))
    with pytest.raises(UnsupportedSchemaError, match="_S3PQ_rescued"):
        load(bucket, destination, schema_mode=mode)


@ONE_OF_EACH_KIND
def test_the_error_says_what_was_committed(bucket: Bucket, destination: Destination) -> None:
    """The object before is in the table, and stays."""
    bucket.put("t/1", table(x=[BIG]))
    bucket.put("t/2", table(x=[0.5]))
    with pytest.raises(SchemaMismatchError, match="1 objects are committed, up to 't/1'"):
        evolve(bucket, destination)
    assert found(destination, "x") == [(BIG,)]


@pytest.mark.thorough
@ONE_OF_EACH_KIND
def test_the_error_names_the_object_that_keeps_a_schema(
    bucket: Bucket, destination: Destination
) -> None:
    """Its table would have taken the new schema otherwise."""
    bucket.put("t/1", table(x=[1]))
    load(bucket, destination)
    bucket.put("t/1", table(x=["one"]))
    bucket.put("t/0", b"no Parquet")
    with pytest.raises(SchemaMismatchError, match="but: 't/0' cannot be loaded"):
        load(bucket, destination)
    bucket.delete("t/0")
    load(bucket, destination)
    assert found(destination, "x") == [("one",)]


@pytest.mark.thorough
@ONE_OF_EACH_KIND
def test_an_error_tells_some_of_many_schemas(bucket: Bucket, destination: Destination) -> None:
    """A log is read by people."""
    bucket.put("t/0", table(x=[1]))
    for number in range(1, 25):
        bucket.put(f"t/{number:02}", table(**{f"c{number}_{each}": [1] for each in range(12)}))
    with pytest.raises(SchemaMismatchError) as caught:
        load(bucket, destination)
    text = str(caught.value)
    assert "4 objects of 4 more schemas" in text
    assert "and 5 more" in text
    assert text.count("\n") < 30


@ONE_OF_EACH_KIND
def test_exact_integers_are_kept_in_a_decimal(bucket: Bucket, destination: Destination) -> None:
    """A value counts, not its type; one that does not fit is JSON."""
    bucket.put("t/1", table(x=pa.array([Decimal("1.25")], pa.decimal128(8, 2))))
    load(bucket, destination, schema_mode="rescue")
    bucket.put("t/2", table(x=[123, 10**7]))
    load(bucket, destination, schema_mode="rescue")
    got = sorted(found(destination, "x", "_s3pq_rescued"), key=str)
    assert [(x, text and json.loads(text)) for x, text in got] == [
        (Decimal("1.25"), None),
        (Decimal(123), None),
        (None, {"x": 10**7}),
    ]
