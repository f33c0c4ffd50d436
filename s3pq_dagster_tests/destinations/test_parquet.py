"""Parquet files in a directory: names, engines, crashes, foreign and damaged files, streams."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from s3pq_dagster.destinations.ledger_rows import OBJECT_COLUMNS, TABLE_COLUMNS
from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationError,
    SchemaMismatchError,
    TableNotManagedError,
)
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster_tests.destinations.places.parquet import files_of
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    SCHEMA,
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
from s3pq_dagster_tests.unit.made import meta

A, A2, B = meta("orders/a"), meta("orders/a", "v2"), meta("orders/b")
LEDGER = "_s3pq_objects/orders.parquet"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that does not exist yet."""
    return tmp_path / "lake"


@pytest.fixture
def destination(root: Path) -> ParquetDestination:
    """A destination in that directory."""
    return ParquetDestination(str(root), lock_timeout_seconds=5)


def files(root: Path) -> list[str]:
    """List every file below a root except locks."""
    found = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return sorted(name for name in found if not name.endswith(".lock"))


def table_files(root: Path) -> dict[str, list[int]]:
    """Return the ids in each of the table's files, as a glob finds them."""
    found = sorted(root.glob("orders/*.parquet"))
    return {path.name: pq.read_table(path).column("id").to_pylist() for path in found}


def unmoved(root: Path, key: str) -> tuple[Path, Path]:
    """Undo the move of a file, as a kill between commit and move does; return both its paths."""
    ledger = pl.read_parquet(root / LEDGER).filter(pl.col("key") == key)
    ((name, file_id),) = ledger.select("file", "file_id").rows()
    staged = root / "_s3pq_staged" / "orders" / f"{file_id}.parquet"
    staged.parent.mkdir(exist_ok=True)
    (root / "orders" / name).rename(staged)
    return staged, root / "orders" / name


# What is there


def test_looking_makes_nothing(root: Path, destination: ParquetDestination) -> None:
    """Reading creates neither the root nor anything in it."""
    destination.state(OWNER)
    destination.audit(OWNER)
    with pytest.raises(DestinationError, match="materialize"), destination.read("orders", None):
        pass
    assert not root.exists()


def test_one_object_is_one_file(root: Path, destination: ParquetDestination) -> None:
    """Beside the files there is only the ledger; nothing is left staged."""
    load(destination, (A, 3), (B, 0))
    one, other = table_files(root)
    assert re.fullmatch(r"a-[0-9a-f]{24}\.parquet", one)
    assert re.fullmatch(r"b-[0-9a-f]{24}\.parquet", other)
    assert files(root) == [
        LEDGER,
        "_s3pq_schemas/orders.parquet",
        "_s3pq_tables/orders.parquet",
        f"orders/{one}",
        f"orders/{other}",
    ]


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("orders/2024/part 1.parquet", "part_1"),
        ("orders/x.PARQUET", "x"),
        ("../../etc/passwd", "passwd"),
        ("orders/..", "object"),
        ("orders/_hidden", "hidden"),
        ("orders//", "orders"),
        ("\x00", "object"),
        ("\u00fc/\u00e4\U0001f600.parquet", "object"),
        (f"orders/{'x' * 900}.parquet", "x" * 100),
    ],
)
def test_no_key_becomes_a_path(
    root: Path, destination: ParquetDestination, key: str, stem: str
) -> None:
    """A file's name is a readable end of the key and an id, in the table's directory."""
    load(destination, (meta(key), 1))
    (name,) = table_files(root)
    assert name.rpartition("-")[0] == stem
    assert ids_by_key(destination) == {key: [0]}
    assert list(root.parent.iterdir()) == [root]


@pytest.mark.parametrize("table", ["", "..", "a/b", "../a", "a\x00", "_s3pq_objects", "x" * 201])
def test_a_table_that_cannot_be_a_directory_is_refused(
    root: Path, destination: ParquetDestination, table: str
) -> None:
    """A path, a reserved name, or one too long for a file is refused before anything is created."""
    for look in (
        lambda: load(destination, (A, 1), owner=Owner(table, "lake", "orders/")),
        lambda: destination.state(Owner(table, "lake", "orders/")),
        lambda: rows(destination, table),
    ):
        with pytest.raises(DestinationDeniedError, match="skip_tables"):
            look()
    assert not root.exists()


