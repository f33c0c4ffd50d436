"""How pending objects become committed checkpoints: a real bucket into a real file."""

import gc
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    EmptyListingError,
    InternalError,
    MalformedObjectError,
    QuarantineLimitError,
    SchemaMismatchError,
    StoreError,
    UnsteadyObjectError,
)
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.buckets import Bucket, numbers, parquet
from s3pq_dagster_tests.interrupts import interrupting
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.made import Lines, listed, logger, opened, spec

KIB = 1024
SMALL_MEMORY: dict[str, Any] = {
    "max_object_bytes_in_memory": 64 * KIB,
    "checkpoint_bytes": 64 * KIB,
}


@dataclass
class Table:
    """One table of a bucket and its file."""

    bucket: Bucket
    database: Path
    lines: Lines = field(default_factory=Lines)

    @property
    def owner(self) -> Owner:
        return Owner("t", self.bucket.name, "t/")

    @property
    def destination(self) -> DuckDBDestination:
        return DuckDBDestination(str(self.database), lock_timeout_seconds=5)

    def load(
        self,
        listing: Listing | None = None,
        *,
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> LoadReport:
        """Load what is pending of the prefix."""
        with opened(self.bucket) as store:
            found = listed(store, "t/") if listing is None else listing
            load = TableLoad(
                plan=LoadPlan(
                    spec=spec(**(self.bucket.spec | fields)),
                    owner=self.owner,
                    listing=found,
                    options=LoadOptions(**(options or {})),
                ),
                store=store,
                log=logger(self.lines),
                run_id="run",
            )
            return load.into(self.destination)

    def listing(self) -> Listing:
        with opened(self.bucket) as store:
            return listed(store, "t/")

    def rows_by_key(self) -> dict[str, int]:
        with duckdb.connect(str(self.database)) as connection:
            found = connection.execute("SELECT _s3_key, count(*) FROM t GROUP BY 1").fetchall()
        return dict(found)

    def statuses(self) -> dict[str, str]:
        frame = self.destination.state(self.owner).ledger.frame
        return dict(frame.sort("key").select("key", "status").rows())

    def stored_fingerprint(self) -> str | None:
        with duckdb.connect(str(self.database)) as connection:
            row = connection.execute("SELECT fingerprint FROM _s3pq_tables").fetchone()
        assert row is not None
        return None if row[0] is None else str(row[0])


@pytest.fixture
def table(bucket: Bucket, database: Path) -> Table:
    """A table of which nothing is there yet."""
    return Table(bucket, database)


def test_a_first_load_reports_what_it_did(table: Table) -> None:
    """Rows, objects and bytes of this load, and what the table holds now."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", 5)
    report = table.load()
    listing = table.listing()
    assert (report.rows, report.objects, report.bytes) == (15, 2, listing.total_bytes)
    assert (report.table_rows, report.objects_loaded, report.objects_quarantined) == (15, 2, 0)
    assert (report.removed, report.missing, list(report.quarantined_keys)) == (0, 0, [])
    assert report.cursor == max(listing.frame["last_modified"])
    assert report.fingerprint == fingerprint(listing) == table.stored_fingerprint()
    assert report.seconds > 0
    assert report.table_schema is not None
    assert report.table_schema.names == ["id", "text", "_cq_id", "_cq_parent_id", "_s3_key"]


def test_nothing_new_reads_nothing(table: Table) -> None:
    """A load with nothing pending asks for no object and leaves the fingerprint."""
    table.bucket.put("t/a", 10)
    first = table.load()
    table.bucket.proxy.forget()
    again = table.load()
    assert table.bucket.proxy.object_reads == []
    assert (again.rows, again.objects, again.table_rows) == (0, 0, 10)
    assert again.fingerprint == first.fingerprint == table.stored_fingerprint()


def test_only_what_is_new_is_read(table: Table) -> None:
    """A new object's rows come, and its alone is asked for."""
    table.bucket.put("t/a", 10)
    table.load()
    table.bucket.put("t/b", 5)
    table.bucket.proxy.forget()
    report = table.load()
    assert [request.key for request in table.bucket.proxy.object_reads] == ["t/b"]
    assert (report.rows, report.table_rows) == (5, 15)
    assert report.fingerprint == fingerprint(table.listing()) == table.stored_fingerprint()


def test_an_object_put_again_with_equal_bytes_is_not_read(table: Table) -> None:
    """Equal bytes are the same version, whatever the clock says."""
    table.bucket.put("t/a", 10)
    table.load()
    table.bucket.put("t/a", 10)
    assert table.load().rows == 0


@pytest.mark.parametrize(("write_mode", "rows"), [("append", 14), ("replace", 4), ("mirror", 4)])
def test_an_overwritten_object(table: Table, write_mode: str, rows: int) -> None:
    """Its rows are added in append, and replaced in the other modes."""
    table.bucket.put("t/a", 10)
    table.load(write_mode=write_mode)
    table.bucket.put("t/a", 4)
    report = table.load(write_mode=write_mode)
    assert (report.rows, report.table_rows) == (4, rows)
    assert report.fingerprint == fingerprint(table.listing()) == table.stored_fingerprint()
    assert table.load(write_mode=write_mode).rows == 0


@pytest.mark.parametrize(
    ("write_mode", "removed", "rows"), [("append", 0, 15), ("replace", 0, 15), ("mirror", 1, 10)]
)
def test_a_deleted_object(table: Table, write_mode: str, removed: int, rows: int) -> None:
    """Its rows go in mirror, and in no other mode."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", 5)
    table.load(write_mode=write_mode)
    table.bucket.delete("t/b")
    report = table.load(write_mode=write_mode)
    assert (report.removed, report.table_rows) == (removed, rows)
    assert report.fingerprint == fingerprint(table.listing())
    assert bool(table.lines.of("object_removed")) is bool(removed)


def test_removing_and_loading_come_in_one_load(table: Table) -> None:
    """Mirror deletes and adds; the stored fingerprint is of both."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", 5)
    table.load(write_mode="mirror")
    table.bucket.delete("t/a")
    table.bucket.put("t/c", 2)
    report = table.load(write_mode="mirror")
    assert table.rows_by_key() == {"t/b": 5, "t/c": 2}
    assert report.fingerprint == fingerprint(table.listing()) == table.stored_fingerprint()


