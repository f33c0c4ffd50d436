"""How checkpoints are committed, quarantined, resumed and interrupted."""

import gc
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    InternalError,
    MalformedObjectError,
    SchemaMismatchError,
    StoreError,
    UnsteadyObjectError,
)
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.interrupts import interrupting
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.loading.loaded_table import Table
from s3pq_dagster_tests.unit.made import listed, logger, opened, spec

KIB = 1024


SMALL_MEMORY: dict[str, Any] = {
    "max_object_bytes_in_memory": 64 * KIB,
    "checkpoint_bytes": 64 * KIB,
}


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
    """It is quarantined with a reason, not read again, and loaded once it is repaired."""
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


@pytest.mark.first_case
@pytest.mark.parametrize("full_refresh", [False, True])
@pytest.mark.parametrize("keys", ["abc", "acb", "b"])
def test_a_large_malformed_object_is_quarantined_alone(
    table: Table, keys: str, *, full_refresh: bool
) -> None:
    """Its rows are rolled back, those of other objects stay, and the fingerprint covers both."""
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
    """Count the deleted files that this process still has open."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            found += "(deleted)" in str(link.readlink())
    return found


@pytest.mark.thorough
def test_a_large_malformed_object_leaves_no_file_open(table: Table) -> None:
    """Its temporary file is closed at once, not by the garbage collector."""
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
    """A run that dies among them does not read all of them again next time."""
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
"""A bound under which so many rows are not kept in memory, but decoded twice."""


def put_many_rows(table: Table) -> None:
    """Put three objects, one of many rows and without dictionaries, so that all columns fit."""
    for key, rows in {"a": 10, "b": MANY_ROWS, "c": 7}.items():
        table.bucket.put(f"t/{key}", parquet(numbers(rows), use_dictionary=False))


def decode_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pyarrow decode objects of many rows only once."""
    decode, seen = pq.ParquetFile.iter_batches, []

    def iter_batches(self: pq.ParquetFile, *args: Any, **options: Any) -> Any:
        if self.metadata.num_rows == MANY_ROWS:
            seen.append(self)
            if len(seen) > 1:
                raise pa.ArrowInvalid("not again")
        return decode(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)


def test_an_object_that_is_decoded_again_is_alone(table: Table) -> None:
    """It has a checkpoint to itself, although it is a small object."""
    put_many_rows(table)
    table.load(**LITTLE_KEPT)
    assert table.lines.of("checkpoint_committed") == [
        f"checkpoint_committed table=t objects=1 rows={rows}" for rows in (10, MANY_ROWS, 7)
    ]


def test_no_object_is_called_loaded_when_another_is_rolled_back(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that fails to decode the second time is quarantined; the others are loaded."""
    put_many_rows(table)
    decode_once(monkeypatch)
    report = table.load(**LITTLE_KEPT)
    assert table.statuses() == {"t/a": "loaded", "t/b": "quarantined", "t/c": "loaded"}
    assert table.rows_by_key() == {"t/a": 10, "t/c": 7}
    assert report.rows == 17


def test_a_refresh_with_an_object_that_decodes_once_can_be_tried_again(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refresh is rolled back, the error says why, and the old table stays."""
    put_many_rows(table)
    table.load()
    decode_once(monkeypatch)
    with pytest.raises(UnsteadyObjectError, match=r"t/b.*not again.*Run again") as caught:
        table.load(options={"full_refresh": True}, **LITTLE_KEPT)
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, MalformedObjectError)
    assert table.rows_by_key() == {"t/a": 10, "t/b": MANY_ROWS, "t/c": 7}


def test_only_malformed_objects_make_no_table(table: Table) -> None:
    """They are in the ledger; the table is created with the first rows."""
    table.bucket.put("t/a", b"")
    report = table.load()
    assert (report.table_rows, report.table_schema, report.objects_quarantined) == (0, None, 1)
    table.bucket.put("t/b", 3)
    assert table.load().table_rows == 3


@pytest.mark.first_case
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_cancelled_run_does_not_wait_for_an_answer(table: Table, method: str) -> None:
    """An interrupt ends the load although S3 does not answer."""
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
                    interrupt_after(0.5)  # by then the load waits for the answer
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
    """A prefetch with a bug: it never hands the last pending object on."""

    store: Store
    spec: S3ParquetSpec
    shares = 1

    def take(self, owner: Owner, pending: Listing) -> Fetcher:  # noqa: ARG002 - as the base class
        """Fetch all but one object."""
        return build_fetcher(self.store, Listing(pending.frame.head(-1)), self.spec)


def test_an_object_that_is_lost_on_the_way_is_called_a_bug(table: Table) -> None:
    """The error does not blame the bucket, which answered, and is not retried."""
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