def test_an_overwritten_object_keeps_its_file(root: Path, destination: ParquetDestination) -> None:
    """The new file replaces the old one, so that a glob sees one of them and never both."""
    load(destination, (A, 3), (B, 1))
    before = list(table_files(root))
    load(destination, (A2, 2), start=10)
    assert list(table_files(root)) == before
    assert list(table_files(root).values()) == [[10, 11], [0]]


def test_appended_versions_have_a_file_each(root: Path, destination: ParquetDestination) -> None:
    """Each appended version has a file; loading in mode replace replaces all of them."""
    load(destination, (A, 3), append=True)
    load(destination, (A2, 2), append=True, start=10)
    assert sorted(table_files(root).values()) == [[0, 1, 2], [10, 11]]
    load(destination, (meta("orders/a", "v3"), 1), start=20)
    assert list(table_files(root).values()) == [[20]]


def test_a_refresh_keeps_the_names_of_objects_that_stay(
    root: Path, destination: ParquetDestination
) -> None:
    """Objects that stay keep their file's name; the files of others are deleted."""
    load(destination, (A, 3), (B, 1))
    name, _ = table_files(root)
    load(destination, (A2, 2), refresh=True, start=10)
    assert table_files(root) == {name: [10, 11]}


def test_an_object_that_comes_back_has_another_file(
    root: Path, destination: ParquetDestination
) -> None:
    """A deletion that arrives late then cannot hit the new file."""
    load(destination, (A, 3), (B, 1))
    before = set(table_files(root))
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.remove([A.key], seal=sealed)
    load(destination, (A, 3))
    assert len(set(table_files(root)) - before) == 1


# Who reads


def by_duckdb(path: str) -> list[tuple[Any, ...]]:
    """Read as its users do."""
    with duckdb.connect() as connection:
        return connection.execute("SELECT * FROM read_parquet(?)", [path]).fetchall()


def by_polars(path: str) -> list[tuple[Any, ...]]:
    """Read as its users do."""
    return pl.scan_parquet(path).collect().rows()


def by_pyarrow(path: str) -> list[tuple[Any, ...]]:
    """Read as its users do."""
    table = ds.dataset(Path(path).parent, format="parquet").to_table()
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize("read", [by_duckdb, by_polars, by_pyarrow])
def test_engines_that_know_nothing_of_us_read_the_same_rows(
    root: Path, destination: ParquetDestination, read: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    """Engines read the table's glob, with an empty object and an overwritten one in it."""
    load(destination, (A, 3), (B, 2), (meta("orders/c"), 0))
    load(destination, (A2, 4), start=10)
    ours = [tuple(row.values()) for row in rows(destination)]
    assert len(ours) == 6
    assert sorted(read(f"{root}/orders/*.parquet")) == sorted(ours)


def test_the_ledger_can_be_asked_for_all_tables(
    root: Path, destination: ParquetDestination
) -> None:
    """It is Parquet like everything else, and has every documented column."""
    bad = Entry(B, Status.QUARANTINED, 0, "truncated")
    with destination.write(OWNER, run_id="run 7", append=False, refresh=False) as writer:
        writer.commit(
            stream(batch(A.key, 2)), schema_key=A.key, seal=lambda: sealed(loaded(A, 2), bad)
        )
    load(destination, (A, 1), owner=Owner("returns", "lake", "returns/"))
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT table_name, key, rows, status, reason, run_id "
            f"FROM read_parquet('{root}/_s3pq_objects/*.parquet') ORDER BY ALL"
        ).fetchall()
    assert found == [
        ("orders", A.key, 2, "loaded", None, "run 7"),
        ("orders", B.key, 0, "quarantined", "truncated", "run 7"),
        ("returns", A.key, 1, "loaded", None, "run"),
    ]
    objects = pl.read_parquet(f"{root}/_s3pq_objects/*.parquet")
    assert objects.columns == [*OBJECT_COLUMNS, "file", "file_id"]
    assert {name: objects.schema[name] for name in OBJECT_COLUMNS} == OBJECT_COLUMNS
    tables = pl.read_parquet(f"{root}/_s3pq_tables/*.parquet")
    assert dict(tables.schema) == TABLE_COLUMNS
    assert tables.select("table_name", "prefix", "schema_key", "fingerprint").rows() == [
        ("orders", "orders/", A.key, "fingerprint"),
        ("returns", "returns/", A.key, "fingerprint"),
    ]