def test_an_empty_listing_is_not_all_deleted(table: Table) -> None:
    """Mirror refuses to remove everything until it is told that this is meant."""
    table.bucket.put("t/a", 10)
    table.load(write_mode="mirror")
    table.bucket.delete("t/a")
    with pytest.raises(EmptyListingError, match="allow_empty_listing"):
        table.load(write_mode="mirror")
    assert table.rows_by_key() == {"t/a": 10}
    report = table.load(write_mode="mirror", options={"allow_empty_listing": True})
    assert (report.removed, report.table_rows) == (1, 0)


def test_a_refresh_of_an_empty_listing_is_refused_in_mirror(table: Table) -> None:
    """Starting over is no way around it."""
    table.bucket.put("t/a", 10)
    table.load(write_mode="mirror")
    table.bucket.delete("t/a")
    with pytest.raises(EmptyListingError):
        table.load(write_mode="mirror", options={"full_refresh": True})
    assert table.rows_by_key() == {"t/a": 10}


@pytest.mark.parametrize("how", [{"options": {"full_refresh": True}}, {"incremental": False}])
def test_a_refresh_loads_everything_anew(table: Table, how: dict[str, Any]) -> None:
    """Every object is read again, deleted ones are gone, a new schema is welcome."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", 5)
    table.load()
    table.bucket.delete("t/a")
    table.bucket.put("t/b", pa.table({"other": [1, 2]}))
    report = table.load(**how)
    assert table.rows_by_key() == {"t/b": 2}
    assert (report.rows, report.objects_loaded) == (2, 1)
    assert report.table_schema is not None
    assert report.table_schema.names[0] == "other"
    assert report.fingerprint == fingerprint(table.listing()) == table.stored_fingerprint()


def test_a_refresh_that_fails_leaves_the_old_table(table: Table) -> None:
    """The store fails at the last object: rows, ledger and fingerprint are the old ones."""
    for key in "abc":
        table.bucket.put(f"t/{key}", 10)
    before = table.load()
    listing = table.listing()
    table.bucket.proxy.before = lambda r: Answer(501) if r.is_object and r.key == "t/c" else None
    with pytest.raises(StoreError):
        table.load(listing, options={"full_refresh": True}, checkpoint_bytes=1)
    assert table.rows_by_key() == {"t/a": 10, "t/b": 10, "t/c": 10}
    assert table.stored_fingerprint() == before.fingerprint


def test_a_backfill_resumes_where_it_was(table: Table) -> None:
    """Checkpoints before a failure stand; the next load reads the rest, each object once."""
    for key in "abcd":
        table.bucket.put(f"t/{key}", 10)
    listing = table.listing()
    table.bucket.proxy.before = lambda r: Answer(501) if r.is_object and r.key == "t/c" else None
    with pytest.raises(StoreError):
        table.load(listing, checkpoint_bytes=1)
    assert table.rows_by_key() == {"t/a": 10, "t/b": 10}
    assert table.statuses() == {"t/a": "loaded", "t/b": "loaded"}
    table.bucket.proxy.before = lambda _: None
    table.bucket.proxy.forget()
    assert table.load().table_rows == 40
    assert sorted(r.key for r in table.bucket.proxy.object_reads) == ["t/c", "t/d"]


def test_a_mismatch_in_one_checkpoint_writes_nothing(table: Table) -> None:
    """A table whose pending objects fit one checkpoint is not written at all."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", pa.table({"other": [1]}))
    with pytest.raises(SchemaMismatchError, match="Nothing of this load"):
        table.load()
    state = table.destination.state(table.owner)
    assert (state.exists, state.ledger.frame.height) == (False, 0)


