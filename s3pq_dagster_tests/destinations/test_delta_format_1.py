"""A Delta root that the last release of ledger format 1 has filled is read, and taken over.

``made_by/delta_format_1.zip`` holds the tables ``orders`` (objects ``a`` with 2 rows and ``b`` with
one), ``customers`` (``a``, one row), ``empty`` (one quarantined object, so no schema) and ``half``
(``a`` with 3 rows, whose run died before their entries were in the ledger).
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import deltalake
import polars as pl
import pyarrow as pa
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import LayoutChangedError
from s3pq_dagster.ledger import FORMAT_VERSION
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    SCHEMA,
    check_undo_is_refused,
    entries,
    ids_by_key,
    load,
    loaded,
    sealed,
    stream,
)
from s3pq_dagster_tests.unit.made import meta

A, C = meta("orders/a"), meta("orders/c")
CUSTOMERS, EMPTY, HALF = (Owner(n, "lake", f"{n}/") for n in ("customers", "empty", "half"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root."""
    shutil.unpack_archive(Path(__file__).with_name("made_by") / "delta_format_1.zip", tmp_path)
    return tmp_path


@pytest.fixture
def destination(root: Path) -> DeltaDestination:
    """A destination with that root."""
    return DeltaDestination(str(root), lock_timeout_seconds=5)


def everything(root: Path) -> dict[str, int]:
    """Return every file but the locks, with the time it was written."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and "_s3pq_locks" not in path.parts
    }


def versions(root: Path) -> list[tuple[str, int, str]]:
    """Read table, version and key of each schema."""
    found = pl.read_delta(str(root / "_s3pq_schemas"))
    return sorted(found.select("table_name", "version", "since_key").rows())


@contextmanager
def locked(root: Path, table: str) -> Iterator[None]:
    """Keep a table from being locked, so that who looks cannot finish what a run left."""
    path = root / "_s3pq_locks" / f"{table}.lock"
    path.mkdir(parents=True)
    yield
    path.rmdir()


def test_reading_changes_nothing(root: Path, destination: DeltaDestination) -> None:
    """State, audit and rows are there without a write, those of a run that died included."""
    before = everything(root)
    assert entries(destination) == [(A.key, "v1", "loaded"), ("orders/b", "v1", "loaded")]
    state = destination.state(replace(OWNER, layout="whatever"))
    assert (state.schema, state.schema_key, state.rows) == (SCHEMA, A.key, 3)
    audit = destination.audit(CUSTOMERS)
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()
    assert ids_by_key(destination) == {A.key: [0, 1], "orders/b": [0]}
    assert entries(destination, EMPTY) == [("empty/x", "v1", "quarantined")]
    with locked(root, "half"):
        assert entries(destination, HALF) == [("half/a", "v1", "loaded")]
    check_undo_is_refused(destination, OWNER)
    assert everything(root) == before


def test_the_first_write_takes_every_table_over(root: Path, destination: DeltaDestination) -> None:
    """Each table with a schema has version 1 of it; nothing is loaded again."""
    load(destination, (C, 2))
    assert versions(root) == [("customers", 1, "customers/a"), ("orders", 1, A.key)]
    found = pl.read_delta(str(root / "_s3pq_schemas"))
    assert {schemas.from_bytes(data) == SCHEMA for data in found["arrow_schema"]} == {True}
    told = pl.read_delta(str(root / "_s3pq_tables")).sort("table_name")
    assert told.select("table_name", "format_version", "layout").rows() == [
        ("customers", 1, None),
        ("empty", 1, None),
        ("orders", FORMAT_VERSION, None),
    ]
    assert ids_by_key(destination) == {A.key: [0, 1], "orders/b": [0], C.key: [0, 1]}
    assert destination.state(CUSTOMERS).rows == 1
    check_undo_is_refused(destination, CUSTOMERS)
    load(destination, (meta("customers/b"), 1), owner=CUSTOMERS)
    load(destination, (meta("empty/y"), 1), owner=EMPTY)
    assert versions(root) == [
        ("customers", 1, "customers/a"),
        ("empty", 1, "empty/y"),
        ("orders", 1, A.key),
    ]


def test_a_first_write_may_change_the_schema(root: Path, destination: DeltaDestination) -> None:
    """The old schema is version 1 and the new one version 2."""
    columns = {"id": [0.5], "text": ["x"], "note": ["y"], "_s3_key": [C.key]}
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(
            stream(pa.record_batch(columns)), schema_key=C.key, seal=lambda: sealed(loaded(C, 1))
        )
    assert versions(root)[1:] == [("orders", 1, A.key), ("orders", 2, C.key)]
    assert ids_by_key(destination) == {A.key: [0, 1], "orders/b": [0], C.key: [0.5]}


@pytest.mark.first_case
@pytest.mark.parametrize("look_first", [False, True])
def test_what_a_run_of_format_1_left_is_finished(
    root: Path, destination: DeltaDestination, *, look_first: bool
) -> None:
    """Its entries come from its intent; who looks finishes it, and so does who writes."""
    if look_first:
        assert destination.state(HALF).rows == 3
        assert list((root / "_s3pq_intents" / "half").iterdir()) == []
        assert not (root / "_s3pq_schemas").exists()
    load(destination, (meta("half/b"), 1), owner=HALF)
    assert ids_by_key(destination, "half") == {"half/a": [0, 1, 2], "half/b": [0]}
    assert [each for each in versions(root) if each[0] == "half"] == [("half", 1, "half/a")]
    assert len(entries(destination, HALF)) == 2


def test_a_table_that_the_old_release_makes_meanwhile_is_taken_over_later(
    root: Path, destination: DeltaDestination
) -> None:
    """Its version 1 comes with its own first write."""
    load(destination, (C, 1))
    deltalake.DeltaTable(root / "_s3pq_schemas").delete("table_name = 'customers'")
    load(destination, (meta("customers/b"), 1), owner=CUSTOMERS)
    assert ("customers", 1, "customers/a") in versions(root)


def test_the_layout_is_noted_and_compared(root: Path, destination: DeltaDestination) -> None:
    """A table of format 1 has none, so the first write notes it; another one is refused then."""
    load(destination, (C, 1), owner=replace(OWNER, layout="one"))
    load(destination, (meta("orders/d"), 1))
    with pytest.raises(LayoutChangedError):
        destination.state(replace(OWNER, layout="other"))
    assert destination.state(replace(OWNER, layout="one")).rows == 5
    found = pl.read_delta(str(root / "_s3pq_tables")).filter(table_name="orders")
    assert found["layout"].to_list() == ["one"]