def test_a_reader_keeps_what_it_began_with(destination: ParquetDestination) -> None:
    """A table of few files is read to its end although it is refreshed meanwhile."""
    load(destination, (A, 3), (B, 2))
    with destination.read("orders", ["id"]) as reader:
        load(destination, (A2, 1), refresh=True, start=10)
        assert reader.read_all().column("id").to_pylist() == [0, 1, 2, 0, 1]
    assert ids_by_key(destination) == {A.key: [10]}


def test_a_reader_of_many_files_fails_when_they_were_replaced(
    destination: ParquetDestination,
) -> None:
    """The reader gets an error instead of rows of two versions."""
    objects = [(meta(f"orders/{number}"), 1) for number in range(250)]
    load(destination, *objects)
    with destination.read("orders", ["id"]) as reader:
        load(destination, *objects, refresh=True, start=10)
        with pytest.raises(DestinationError, match=r"changed while it was being read\. Read it"):
            reader.read_all()
    assert destination.state(OWNER).rows == 250


def test_types_come_back_in_the_order_of_the_table(destination: ParquetDestination) -> None:
    """Columns come in the table's order, also if one is named like the path of a nested field."""
    struct = pa.array([{"b": 1}, {"b": 2}])
    each = pa.record_batch({"a": struct, "a.b": ["x", "y"], "_s3_key": [A.key] * 2})
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(stream(each), schema_key=A.key, seal=lambda: sealed(loaded(A, 2)))
    for columns in (["a.b"], ["a"], ["a.b", "a"], ["_s3_key", "a", "a.b"]):
        with destination.read("orders", columns) as reader:
            found = reader.read_all()
        assert found == pa.Table.from_batches([each]).select(columns)


def test_columns_may_be_chosen_in_any_case(destination: ParquetDestination) -> None:
    """Chosen columns come under the names they have in the table."""
    load(destination, (A, 2))
    with destination.read("orders", ["ID", "Text"]) as reader:
        assert reader.read_all().schema.names == ["id", "text"]


# What a crash leaves


def test_a_commit_that_was_not_moved_is_read_and_then_moved(
    root: Path, destination: ParquetDestination
) -> None:
    """We and the documented list of files read it where it is staged; the next writer moves it."""
    load(destination, (A, 3), (B, 2))
    staged, final = unmoved(root, A.key)
    assert destination.state(OWNER).rows == 5
    assert dict(destination.audit(OWNER).rows_by_key.rows()) == {A.key: 3, B.key: 2}
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0, 1]}
    assert pl.scan_parquet(files_of(root, "orders")).collect().height == 5
    load(destination, (meta("orders/c"), 1))
    assert (staged.exists(), final.exists()) == (False, True)
    assert len(table_files(root)) == 3


def test_a_commit_that_was_not_moved_hides_what_it_replaces(
    root: Path, destination: ParquetDestination
) -> None:
    """Readers by the manifest do not read the old version that is still in the table's folder."""
    load(destination, (A, 3))
    (old,) = root.glob("orders/*.parquet")
    content = old.read_bytes()
    load(destination, (A2, 2), start=10)
    unmoved(root, A.key)
    old.write_bytes(content)
    assert ids_by_key(destination) == {A.key: [10, 11]}
    assert destination.audit(OWNER).rows_by_key.rows() == [(A.key, 2)]
    load(destination, (B, 1))
    assert list(table_files(root).values()) == [[10, 11], [0]]