def test_a_malformed_object_is_quarantined_and_frees_itself(table: Table) -> None:
    """It is set aside with its reason, not read again, and loaded once it is repaired."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", b"bad")
    first = table.load()
    assert table.statuses() == {"t/a": "loaded", "t/b": "quarantined"}
    assert (first.objects, first.objects_quarantined) == (1, 1)
    assert list(first.quarantined_keys) == ["t/b"]
    assert first.fingerprint == fingerprint(table.listing()) == table.stored_fingerprint()
    assert table.load().bytes == 0
    assert table.load(options={"retry_quarantined": True}).bytes == 3
    table.bucket.put("t/b", 5)
    last = table.load()
    assert (last.table_rows, last.objects_quarantined) == (15, 0)


def broken_in_the_middle() -> bytes:
    """Make a large object one of whose last pages is broken."""
    body = bytearray(parquet(numbers(20_000), row_group_size=1000, compression="none"))
    at = len(body) * 3 // 4
    body[at : at + 4000] = b"\xff" * 4000
    return bytes(body)


@pytest.mark.parametrize("full_refresh", [False, True])
@pytest.mark.parametrize("keys", ["abc", "acb", "b"])
def test_a_large_malformed_object_is_quarantined_alone(
    table: Table, keys: str, *, full_refresh: bool
) -> None:
    """First, last or alone: its rows are rolled back, the others stay, and all is accounted for."""
    for number, key in enumerate(keys):
        table.bucket.put(f"t/{number}{key}", broken_in_the_middle() if key == "b" else 10)
    report = table.load(options={"full_refresh": full_refresh}, **SMALL_MEMORY)
    expected = {
        f"t/{n}{key}": ("quarantined" if key == "b" else "loaded") for n, key in enumerate(keys)
    }
    assert table.statuses() == expected
    assert report.rows == 10 * (len(keys) - 1)
    assert report.fingerprint == fingerprint(table.listing()) == table.stored_fingerprint()
    if len(keys) > 1:
        assert sum(table.rows_by_key().values()) == report.rows


def files_without_a_name() -> int:
    """Count the files that this process has open and nobody can find."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            found += "(deleted)" in str(link.readlink())
    return found


