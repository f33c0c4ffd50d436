"""Loads of a real bucket into a real DuckDB file: what is read, and what is then in the table."""

import gc
import threading
from itertools import islice
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.errors import (
    StoreError,
)
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.footers import table_schema
from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.loading.loaded_table import Table
from s3pq_dagster_tests.unit.made import Lines, listed, logger, opened, spec


def test_a_first_load_reports_what_it_did(table: Table) -> None:
    """The report has rows, objects and bytes of the load, and what the table holds afterwards."""
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
    """Only the new object is requested, and its rows are added."""
    table.bucket.put("t/a", 10)
    table.load()
    table.bucket.put("t/b", 5)
    table.bucket.proxy.forget()
    report = table.load()
    assert [request.key for request in table.bucket.proxy.object_reads] == ["t/b"]
    assert (report.rows, report.table_rows) == (5, 15)
    assert report.fingerprint == fingerprint(table.listing()) == table.stored_fingerprint()


def test_an_object_put_again_with_equal_bytes_is_not_read(table: Table) -> None:
    """Equal bytes are the same version, whatever their time."""
    table.bucket.put("t/a", 10)
    table.load()
    table.bucket.put("t/a", 10)
    assert table.load().rows == 0


@pytest.mark.first_case
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


def put_with_e_tag(table: Table, rows: int, e_tag: str) -> None:
    """Put an object whose e_tag is no MD5 of its content."""
    table.bucket.put("t/a", rows)
    table.bucket.set_e_tag("t/a", e_tag)


@pytest.mark.first_case
@pytest.mark.parametrize("write_mode", ["append", "replace", "mirror"])
def test_an_overwritten_object_that_keeps_its_e_tag_is_loaded(
    table: Table, write_mode: str
) -> None:
    """Its other size tells; its rows are replaced in append too, and the log says why."""
    put_with_e_tag(table, 10, "one-2")
    table.load(write_mode=write_mode)
    put_with_e_tag(table, 4, "one-2")
    assert table.load(write_mode=write_mode).rows == 4
    assert table.rows_by_key() == {"t/a": 4}
    assert table.load(write_mode=write_mode).rows == 0
    assert table.stored_fingerprint() == fingerprint(table.listing())
    (warning,) = table.lines.of("object_resized")
    assert "key=t/a e_tag=one-2 ledger_size=" in warning


def test_rows_of_mixed_versions_are_not_replaced(table: Table) -> None:
    """In append, an e_tag that is loaded beside others and has another size is set aside."""
    for rows, e_tag in ((10, "one-2"), (3, "two-2"), (4, "one-2")):
        put_with_e_tag(table, rows, e_tag)
        table.load(write_mode="append")
    assert table.rows_by_key() == {"t/a": 13}
    frame = table.destination.state(table.owner).ledger.frame
    (reason,) = frame.filter(status="quarantined")["reason"]
    assert "full_refresh" in reason
    assert table.load(write_mode="append").rows == 0
    table.load(write_mode="append", options={"full_refresh": True})
    assert table.rows_by_key() == {"t/a": 4}


@pytest.mark.first_case
@pytest.mark.parametrize("how", [{"options": {"full_refresh": True}}, {"incremental": False}])
def test_a_refresh_loads_everything_again(table: Table, how: dict[str, Any]) -> None:
    """Every object is read again; deleted objects are gone, and the schema may be new."""
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
    """S3 fails at the last object: rows, ledger and fingerprint stay as they were."""
    for key in "abc":
        table.bucket.put(f"t/{key}", 10)
    before = table.load()
    listing = table.listing()
    table.bucket.proxy.before = lambda r: Answer(501) if r.is_object and r.key == "t/c" else None
    with pytest.raises(StoreError):
        table.load(listing, options={"full_refresh": True}, checkpoint_bytes=1)
    assert table.rows_by_key() == {"t/a": 10, "t/b": 10, "t/c": 10}
    assert table.stored_fingerprint() == before.fingerprint


