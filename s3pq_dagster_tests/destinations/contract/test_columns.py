"""Every column type and name comes back as it was or is refused."""

from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import (
    UnsupportedSchemaError,
)
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.destinations.columns import COLUMNS, FAMILIES, REFUSED
from s3pq_dagster_tests.destinations.contract.objects import A1, A2, B1
from s3pq_dagster_tests.destinations.contract.parameters import ONE_OF_EACH_KIND
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    SCHEMA,
    entries,
    loaded,
    rows,
    sealed,
    stream,
    write,
)
from s3pq_dagster_tests.levels import first_of

EACH_COLUMN = [
    pytest.param(column, id=name, marks=() if name in FAMILIES else pytest.mark.thorough)
    for name, column in COLUMNS.items()
]


def write_column(destination: Destination, column: pa.Array, name: str = "c") -> None:
    """Load one object of one column."""
    keys = pa.array(["orders/a"] * len(column))
    each = pa.record_batch([column, keys], names=[name, "_s3_key"])
    with write(destination) as writer:
        writer.commit(
            stream(each), schema_key="orders/a", seal=lambda: sealed(loaded(A1, len(column)))
        )


@pytest.mark.first_case
@ONE_OF_EACH_KIND
@pytest.mark.parametrize("column", EACH_COLUMN)
def test_a_column_comes_back_as_it_was_or_is_refused(
    destination: Destination, column: pa.Array
) -> None:
    """A column keeps type and values, extremes included, or is refused before anything is written.

    ``docs/types.md`` lists which types are refused; ``test_types.py`` checks that list.
    """
    try:
        write_column(destination, column)
    except UnsupportedSchemaError as refused:
        said = str(refused)
    else:
        with destination.read("orders", ["c"]) as reader:
            found = reader.read_all().column("c").combine_chunks()
        assert found.type == column.type
        assert found.equals(column) or repr(found.to_pylist()) == repr(column.to_pylist())
        assert destination.state(OWNER).schema == pa.schema([("c", column.type), SCHEMA.field(2)])
        return
    assert "'c'" in said
    assert "skip_tables" in said
    assert not destination.state(OWNER).exists
    assert entries(destination) == []


@ONE_OF_EACH_KIND
def test_every_unsupported_column_is_named(destination: Destination) -> None:
    """One error names all unsupported columns, before the stream is read."""
    schema = pa.schema([("a", REFUSED), ("b", REFUSED), ("_s3_key", pa.string())])
    drained: list[int] = []

    def generate() -> Any:
        drained.append(1)
        yield pa.RecordBatch.from_pylist([], schema)

    reader = pa.RecordBatchReader.from_batches(schema, generate())
    with (
        pytest.raises(UnsupportedSchemaError, match=r"'a'.*'b'"),
        write(destination) as writer,
    ):
        writer.commit(reader, schema_key="k", seal=sealed)
    assert not drained


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("name", ["", "a\x00b"])
def test_a_name_that_cannot_be_held_is_refused(destination: Destination, name: str) -> None:
    """An empty name or one with NUL is refused, because it would be stored as another."""
    with pytest.raises(UnsupportedSchemaError):
        write_column(destination, pa.array([1]), name)
    assert not destination.state(OWNER).exists


@ONE_OF_EACH_KIND
def test_names_that_differ_only_by_case_are_refused(destination: Destination) -> None:
    """They are refused, since destinations ignore case; the error names both columns."""
    each = pa.record_batch({"Id": [1], "ID": [2], "_s3_key": ["k"]})
    with (
        pytest.raises(UnsupportedSchemaError, match=r"'Id' and 'ID'"),
        write(destination) as writer,
    ):
        writer.commit(stream(each), schema_key="k", seal=sealed)


@pytest.mark.first_case
@ONE_OF_EACH_KIND
@pytest.mark.parametrize(
    "twins",
    [("k", "\u212a"), ("\u00e4", "\u00c4"), ("\u00e9", "e\u0301"), ("a", "a "), ("a", "a_1")],
    ids=ascii,
)
def test_names_that_only_look_alike_are_two_columns(
    destination: Destination, twins: tuple[str, str]
) -> None:
    """Names are not normalised; a destination that folds non-ASCII letters refuses the pair."""
    one, other = twins
    try:
        put_twins(destination, one, other, A1, 1)
    except UnsupportedSchemaError as refused:
        said = str(refused)
    else:
        put_twins(destination, one, other, A2, 3)
        put_twins(destination, one, other, B1, 5)
        assert [(row[one], row[other]) for row in rows(destination)] == [(3, 4), (5, 6)]
        return
    assert one.lower() == other.lower()
    assert f"{one!r} and {other!r}" in said
    assert not destination.state(OWNER).exists


def put_twins(
    destination: Destination, one: str, other: str, found: ObjectMeta, value: int
) -> None:
    """Load one object with two columns and one row."""
    each = pa.record_batch({one: [value], other: [value + 1], "_s3_key": [found.key]})
    with write(destination) as writer:
        writer.commit(stream(each), schema_key=found.key, seal=lambda: sealed(loaded(found, 1)))


@pytest.mark.first_case
@ONE_OF_EACH_KIND
@pytest.mark.parametrize(
    "name",
    first_of(
        [
            *("select", 'a"b', "ü", "%", "rowid"),
            *("ID", "a b", "a'b", "a;--b", "\U0001f600", "a.b", "RowId"),
        ],
        keep=5,
    ),
)
@pytest.mark.parametrize(
    "append",
    [
        pytest.param(False, id="replace"),
        pytest.param(True, id="append", marks=pytest.mark.thorough),
    ],
)
def test_any_name_is_a_column_like_any_other(
    destination: Destination, name: str, *, append: bool
) -> None:
    """Values come back under the name, and replacing an object replaces only its rows."""

    def put(found: Any, values: list[int]) -> None:
        each = pa.record_batch({name: values, "_s3_key": [found.key] * len(values)})
        with write(destination, append=append) as writer:
            writer.commit(
                stream(each), schema_key=found.key, seal=lambda: sealed(loaded(found, len(values)))
            )

    put(A1, [100, 3])
    put(B1, [5])
    put(A2, [7, 200])
    old = [3, 100] if append else []
    found = [(row["_s3_key"], row[name]) for row in rows(destination, "orders", ["_s3_key", name])]
    assert sorted(found) == sorted([*((A1.key, value) for value in [*old, 7, 200]), (B1.key, 5)])