def test_a_large_malformed_object_leaves_no_file_open(table: Table) -> None:
    """Its temporary file goes with it, not when Python next looks for what is left."""
    for key in "abc":
        table.bucket.put(f"t/{key}", broken_in_the_middle())
    table.load(**SMALL_MEMORY)
    gc.collect()
    before = files_without_a_name()
    gc.disable()
    try:
        table.load(options={"retry_quarantined": True}, **SMALL_MEMORY)
        assert files_without_a_name() == before
    finally:
        gc.enable()


def test_many_malformed_objects_in_a_row_are_checkpoints_too(table: Table) -> None:
    """A run that dies among them does not read all of them again."""
    for number in range(5):
        table.bucket.put(f"t/{number}", b"bad")
    table.load(checkpoint_bytes=6)
    assert table.lines.of("checkpoint_committed") == [
        f"checkpoint_committed table=t objects={objects} rows=0" for objects in (2, 2, 1)
    ]
    assert table.stored_fingerprint() == fingerprint(table.listing())
    for number in range(5, 10):
        table.bucket.put(f"t/{number}", 1 if number == 7 else b"bad")
    assert table.load(checkpoint_bytes=6).rows == 1
    assert len(table.statuses()) == 10


MANY_ROWS = 200_000
LITTLE_KEPT: dict[str, Any] = {"max_decoded_bytes": 16 * 1024 * KIB}
"""With it so many rows are not kept once they are decoded: they are decoded again."""


def put_many_rows(table: Table) -> None:
    """Put three objects, one of many rows; without dictionaries all columns fit in together."""
    for key, rows in {"a": 10, "b": MANY_ROWS, "c": 7}.items():
        table.bucket.put(f"t/{key}", parquet(numbers(rows), use_dictionary=False))


def decode_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pyarrow decode objects of so many rows once, and not again."""
    decode, seen = pq.ParquetFile.iter_batches, []

    def iter_batches(self: pq.ParquetFile, *args: Any, **options: Any) -> Any:
        if self.metadata.num_rows == MANY_ROWS:
            seen.append(self)
            if len(seen) > 1:
                raise pa.ArrowInvalid("not again")
        return decode(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)


def test_an_object_that_is_decoded_again_is_alone(table: Table) -> None:
    """Small as it is: its rows are not in one checkpoint with those of others."""
    put_many_rows(table)
    table.load(**LITTLE_KEPT)
    assert table.lines.of("checkpoint_committed") == [
        f"checkpoint_committed table=t objects=1 rows={rows}" for rows in (10, MANY_ROWS, 7)
    ]


def test_no_object_is_called_loaded_when_another_is_rolled_back(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that decodes the first time only is quarantined, and the others' rows are there."""
    put_many_rows(table)
    decode_once(monkeypatch)
    report = table.load(**LITTLE_KEPT)
    assert table.statuses() == {"t/a": "loaded", "t/b": "quarantined", "t/c": "loaded"}
    assert table.rows_by_key() == {"t/a": 10, "t/c": 7}
    assert report.rows == 17


