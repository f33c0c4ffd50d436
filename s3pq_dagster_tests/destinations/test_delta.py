"""Delta tables: one commit a checkpoint, other engines, other writers, intents, partitions."""

import datetime as dt
import functools
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError

from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.destinations.delta.apply_intents import finish_last_run
from s3pq_dagster.destinations.delta.changes import Change, new_row
from s3pq_dagster.destinations.delta.intents import Intent, Intents
from s3pq_dagster.destinations.delta.snapshot import TableLogs
from s3pq_dagster.destinations.ledger_rows import entry_rows
from s3pq_dagster.destinations.storage.local import LocalStorage
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.errors import (
    DestinationError,
    SchemaMismatchError,
    TableNotManagedError,
    UnsupportedSchemaError,
)
from s3pq_dagster.ledger import FORMAT_VERSION, Entry, Status
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    SCHEMA,
    BrokenOffError,
    batch,
    commit,
    entries,
    ids_by_key,
    load,
    loaded,
    rows,
    sealed,
    stream,
)
from s3pq_dagster_tests.unit.made import NOON, logger, meta

A, A2, B, C = meta("orders/a"), meta("orders/a", "v2"), meta("orders/b"), meta("orders/c")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that does not exist yet."""
    return tmp_path / "lake"


@pytest.fixture
def destination(root: Path) -> DeltaDestination:
    """A destination whose root does not exist yet."""
    return DeltaDestination(str(root), lock_timeout_seconds=5)


def table(root: Path, name: str = "orders", version: int | None = None) -> deltalake.DeltaTable:
    """Open a Delta table as anybody does."""
    return deltalake.DeltaTable(root / name, version=version)


def put(destination: DeltaDestination, found: Any, columns: dict[str, Any]) -> None:
    """Load one object of some columns."""
    count = len(next(iter(columns.values())))
    each = pa.record_batch(columns | {"_s3_key": [found.key] * count})
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(stream(each), schema_key=found.key, seal=lambda: sealed(loaded(found, count)))


def data_files(root: Path) -> set[str]:
    """List the data files in the directory, whether a version has them or not."""
    return {
        path.name for path in (root / "orders").rglob("*.parquet") if "_delta_log" not in path.parts
    }


# What is there


def test_reading_makes_nothing(root: Path, destination: DeltaDestination) -> None:
    """Neither directory nor lock is left by state, audit and read."""
    destination.state(OWNER)
    destination.audit(OWNER)
    with pytest.raises(DestinationError, match="materialize"), destination.read("orders", None):
        pass
    assert not root.exists()


def test_a_table_is_a_directory_with_a_delta_table(
    root: Path, destination: DeltaDestination
) -> None:
    """So are the ledger's tables; other directories have no log, and no intent is left."""
    load(destination, (A, 1))
    load(destination, (A2, 1))
    logs = {path.parent.name for path in root.glob("*/_delta_log")}
    assert logs == {"orders", "_s3pq_objects", "_s3pq_tables", "_s3pq_schemas"}
    assert {path.name for path in root.iterdir()} - logs == {"_s3pq_intents", "_s3pq_locks"}
    assert list(root.glob("_s3pq_intents/*/*")) == []


def test_the_ledger_has_every_documented_fact(root: Path, destination: DeltaDestination) -> None:
    """Who, what, when and why of each object can be asked of a Delta table."""
    bad = Entry(B, Status.QUARANTINED, 0, "truncated")
    with destination.write(OWNER, run_id="run 7", append=False, refresh=False) as writer:
        writer.commit(
            stream(batch(A.key, 2)),
            schema_key=A.key,
            seal=lambda: Commit([loaded(A, 2), bad], NOON, "fingerprint"),
        )
        writer.commit(None, schema_key=None, seal=lambda: Commit([], NOON, None))
    found = pl.read_delta(str(root / "_s3pq_objects")).sort("key")
    assert found.drop("loaded_at").rows() == [
        ("orders", "lake", A.key, "v1", 10, NOON, 2, "loaded", None, "run 7", False),
        ("orders", "lake", B.key, "v1", 10, NOON, 0, "quarantined", "truncated", "run 7", False),
    ]
    told = pl.read_delta(str(root / "_s3pq_tables"))
    assert told.drop("arrow_schema", "updated_at").rows() == [
        ("orders", "lake", "orders/", A.key, "fingerprint", NOON, FORMAT_VERSION, None)
    ]
    assert pa.ipc.read_schema(pa.py_buffer(told["arrow_schema"][0])) == SCHEMA