def test_what_was_never_committed_is_deleted_by_the_next_writer(
    root: Path, destination: ParquetDestination
) -> None:
    """Nobody reads it before, whether the table exists or not."""
    void = root / "_s3pq_staged" / "orders" / "0123.parquet"
    for found in (A, B):
        void.parent.mkdir(parents=True, exist_ok=True)
        void.write_bytes(b"half a file")
        destination.state(OWNER)
        load(destination, (found, 1))
        assert not void.exists()
    assert ids_by_key(destination) == {A.key: [0], B.key: [0]}


def test_what_was_not_deleted_is_not_read_and_then_deleted(
    root: Path, destination: ParquetDestination
) -> None:
    """A removed object's file that is still there is no row of the table."""
    load(destination, (A, 3), (B, 2))
    (file,) = root.glob("orders/a-*.parquet")
    content = file.read_bytes()
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.remove([A.key], seal=sealed)
    file.write_bytes(content)
    assert destination.state(OWNER).rows == 2
    assert ids_by_key(destination) == {B.key: [0, 1]}
    assert destination.audit(OWNER).rows_by_key.rows() == [(B.key, 2)]
    load(destination, (meta("orders/c"), 0))
    assert not file.exists()


def test_a_report_that_was_not_written_is_by_the_next_writer(
    root: Path, destination: ParquetDestination
) -> None:
    """The next writer writes the table's row of `_s3pq_tables` before it loads anything."""
    load(destination, (A, 1))
    report = root / "_s3pq_tables" / "orders.parquet"
    good = report.read_bytes()
    report.unlink()
    with destination.write(OWNER, run_id="r", append=False, refresh=False):
        assert report.read_bytes() == good


# What is not ours, and what is broken


@pytest.mark.parametrize("name", ["mine.parquet", "a-copy.parquet", ".hidden.parquet"])
def test_a_foreign_file_in_a_table_is_refused(
    root: Path, destination: ParquetDestination, name: str
) -> None:
    """Engines would read it too: the error names it, and it is left alone, even a copy of ours."""
    load(destination, (A, 1))
    (ours,) = root.glob("orders/*.parquet")
    foreign = root / "orders" / name
    foreign.write_bytes(ours.read_bytes() if "copy" in name else b"mine")
    content = foreign.read_bytes()
    for look in (
        lambda: destination.state(OWNER),
        lambda: destination.audit(OWNER),
        lambda: load(destination, (B, 1)),
        lambda: load(destination, (B, 1), refresh=True),
    ):
        with pytest.raises(TableNotManagedError, match=f"orders/{re.escape(name)} is not a file"):
            look()
    assert foreign.read_bytes() == content
    foreign.unlink()
    load(destination, (B, 1))


def test_what_no_engine_reads_is_no_matter(root: Path, destination: ParquetDestination) -> None:
    """Other files in a table's directory are left alone."""
    load(destination, (A, 1))
    (root / "orders" / "README.md").write_text("mine")
    load(destination, (B, 1), refresh=True)
    assert (root / "orders" / "README.md").read_text() == "mine"


def test_a_users_directory_is_not_taken(root: Path, destination: ParquetDestination) -> None:
    """Files that were there before are refused and left alone."""
    (root / "orders").mkdir(parents=True)
    pq.write_table(pa.table({"mine": [1]}), root / "orders" / "mine.parquet")
    for refresh in (False, True):
        with pytest.raises(TableNotManagedError, match="1 files in orders/"):
            load(destination, (A, 1), refresh=refresh)
    assert files(root) == ["orders/mine.parquet"]