def test_a_refresh_with_an_object_that_decodes_once_can_be_tried_again(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is rolled back, the error says why, and the old table stays."""
    put_many_rows(table)
    table.load()
    decode_once(monkeypatch)
    with pytest.raises(UnsteadyObjectError, match=r"t/b.*not again.*Run again") as caught:
        table.load(options={"full_refresh": True}, **LITTLE_KEPT)
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, MalformedObjectError)
    assert table.rows_by_key() == {"t/a": 10, "t/b": MANY_ROWS, "t/c": 7}


def test_only_malformed_objects_make_no_table(table: Table) -> None:
    """Their quarantine is there; the table comes with the first rows."""
    table.bucket.put("t/a", b"")
    report = table.load()
    assert (report.table_rows, report.table_schema, report.objects_quarantined) == (0, None, 1)
    table.bucket.put("t/b", 3)
    assert table.load().table_rows == 3


def test_a_deleted_object_is_missing_and_not_in_the_ledger(table: Table) -> None:
    """Deleted between listing and reading: counted, warned about, forgotten."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", 5)
    listing = table.listing()
    table.bucket.delete("t/b")
    report = table.load(listing)
    assert (report.missing, report.rows) == (1, 10)
    assert table.statuses() == {"t/a": "loaded"}


def test_an_object_overwritten_meanwhile_is_loaded_once(table: Table) -> None:
    """The ledger has the version that was read, so the next load has nothing to do."""
    table.bucket.put("t/a", 10)
    listing = table.listing()
    table.bucket.put("t/a", 4)
    table.load(listing)
    assert table.rows_by_key() == {"t/a": 4}
    assert table.load().rows == 0
    assert table.stored_fingerprint() == fingerprint(table.listing())


@pytest.mark.parametrize("write_mode", ["append", "replace", "mirror"])
@pytest.mark.parametrize("limits", [{}, {"max_object_bytes_in_memory": 64}], ids=["small", "large"])
def test_an_object_put_back_meanwhile_is_not_loaded_again(
    table: Table, write_mode: str, limits: dict[str, Any]
) -> None:
    """It was overwritten when listed, and is what the ledger has when read: nothing to do."""
    before = parquet(numbers(10))
    table.bucket.put("t/a", before)
    table.load(write_mode=write_mode, **limits)
    table.bucket.put("t/a", 4)
    table.bucket.put("t/b", 3)
    listing = table.listing()
    table.bucket.put("t/a", before)
    report = table.load(listing, write_mode=write_mode, **limits)
    assert (report.rows, report.objects) == (3, 1)
    assert table.rows_by_key() == {"t/a": 10, "t/b": 3}
    assert table.statuses() == {"t/a": "loaded", "t/b": "loaded"}
    assert table.stored_fingerprint() == fingerprint(table.listing())
    assert table.load(write_mode=write_mode, **limits).rows == 0


def test_a_refresh_loads_an_object_that_is_put_back_meanwhile(table: Table) -> None:
    """What the ledger had before is not there any more."""
    before = parquet(numbers(10))
    table.bucket.put("t/a", before)
    table.load()
    table.bucket.put("t/a", 4)
    listing = table.listing()
    table.bucket.put("t/a", before)
    table.load(listing, options={"full_refresh": True})
    assert table.rows_by_key() == {"t/a": 10}


def test_max_objects_takes_the_oldest_first(table: Table) -> None:
    """A load of so many objects at most; the rest stays pending."""
    for key in "cab":
        table.bucket.put(f"t/{key}", 10)
    seen = []
    for _ in range(3):
        table.load(options={"max_objects": 1})
        seen.append(sorted(table.statuses()))
    in_order = [f"t/{k}" for k in (o.key[2:] for o in table.listing())]
    assert seen == [sorted(in_order[:n]) for n in (1, 2, 3)]


def test_a_table_is_due_when_something_is_pending(table: Table) -> None:
    """Before anything is opened for writing it can be told whether there is anything to do."""
    table.bucket.put("t/a", 1)

    def is_due(**options: Any) -> bool:
        with opened(table.bucket) as store:
            load = TableLoad(
                plan=LoadPlan(
                    spec=spec(**table.bucket.spec),
                    owner=table.owner,
                    listing=listed(store, "t/"),
                    options=LoadOptions(**options),
                ),
                store=store,
                log=logger(),
            )
            return load.plan.is_due(table.destination.state(table.owner))

    assert is_due()
    table.load()
    assert not is_due()
    assert is_due(full_refresh=True)