@pytest.mark.thorough
def test_a_ledger_of_many_commits_is_in_few_files(
    root: Path, destination: DeltaDestination
) -> None:
    """Old entries are rewritten with new ones, each of them few times."""
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        for number in range(40):
            commit(writer, (meta(f"orders/{number}"), 1))
    assert len(entries(destination)) == 40
    assert len(table(root, "_s3pq_objects").file_uris()) <= 6
    assert len(table(root, "_s3pq_tables").file_uris()) == 1


# One commit


US = pa.timestamp("us")


@pytest.mark.parametrize(
    "kind", [pa.map_(US, US), pa.list_(pa.struct([("m", pa.map_(pa.string(), US))]))], ids=str
)
def test_times_without_zone_in_maps_alone_are_refused(
    destination: DeltaDestination, kind: pa.DataType
) -> None:
    """delta-rs would create a table that it cannot open."""
    with pytest.raises(UnsupportedSchemaError, match="column 'c' has timestamps without zone"):
        put(destination, A, {"c": pa.nulls(1, kind)})
    assert not destination.state(OWNER).exists
    put(destination, A, {"c": pa.nulls(1, kind), "at": pa.nulls(1, US)})
    assert rows(destination, columns=["c", "at"]) == [{"c": None, "at": None}]


def test_every_version_of_a_table_has_each_object_once(
    root: Path, destination: DeltaDestination
) -> None:
    """After replacing, removing and refreshing, each version has the old rows or the new ones."""
    load(destination, (A, 3), (B, 2))
    load(destination, (A2, 4), (C, 1), start=10)
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.remove([B.key], seal=sealed)
    with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
        commit(writer, (A, 1), start=50)
        commit(writer, (B, 1), start=60)
    seen = []
    for version in range(table(root).version() + 1):
        by_key: dict[str, list[int]] = {}
        for row in table(root, version=version).to_pyarrow_table().to_pylist():
            by_key.setdefault(row["_s3_key"][-1], []).append(row["id"])
        seen.append({key: sorted(ids) for key, ids in by_key.items()})
    assert seen == [
        {"a": [0, 1, 2], "b": [0, 1]},
        {"a": [10, 11, 12, 13], "b": [0, 1], "c": [10]},
        {"a": [10, 11, 12, 13], "c": [10]},
        {"a": [50], "b": [60]},
    ]


@pytest.mark.first_case
@pytest.mark.parametrize("refresh", [False, True])
def test_what_breaks_leaves_no_file(
    root: Path, destination: DeltaDestination, *, refresh: bool
) -> None:
    """Data files of a checkpoint that broke are deleted, and so are those of a refresh."""
    load(destination, (A, 3))
    before: set[str] = set()

    def write() -> None:
        with destination.write(OWNER, run_id="r", append=False, refresh=refresh) as writer:
            commit(writer, (A2 if refresh else B, 5))
            before.update(data_files(root))
            broken = stream(batch(C.key, 200_000), batch(C.key, 1), break_at=1)
            writer.commit(broken, schema_key=C.key, seal=sealed)

    with pytest.raises(BrokenOffError):
        write()
    if refresh:
        assert len(data_files(root)) == 1
        assert ids_by_key(destination) == {A.key: [0, 1, 2]}
    else:
        assert data_files(root) == before
        assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0, 1, 2, 3, 4]}


def test_one_writer_commits_the_same_key_twice(destination: DeltaDestination) -> None:
    """Checkpoints of one context replace each other's rows as those of two loads do."""
    for refresh in (False, True):
        with destination.write(OWNER, run_id="r", append=False, refresh=refresh) as writer:
            commit(writer, (meta(A.key, "v8"), 3), (B, 2) if refresh else (C, 2))
            commit(writer, (meta(A.key, "v9"), 2), start=10)
        assert ids_by_key(destination)[A.key] == [10, 11]