def cut_off(data: bytes) -> bytes:
    """Leave the first half."""
    return data[: len(data) // 2]


def flip_a_byte(data: bytes) -> bytes:
    """Flip one in the first page."""
    return data[:30] + bytes([data[30] ^ 0xFF]) + data[31:]


def empty(_data: bytes) -> bytes:
    """Leave nothing."""
    return b""


def other_parquet(_data: bytes) -> bytes:
    """Put somebody else's Parquet there."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"mine": [1]}), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.parametrize("spoil", [cut_off, flip_a_byte, empty, other_parquet])
def test_a_spoiled_ledger_is_refused_and_left_as_it_is(
    root: Path, destination: ParquetDestination, spoil: Callable[[bytes], bytes]
) -> None:
    """The error names it and says what to do; once it is put back, loading goes on."""
    load(destination, (A, 3))
    good = (root / LEDGER).read_bytes()
    (root / LEDGER).write_bytes(spoil(good))
    for look in (
        lambda: destination.state(OWNER),
        lambda: load(destination, (B, 1)),
        lambda: rows(destination),
    ):
        with pytest.raises(TableNotManagedError, match=rf"{LEDGER} cannot be read.*Put back"):
            look()
    assert (root / LEDGER).read_bytes() == spoil(good)
    (root / LEDGER).write_bytes(good)
    load(destination, (B, 1))
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0]}


@pytest.mark.parametrize("spoil", [cut_off, flip_a_byte, empty])
def test_a_spoiled_file_is_named(
    root: Path, destination: ParquetDestination, spoil: Callable[[bytes], bytes]
) -> None:
    """A flipped bit is found too, since pages have checksums. A refresh repairs the table."""
    load(destination, (A, 300), (B, 1))
    (file,) = root.glob("orders/a-*.parquet")
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(DestinationError, match=r"orders/a-.*\.parquet cannot be read.*full_ref"):
        rows(destination)
    load(destination, (A, 3), (B, 1), refresh=True)
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0]}


def test_a_file_that_somebody_replaced_is_not_read(
    root: Path, destination: ParquetDestination
) -> None:
    """Reading it is an error, since it has no mark; an audit counts the rows it has."""
    load(destination, (A, 3), (B, 1))
    (file,) = root.glob("orders/a-*.parquet")
    pq.write_table(pq.read_table(file).slice(0, 2).replace_schema_metadata(None), file)
    with pytest.raises(DestinationError, match=r"'orders/a'.*replaced by somebody else"):
        rows(destination)
    audit = destination.audit(OWNER)
    assert audit.state.ledger.reconcile(audit.rows_by_key).rows() == [(A.key, 3, 2)]


def test_a_file_that_is_gone_is_named(root: Path, destination: ParquetDestination) -> None:
    """Reading is an error that names it; the state counts the rows that are left."""
    load(destination, (A, 3), (B, 1))
    next(root.glob("orders/a-*.parquet")).unlink()
    with pytest.raises(DestinationError, match=r"object 'orders/a'.*is gone"):
        rows(destination)
    assert destination.state(OWNER).rows == 1


def test_a_file_in_place_of_the_root_is_named(tmp_path: Path) -> None:
    """The error says what to do, and is not retried."""
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "lake"):
        destination = ParquetDestination(str(root))
        for look in (lambda d=destination: load(d, (A, 1)), lambda d=destination: d.state(OWNER)):
            with pytest.raises(DestinationDeniedError, match=r"/file.*Name a directory"):
                look()


def test_a_root_that_is_not_writable_is_named() -> None:
    """Nobody, root included, can make a directory under /proc."""
    with pytest.raises(DestinationError, match="/proc/lake"):
        load(ParquetDestination("/proc/lake"), (A, 1))


# The stream


def test_rows_of_a_large_object_stay_in_order(destination: ParquetDestination, root: Path) -> None:
    """Rows keep their order across row groups, which other threads write."""
    batches = [batch(A.key, 10_000, start=10_000 * i) for i in range(40)]
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(stream(*batches), schema_key=A.key, seal=lambda: sealed(loaded(A, 400_000)))
    with destination.read("orders", ["id"]) as reader:
        assert reader.read_all().column("id").to_pylist() == list(range(400_000))
    (file,) = root.glob("orders/*.parquet")
    assert pq.ParquetFile(file).metadata.num_row_groups == 3


def test_a_batch_may_hold_rows_of_several_objects(destination: ParquetDestination) -> None:
    """A batch is split where the key changes."""
    both = pa.Table.from_batches([batch(A.key, 2), batch(B.key, 3)]).combine_chunks()
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(
            stream(*both.to_batches()),
            schema_key=A.key,
            seal=lambda: sealed(loaded(A, 2), loaded(B, 3)),
        )
    assert ids_by_key(destination) == {A.key: [0, 1], B.key: [0, 1, 2]}


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([batch(A.key, 1), batch(B.key, 1), batch(A.key, 1)], "one after the other"),
        ([batch(A.key, 2), batch(B.key, 1)], r"'orders/a' among them: 2 instead of 1"),
        ([batch(A.key, 1)], r"'orders/b' among them: None instead of 1"),
        ([batch(A.key, 1), batch(B.key, 1), batch("c", 1)], r"'c' among them: 1 instead of None"),
    ],
)
def test_rows_that_are_not_those_that_are_entered_are_refused(
    root: Path, destination: ParquetDestination, batches: list[pa.RecordBatch], said: str
) -> None:
    """Nothing of the checkpoint is left."""
    with (
        pytest.raises(DestinationError, match=said),
        destination.write(OWNER, run_id="r", append=False, refresh=False) as writer,
    ):
        writer.commit(
            stream(*batches), schema_key=A.key, seal=lambda: sealed(loaded(A, 1), loaded(B, 1))
        )
    assert files(root) == []


def test_a_row_without_a_key_is_refused(root: Path, destination: ParquetDestination) -> None:
    """A row without a key would belong to no object."""
    each = pa.record_batch([pa.array([1]), pa.array([None], pa.string())], ["id", "_s3_key"])
    with (
        pytest.raises(DestinationError, match="no _s3_key"),
        destination.write(OWNER, run_id="r", append=False, refresh=False) as writer,
    ):
        writer.commit(stream(each), schema_key=A.key, seal=sealed)
    assert files(root) == []


def test_rows_without_a_column_of_the_table_are_refused(destination: ParquetDestination) -> None:
    """Whoever writes rows has to give them every column of the table."""
    load(destination, (A, 1))
    each = pa.record_batch({"other": [1], "_s3_key": [B.key]})
    with (
        pytest.raises(SchemaMismatchError, match=r"column 'id' is not in the rows"),
        destination.write(OWNER, run_id="r", append=False, refresh=False) as writer,
    ):
        writer.commit(stream(each), schema_key=B.key, seal=lambda: sealed(loaded(B, 1)))
    assert destination.state(OWNER).schema == SCHEMA


def test_an_object_that_is_loaded_already_is_refused(
    root: Path, destination: ParquetDestination
) -> None:
    """Should two runs get that far, the second commit of one version writes nothing."""
    load(destination, (A, 2))
    before = files(root)
    with pytest.raises(DestinationError, match="another run"):
        load(destination, (B, 1), (A, 2))
    assert ids_by_key(destination) == {A.key: [0, 1]}
    assert files(root) == before


def test_one_writer_commits_the_same_key_twice(root: Path, destination: ParquetDestination) -> None:
    """Checkpoints of one context replace each other's rows as those of two loads do."""
    for refresh in (False, True):
        with destination.write(OWNER, run_id="r", append=False, refresh=refresh) as writer:
            commit(writer, (meta(A.key, "v8"), 3))
            commit(writer, (meta(A.key, "v9"), 2), start=10)
        assert list(table_files(root).values()) == [[10, 11]]
        assert entries(destination) == [(A.key, "v9", "loaded")]


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "none"])
def test_files_are_compressed_as_asked(root: Path, compression: str) -> None:
    """Each column chunk has the compression that was asked for."""
    load(ParquetDestination(str(root), compression=compression), (A, 100))
    (file,) = root.glob("orders/*.parquet")
    chunk = pq.ParquetFile(file).metadata.row_group(0).column(0)
    wanted = {"none": "UNCOMPRESSED"}.get(compression, compression.upper())
    assert chunk.compression == wanted


def test_nothing_is_left_of_a_writer_that_changes_nothing(
    root: Path, destination: ParquetDestination
) -> None:
    """Opening a table for writing does not create it."""
    with destination.write(OWNER, run_id="r", append=False, refresh=False):
        pass
    assert files(root) == []
    assert not destination.state(OWNER).exists