def test_each_checkpoint_is_logged(table: Table) -> None:
    """A line for each commit: its objects and rows."""
    for key in "ab":
        table.bucket.put(f"t/{key}", 10)
    table.load(checkpoint_bytes=1)
    assert (
        table.lines.of("checkpoint_committed")
        == ["checkpoint_committed table=t objects=1 rows=10"] * 2
    )


def test_a_refresh_logs_what_it_committed_at_its_end(table: Table) -> None:
    """It is one transaction, so one message; of the objects each has its line."""
    for key in "ab":
        table.bucket.put(f"t/{key}", 10)
    table.load(options={"full_refresh": True}, checkpoint_bytes=1)
    (committed,) = table.lines.of("checkpoint_committed")
    assert committed == "checkpoint_committed table=t objects=2 rows=20"
    loaded = table.lines.of("object_loaded")
    assert sorted(line.split()[2] for line in loaded) == ["key=t/a", "key=t/b"]


@pytest.mark.parametrize("how", [{"options": {"full_refresh": True}}, {"incremental": False}])
def test_a_refresh_that_fails_calls_nothing_committed(table: Table, how: dict[str, Any]) -> None:
    """Neither its log nor its errors: all is rolled back."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", pa.table({"other": [1]}))
    with pytest.raises(SchemaMismatchError, match="Nothing of this load"):
        table.load(**how, checkpoint_bytes=1)
    table.bucket.put("t/b", b"bad")
    with pytest.raises(QuarantineLimitError, match="stays as it was") as caught:
        table.load(**how, checkpoint_bytes=1, max_quarantined_fraction=0.1)
    assert "committed" not in str(caught.value)
    assert table.lines.of("object_loaded") == table.lines.of("checkpoint_committed") == []


def test_every_object_is_logged_with_size_and_rows(table: Table) -> None:
    """A line an object once it is committed: key, size, rows."""
    table.bucket.put("t/with space", 7)
    report = table.load()
    (logged,) = table.lines.of("object_loaded")
    assert logged == f'object_loaded table=t key="t/with space" size={report.bytes} rows=7'


def test_a_checkpoint_is_few_messages(table: Table) -> None:
    """Dagster stores each message on its own, which takes longer than to load an object."""
    for number in range(200):
        table.bucket.put(f"t/{number}", 1)
    table.load()
    said = [text.splitlines() for text in table.lines.texts if "object_loaded " in text]
    assert said[0][0].startswith("checkpoint_committed ")
    assert [len(lines) for lines in said] == [128, 73]


@pytest.mark.parametrize(
    ("taken", "rows"), [(None, 2000), (1, 500), (0, 0)], ids=["drained", "dropped", "never read"]
)
def test_a_load_is_an_arrow_stream(table: Table, taken: int | None, rows: int) -> None:
    """Anything that reads Arrow reads a load's rows; nothing is committed, nothing stays open."""
    for key in "ab":
        table.bucket.put(f"t/{key}", 1000)
    with opened(table.bucket) as store:
        load = TableLoad(
            plan=LoadPlan(
                spec=spec(**table.bucket.spec),
                owner=table.owner,
                listing=listed(store, "t/"),
                options=LoadOptions(),
            ),
            store=store,
            log=logger(),
        )
        before = set(threading.enumerate())
        reader = pa.RecordBatchReader.from_stream(load)
        assert sum(batch.num_rows for batch in islice(reader, taken)) == rows
        del reader
        gc.collect()
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("s3pq-read"):
                thread.join(5)
                assert not thread.is_alive()
    assert not table.database.exists()


def test_a_stale_listing_removes_nothing_that_is_there(table: Table) -> None:
    """In mirror each key is asked for before its rows go: another run may have been faster."""
    table.bucket.put("t/a", 10)
    stale = table.listing()
    table.bucket.put("t/b", 5)
    table.load(write_mode="mirror")
    report = table.load(stale, write_mode="mirror")
    assert report.removed == 0
    assert table.rows_by_key() == {"t/a": 10, "t/b": 5}
    assert table.statuses() == {"t/a": "loaded", "t/b": "loaded"}