def test_a_refresh_without_objects_leaves_an_empty_table(
    root: Path, destination: DeltaDestination
) -> None:
    """The table stays, as no commit can delete it; it counts as missing, and takes any schema."""
    load(destination, (A, 3))
    with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
        writer.commit(None, schema_key=None, seal=sealed)
    state = destination.state(OWNER)
    assert (state.exists, state.schema, state.rows) == (False, None, 0)
    assert entries(destination) == []
    assert table(root).to_pyarrow_table().num_rows == 0
    put(destination, B, {"other": pa.array([NOON.replace(tzinfo=None)], pa.timestamp("us"))})
    assert [row["_s3_key"] for row in rows(destination)] == [B.key]
    assert table(root).protocol().reader_features == ["timestampNtz"]


def test_an_object_that_is_loaded_already_is_refused(destination: DeltaDestination) -> None:
    """Should two runs get that far, the second commit of one version writes nothing."""
    load(destination, (A, 2))
    with pytest.raises(DestinationError, match="another run"):
        load(destination, (B, 1), (A, 2))
    assert ids_by_key(destination) == {A.key: [0, 1]}


def test_rows_without_an_entry_are_not_doubled(root: Path, destination: DeltaDestination) -> None:
    """An object whose entry somebody deleted is not loaded again; the error says how to go on."""
    load(destination, (A, 2), (B, 1))
    table(root, "_s3pq_objects").delete(f"key = '{A.key}'")
    with pytest.raises(TableNotManagedError, match=r"orders/a.*2 rows.*full_refresh"):
        load(destination, (A, 2))
    load(destination, (C, 1))
    load(destination, (A, 2), refresh=True)
    assert ids_by_key(destination) == {A.key: [0, 1]}


def test_rows_without_a_column_of_the_table_are_refused(destination: DeltaDestination) -> None:
    """Should the reader leave a column out, the destination writes nothing."""
    load(destination, (A, 2))
    with pytest.raises(SchemaMismatchError, match="column 'id' is not in the rows"):
        put(destination, B, {"other": [1]})
    assert ids_by_key(destination) == {A.key: [0, 1]}


# Other engines


MIXED: dict[str, Any] = {
    "big": pa.array([2**64 - 1, 0, None], pa.uint64()),
    "half": pa.array([1.5, -0.0, None], pa.float16()),
    "price": pa.array([1, 2, None], pa.int64()).cast(pa.decimal128(20, 0)),
    "text": ["a", "", None],
    "day": pa.array([dt.date(2024, 2, 14), dt.date(1, 1, 1), None]),
    "at": pa.array([1, 1_707_912_000_123_457, None], pa.timestamp("us", "UTC")),
    "naive": pa.array([1_000, 1_707_912_000_123_457_000, None], pa.timestamp("ns")),
    "nested": pa.array([{"x": [1, None]}, {"x": []}, None]),
    "a b,;{}()=\t": [1, 2, None],
}


def test_every_engine_reads_the_same_rows(root: Path, destination: DeltaDestination) -> None:
    """polars, pyarrow and DataFusion read the same, after replacing and after compaction too."""
    put(destination, A, MIXED)
    put(destination, B, MIXED)
    put(destination, A2, {name: column[:2] for name, column in MIXED.items()})
    for _ in range(2):
        ours = rows(destination)
        assert len(ours) == 5
        scanned = pa.table(table(root).scan())
        found = {
            "polars": pl.read_delta(str(root / "orders")).select(scanned.column_names).to_dicts(),
            "lazy polars": pl.scan_delta(str(root / "orders"))
            .select(scanned.column_names)
            .collect()
            .to_dicts(),
            "pyarrow": table(root).to_pyarrow_table().select(scanned.column_names).to_pylist(),
            "datafusion": scanned.to_pylist(),
        }
        as_stored = {name: sorted(each, key=repr) for name, each in found.items()}
        assert all(each == as_stored["pyarrow"] for each in as_stored.values()), as_stored
        assert sorted(map(_comparable, ours)) == sorted(map(_comparable, as_stored["pyarrow"]))
        table(root).optimize.compact()