def test_a_deleted_object_is_missing_and_not_in_the_ledger(table: Table) -> None:
    """An object deleted between listing and reading is counted, and not entered in the ledger."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", 5)
    listing = table.listing()
    table.bucket.delete("t/b")
    report = table.load(listing)
    assert (report.missing, report.rows) == (1, 10)
    assert table.statuses() == {"t/a": "loaded"}


def test_an_object_overwritten_meanwhile_is_loaded_once(table: Table) -> None:
    """The ledger gets the version that was read, so the next load has nothing to do."""
    table.bucket.put("t/a", 10)
    listing = table.listing()
    table.bucket.put("t/a", 4)
    table.load(listing)
    assert table.rows_by_key() == {"t/a": 4}
    assert table.load().rows == 0
    assert table.stored_fingerprint() == fingerprint(table.listing())


@pytest.mark.first_case
@pytest.mark.parametrize("write_mode", first_of(["replace", "append", "mirror"]))
@pytest.mark.parametrize("limits", [{}, {"max_object_bytes_in_memory": 64}], ids=["small", "large"])
def test_an_object_put_back_meanwhile_is_not_loaded_again(
    table: Table, write_mode: str, limits: dict[str, Any]
) -> None:
    """The object is, when it is read, again the version in the ledger, so it is not loaded."""
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
    """A refresh starts from an empty ledger, so the object is loaded."""
    before = parquet(numbers(10))
    table.bucket.put("t/a", before)
    table.load()
    table.bucket.put("t/a", 4)
    listing = table.listing()
    table.bucket.put("t/a", before)
    table.load(listing, options={"full_refresh": True})
    assert table.rows_by_key() == {"t/a": 10}


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("taken", "rows"), [(None, 2000), (1, 500), (0, 0)], ids=["drained", "dropped", "never read"]
)
def test_a_load_is_an_arrow_stream(table: Table, taken: int | None, rows: int) -> None:
    """Any reader of Arrow streams reads a load's rows; nothing is committed or left open."""
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


def test_the_arrow_stream_of_drifting_objects_has_all_their_columns(table: Table) -> None:
    """A stream has one schema from its beginning on, so the footers are read before."""
    table.bucket.put("t/a", pa.table({"x": pa.array([1], pa.int32())}))
    table.bucket.put("t/b", pa.table({"x": [0.5], "y": ["y"]}))
    with opened(table.bucket) as store:
        load = TableLoad(
            plan=LoadPlan(
                spec=spec(**table.bucket.spec, schema_mode="evolve"),
                owner=table.owner,
                listing=listed(store, "t/"),
                options=LoadOptions(),
            ),
            store=store,
            log=logger(),
        )
        found = pa.RecordBatchReader.from_stream(load).read_all()
    assert found.select(["x", "y"]).to_pylist() == [{"x": 1.0, "y": None}, {"x": 0.5, "y": "y"}]


@pytest.mark.first_case
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"PAR1PAR1",
        b"a,b,c\n" * 100,
        b"PAR1" + b"x" * 100 + (10**6).to_bytes(4, "little") + b"PAR1",
        b"PAR1" + b"\xff" * 100 + (50).to_bytes(4, "little") + b"PAR1",
        parquet(numbers(10))[:-4] + b"PARE",
    ],
    ids=["empty", "tiny", "text", "long", "noise", "encrypted"],
)
def test_discovery_and_load_give_the_same_reason(table: Table, body: bytes) -> None:
    """Whoever looks for the reason in two places finds one."""
    table.bucket.put("t/a", body)
    table.load()
    (said,) = table.destination.state(table.owner).ledger.frame["reason"]
    lines = Lines()
    with opened(table.bucket) as store:
        assert table_schema(store, "t", table.listing(), logger(lines)) is None
    (warning,) = lines.of("schema_skipped")
    assert warning == line("schema_skipped", table="t", key="t/a", reason=said)


def test_an_object_that_is_listed_twice_is_loaded_once(table: Table) -> None:
    """The object is loaded once even in append mode."""
    table.bucket.put("t/a", 10)
    once = table.listing()
    report = table.load(Listing.of([*once, *once]), write_mode="append")
    assert (report.rows, report.table_rows) == (10, 10)


def test_rows_are_decoded_in_a_thread_while_the_destination_writes(table: Table) -> None:
    """The thread that decodes is not the thread that writes."""
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
    assert "s3pq-background" in running["t/c"]
    assert table.rows_by_key() == dict.fromkeys(["t/a", "t/b", "t/c"], 10)