def test_a_listing_that_is_a_page_short_removes_nothing_that_is_there(table: Table) -> None:
    """In mirror what S3 itself does not call gone stays, listed or not."""
    for key in "abc":
        table.bucket.put(f"t/{key}", 10)
    table.load(write_mode="mirror")
    whole = table.listing()
    table.bucket.delete("t/c")
    report = table.load(Listing(whole.frame.head(1)), write_mode="mirror")
    assert report.removed == 1
    assert table.rows_by_key() == {"t/a": 10, "t/b": 10}


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_cancelled_run_does_not_wait_for_an_answer(table: Table, method: str) -> None:
    """An interrupt ends the load although S3 is silent of what is gone, or to be committed."""
    for key in "abc":
        table.bucket.put(f"t/{key}", 1)
    table.load(write_mode="mirror")
    listing = Listing(table.listing().frame.head(1))
    if method == "GET":
        table.bucket.put("t/d", 1)
        listing = table.listing()
    asked, answer = threading.Event(), threading.Event()
    waited_out: list[Request] = []
    with interrupting() as interrupt_after:

        def before(request: Request) -> None:
            if request.method == method and str(request.key).startswith("t/"):
                if not asked.is_set():
                    asked.set()
                    interrupt_after(0.5)  # by then it is waited for
                if not answer.wait(120):
                    waited_out.append(request)

        table.bucket.proxy.before = before
        try:
            with pytest.raises(KeyboardInterrupt):
                table.load(listing, write_mode="mirror")
            assert not waited_out
        finally:
            answer.set()
    assert table.rows_by_key() == dict.fromkeys(["t/a", "t/b", "t/c"], 1)


@dataclass
class LosesObjects(Prefetch):
    """Stands for a bug of ours: of what is pending the last object is never handed on."""

    store: Store
    spec: S3ParquetSpec
    shares = 1

    def take(self, owner: Owner, pending: Listing) -> Fetcher:  # noqa: ARG002 - as the base class
        """Fetch all but one object."""
        return build_fetcher(self.store, Listing(pending.frame.head(-1)), self.spec)


def test_an_object_that_is_lost_on_the_way_is_called_a_bug(table: Table) -> None:
    """The bucket answered as it should, so it is not blamed, and nobody is told to try again."""
    for key in "ab":
        table.bucket.put(f"t/{key}", 10)
    with opened(table.bucket) as store:
        known = spec(**table.bucket.spec)
        plan = LoadPlan(
            spec=known, owner=table.owner, listing=listed(store, "t/"), options=LoadOptions()
        )
        load = TableLoad(plan=plan, store=store, log=logger(), prefetch=LosesObjects(store, known))
        with pytest.raises(InternalError, match=r"table 't'.*only 1 of 2 .*bug") as caught:
            load.into(table.destination)
    assert not isinstance(caught.value, StoreError)
    assert not caught.value.retryable


def test_an_object_that_is_listed_twice_is_loaded_once(table: Table) -> None:
    """Also where the destination adds rows to rows."""
    table.bucket.put("t/a", 10)
    once = table.listing()
    report = table.load(Listing.of([*once, *once]), write_mode="append")
    assert (report.rows, report.table_rows) == (10, 10)


def test_rows_are_decoded_in_a_thread_while_the_destination_writes(table: Table) -> None:
    """Who has decoded an object asks for the next one, and that is not who writes."""
    for key in "abc":
        table.bucket.put(f"t/{key}", 10)
    running: dict[str, set[str]] = {}

    def before(request: Request) -> None:
        if request.is_object:
            running[request.key] = {
                thread.name.rpartition("_")[0] for thread in threading.enumerate()
            }

    table.bucket.proxy.before = before
    table.load(max_bytes_in_flight=1, concurrency=1)
    assert "s3pq-ahead" in running["t/c"]
    assert table.rows_by_key() == dict.fromkeys(["t/a", "t/b", "t/c"], 10)