def _comparable(row: dict[str, Any]) -> str:
    """Write a row down so that a number is the same in whatever type it comes."""
    return repr([str(row[name]).removesuffix("+00:00") for name in sorted(row)])


def test_no_reader_needs_more_than_it_has_to(root: Path, destination: DeltaDestination) -> None:
    """Tables have protocol 1 and 2, unless a column is a time without a zone."""
    load(destination, (A, 1))
    protocol = table(root).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    put(DeltaDestination(str(root / "naive")), A, {"naive": MIXED["naive"][:1]})
    assert table(root / "naive").protocol().reader_features == ["timestampNtz"]


@pytest.mark.first_case
@pytest.mark.parametrize(
    "where",
    [
        pytest.param("id = 150000", marks=pytest.mark.thorough),
        "id > 249998",
        pytest.param("text = 'row 7'", marks=pytest.mark.thorough),
        "_s3_key = 'orders/b'",
        "at >= '2024-02-14T12:00:00.123457Z' and at < '2024-02-14T12:00:00.123458Z'",
        "day = '2024-02-15'",
        pytest.param("number > 1e300", marks=pytest.mark.thorough),
    ],
)
def test_no_row_is_skipped_by_what_the_log_says_of_files(
    root: Path, destination: DeltaDestination, where: str
) -> None:
    """The bounds by which engines skip files are never too narrow, for microseconds and NaN too."""
    moment = 1_707_912_000_123_457
    small = DeltaDestination(str(root), target_file_bytes=1)
    for number, found in enumerate((A, B)):
        ids = range(number * 150_000, number * 150_000 + 100_000)
        put(
            small,
            found,
            {
                "id": pa.array(ids),
                "text": [f"row {number}" for number in ids],
                "at": pa.array([moment + each for each in ids], pa.timestamp("us", "UTC")),
                "day": pa.array([dt.date(2024, 2, 14 + number)] * len(ids)),
                "number": pa.array([float("nan")] + [1.0] * (len(ids) - 1)),
            },
        )
    assert len(table(root).file_uris()) >= 2
    query = deltalake.QueryBuilder().register("orders", table(root))
    found_rows = pa.table(query.execute(f"SELECT id FROM orders WHERE {where}")).num_rows
    everything = pa.table(table(root).scan())
    other = deltalake.QueryBuilder()
    copied = root / "copied"
    deltalake.write_deltalake(
        copied, everything, configuration={"delta.dataSkippingNumIndexedCols": "0"}
    )
    plain = other.register("orders", deltalake.DeltaTable(copied))
    expected = pa.table(plain.execute(f"SELECT id FROM orders WHERE {where}")).num_rows
    assert found_rows == expected
    assert destination.state(OWNER).rows == 200_000


# Other writers


def compacted(found: deltalake.DeltaTable) -> None:
    """Join its files."""
    found.optimize.compact()


def ordered(found: deltalake.DeltaTable) -> None:
    """Sort its rows over its files."""
    found.optimize.z_order(["_s3_key"])


def vacuumed(found: deltalake.DeltaTable) -> None:
    """Delete whatever no version of it needs."""
    found.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)


def checkpointed(found: deltalake.DeltaTable) -> None:
    """Sum up its log."""
    found.create_checkpoint()
    found.cleanup_metadata()


def widened(found: deltalake.DeltaTable) -> None:
    """Give it one more column."""
    found.alter.add_columns(deltalake.Field("note", deltalake.schema.PrimitiveType("string")))


@pytest.mark.first_case
@pytest.mark.parametrize("tend", [compacted, ordered, vacuumed, checkpointed, widened])
def test_tables_may_be_tended_between_loads(
    root: Path, destination: DeltaDestination, tend: Callable[[deltalake.DeltaTable], None]
) -> None:
    """After compaction, vacuum, a log checkpoint or a new column, replacing and removing go on."""
    load(destination, (A, 3), (B, 2))
    load(destination, (C, 2))
    for name in ("orders", "_s3pq_objects", "_s3pq_tables"):
        if tend not in {widened, ordered} or name == "orders":
            tend(table(root, name))
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0, 1], C.key: [0, 1]}
    load(destination, (A2, 1), start=10)
    if tend is not widened:
        tend(table(root))
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        assert writer.remove([C.key], seal=sealed) == 2
    assert ids_by_key(destination) == {A.key: [10], B.key: [0, 1]}
    audit = destination.audit(OWNER)
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()


def test_a_table_may_be_compacted_while_it_is_loaded(
    root: Path, destination: DeltaDestination
) -> None:
    """A commit that finds the table compacted is built anew: no row is lost or doubled.

    delta-rs itself would let it through, and leave the replaced rows in the compacted file.
    """
    load(destination, (A, 3), (B, 2))
    load(destination, (C, 2))

    def seal() -> Commit:
        table(root).optimize.compact()
        return sealed(loaded(A2, 1))

    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(stream(batch(A.key, 1, 10)), schema_key=A.key, seal=seal)
    assert ids_by_key(destination) == {A.key: [10], B.key: [0, 1], C.key: [0, 1]}


def test_others_may_commit_all_the_time(root: Path, destination: DeltaDestination) -> None:
    """If somebody commits between our read and our commit, ours is built again."""
    load(destination, (A, 3))
    over = threading.Event()

    def disturb() -> None:
        while not over.wait(0.02):
            with suppress(DeltaError):  # it loses as well
                table(root).alter.set_table_properties({"note.at": str(over)})

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
            for number in range(8):
                commit(writer, (meta(A.key, f"w{number}"), 2), start=number)
    finally:
        over.set()
        disturbing.join(20)
    assert ids_by_key(destination) == {A.key: [7, 8]}


def test_a_vacuum_of_files_that_are_being_written_is_an_error(
    root: Path, destination: DeltaDestination
) -> None:
    """Files that are gone before they are committed are never committed."""
    load(destination, (A, 3))

    def seal() -> Commit:
        vacuumed(table(root))
        return sealed(loaded(B, 1))

    with (
        pytest.raises(DestinationError, match="retention longer than a load takes"),
        destination.write(OWNER, run_id="r", append=False, refresh=False) as writer,
    ):
        writer.commit(stream(batch(B.key, 1)), schema_key=B.key, seal=seal)
    assert ids_by_key(destination) == {A.key: [0, 1, 2]}


def test_a_feature_that_hides_rows_is_refused(root: Path, destination: DeltaDestination) -> None:
    """With deletion vectors a file has rows that are not there; they would come back."""
    load(destination, (A, 3))
    table(root).alter.add_feature(
        deltalake.TableFeatures.DeletionVectors, allow_protocol_versions_increase=True
    )
    for look in (lambda: destination.state(OWNER), lambda: load(destination, (A2, 1))):
        with pytest.raises(DestinationError, match=r"needs deletionVectors.*move it away"):
            look()


# Intents


def intent(number: int, upon: int | None, *, in_table: bool = True, after: int = 4) -> Intent:
    """Build the intent that a run writes before it commits an object's rows."""
    row = new_row(OWNER, None, sealed(), SCHEMA, B.key, run_id="r")
    change = Change(entry_rows([loaded(B, 1)], OWNER, "r"), row)
    return Intent(number, after, upon, in_table=in_table, change=change)


def carried(root: Path) -> int:
    """Return the number in our last commit."""
    number = table(root).transaction_version("s3pq")
    assert number is not None
    return number


def storage(root: Path) -> LocalStorage:
    """Open the root as the destination does."""
    return LocalStorage(root, lock_timeout_seconds=1, log=logger())


@pytest.mark.first_case
@pytest.mark.parametrize("in_table", [False, True])
def test_an_intent_that_nothing_carries_is_void(
    root: Path, destination: DeltaDestination, *, in_table: bool
) -> None:
    """No state has its entries, and the next writer, who holds the lock, deletes it."""
    load(destination, (A, 3))
    written = Intents(storage(root), OWNER.table)
    written.write(intent(5, 0, in_table=in_table))
    assert entries(destination) == [(A.key, "v1", "loaded")]
    assert written.numbers() == [5]
    load(destination, (C, 1))
    assert written.numbers() == []
    assert entries(destination) == [(A.key, "v1", "loaded"), (C.key, "v1", "loaded")]


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("upon", "in_table", "is_kept"),
    [(0, True, False), (1, True, True), (None, True, False), (None, False, False)],
)
def test_without_a_lock_an_intent_stays_as_long_as_it_may_be_committed(
    root: Path, destination: DeltaDestination, upon: int | None, *, in_table: bool, is_kept: bool
) -> None:
    """Another run may be about to commit upon the latest version, but upon no earlier one."""
    load(destination, (A, 3))
    load(destination, (C, 1))
    logs = TableLogs(storage(root), OWNER.table)
    logs.intents.write(intent(5, upon, in_table=in_table))
    finish_last_run(logs, logs.snapshot(), alone=False)
    assert logs.intents.numbers() == ([5] if is_kept else [])


def test_a_committed_intent_counts_before_it_is_in_the_ledger(
    root: Path, destination: DeltaDestination
) -> None:
    """A run died in between: its entries count, and whoever reads the table applies them."""
    load(destination, (A, 3))
    (root / "saved").mkdir()
    number = carried(root)
    logs = TableLogs(storage(root), OWNER.table)
    found = logs.snapshot()
    assert found.number == number
    assert found.version is not None
    made = intent(number + 1, 0, after=number)
    logs.intents.write(made)
    logs.log.commit(found.version, number=made.number, added=[], schema=SCHEMA)
    (root / "_s3pq_locks" / "orders.lock").unlink()
    (root / "_s3pq_locks" / "orders.lock").mkdir()  # so that who looks cannot finish it
    expected = [(A.key, "v1", "loaded"), (B.key, "v1", "loaded")]
    assert entries(destination) == expected
    objects = functools.partial(pl.read_delta, str(root / "_s3pq_objects"))
    assert objects()["key"].to_list() == [A.key]
    (root / "_s3pq_locks" / "orders.lock").rmdir()
    looked = destination.look(OWNER)  # which writes nothing, and so does not finish it either
    assert looked.state.ledger.count(Status.LOADED) == looked.runs["objects"].sum() == len(expected)
    assert objects()["key"].to_list() == [A.key]
    assert not (root / "_s3pq_locks" / "orders.lock").exists()
    assert entries(destination) == expected
    assert sorted(objects()["key"]) == [A.key, B.key]
    assert logs.intents.numbers() == []


def test_a_damaged_intent_that_counts_is_an_error(
    root: Path, destination: DeltaDestination
) -> None:
    """It has the entries of the last commit, without which rows would be loaded twice."""
    load(destination, (A, 3))
    logs = TableLogs(storage(root), OWNER.table)
    number = carried(root) + 1
    version = logs.log.open()
    assert version is not None
    logs.log.commit(version, number=number, added=[], schema=SCHEMA)
    with pytest.raises(TableNotManagedError, match=f"it is at {number}"):
        destination.state(OWNER)
    storage(root).put(f"_s3pq_intents/orders/{number}.arrow", b"not Arrow")
    with pytest.raises(DestinationError, match=r"arrow cannot be read.*put back"):
        load(destination, (B, 1))


# Partitions and files


@pytest.mark.thorough
def test_rows_are_in_files_of_the_size_aimed_at(root: Path) -> None:
    """A file is ended after the row group that makes it large enough."""
    destination = DeltaDestination(str(root), target_file_bytes=200_000)
    batches = [batch(A.key, 50_000, 50_000 * number) for number in range(12)]
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(stream(*batches), schema_key=A.key, seal=lambda: sealed(loaded(A, 600_000)))
    assert len(table(root).file_uris()) == 4
    assert ids_by_key(destination) == {A.key: list(range(600_000))}


REGIONS = ["eu", "a/b", "x=y z", "ü%", "it's", ".", None]


def test_rows_are_parted_by_columns(root: Path) -> None:
    """Whatever the values, rows are replaced and removed, and every engine reads the same."""
    destination = DeltaDestination(str(root), partition_by=["region", "day"])
    days = [dt.date(2024, 2, 14), None]
    columns = {
        "region": REGIONS * 2,
        "day": pa.array([days[0]] * 7 + [days[1]] * 7, pa.date32()),
        "id": list(range(14)),
    }
    put(destination, A, columns)
    put(destination, B, columns)
    put(destination, A2, {name: column[:7] for name, column in columns.items()})
    assert table(root).metadata().partition_columns == ["region", "day"]
    expected = {A.key: list(range(7)), B.key: list(range(14))}
    for _ in range(2):
        assert ids_by_key(destination) == expected
        ours = sorted(map(repr, rows(destination)))
        assert (
            sorted(
                map(
                    repr,
                    pl.read_delta(str(root / "orders"))
                    .select("region", "day", "id", "_s3_key")
                    .to_dicts(),
                )
            )
            == ours
        )
        assert (
            sorted(
                map(
                    repr,
                    pa.table(table(root).scan())
                    .select(["region", "day", "id", "_s3_key"])
                    .to_pylist(),
                )
            )
            == ours
        )
        table(root).optimize.compact()
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        assert writer.remove([B.key], seal=sealed) == 14
    assert ids_by_key(destination) == {A.key: list(range(7))}


@pytest.mark.parametrize(
    ("partition_by", "rest", "said"),
    [
        (["nope"], {}, r"cannot partition by 'nope'.*'id', 'text', '_s3_key'"),
        (["ratio"], {"ratio": [0.5, 1.5]}, r"by 'ratio'.*stored as double.*Change `partition_by`"),
        (["text"], {}, r"by 'text': object 'orders/a' has an empty string"),
        (["id", "text", "_s3_key"], {}, "by every column"),
    ],
    ids=["no column", "no plain text", "empty text", "all"],
)
def test_what_cannot_part_rows_is_refused(
    root: Path, partition_by: list[str], rest: dict[str, Any], said: str
) -> None:
    """A missing column, a wrong type, an empty text or all columns are refused, without a write."""
    destination = DeltaDestination(str(root), partition_by=partition_by)
    with pytest.raises(UnsupportedSchemaError, match=said):
        put(destination, A, {"id": [1, 2], "text": ["a", ""]} | rest)
    assert not destination.state(OWNER).exists
    assert data_files(root) == set()


@pytest.mark.parametrize("refresh", [False, True])
def test_a_table_keeps_its_partitions(root: Path, *, refresh: bool) -> None:
    """Delta Lake cannot change them in one commit; the error says what to do instead."""
    load(DeltaDestination(str(root)), (A, 1))
    other = DeltaDestination(str(root), partition_by=["text"])
    with pytest.raises(DestinationError, match=r"is partitioned by \[\], and.*\['text'\]"):
        load(other, (B, 1), refresh=refresh)
    assert ids_by_key(other) == {A.key: [0]}


def test_stats_are_json_that_delta_lake_knows(root: Path, destination: DeltaDestination) -> None:
    """Rows, bounds and nulls of each file are in its log."""
    load(destination, (A, 3))
    lines = (root / "orders" / "_delta_log" / f"{0:020}.json").read_text().splitlines()
    (added,) = [json.loads(line)["add"] for line in lines if '"add"' in line]
    assert json.loads(added["stats"]) == {
        "numRecords": 3,
        "minValues": {"id": 0, "text": "row 0", "_s3_key": A.key},
        "maxValues": {"id": 2, "text": "row 2", "_s3_key": A.key},
        "nullCount": {"id": 0, "text": 0, "_s3_key": 0},
    }


def test_many_tables_have_one_ledger(root: Path, destination: DeltaDestination) -> None:
    """Each table has a partition of the ledger."""
    for name in ("b", "a"):
        load(destination, (A, 1), owner=Owner(name, "lake", f"{name}/"))
    assert sorted(path.name for path in (root / "_s3pq_objects").glob("table_name=*")) == [
        "table_name=a",
        "table_name=b",
    ]
