"""One table's objects as a bounded stream of Arrow batches, cut into checkpoints."""

import logging
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.errors import (
    BrokenAnswerError,
    DiskError,
    MalformedObjectError,
    ReadAbandonedError,
    SchemaMismatchError,
    StoreError,
    UnsupportedSchemaError,
)
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fitting import Reference
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.readable_objects import LoadRules, ReadableObjects
from s3pq_dagster.reading.table_stream import Checkpoint, TableStream
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.buckets import Bucket, numbers, parquet
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.made import Lines, keys, listed, logger, opened, spec
from s3pq_dagster_tests.unit.reading.test_readable_objects import put_in_parts
from s3pq_dagster_tests.unit.threads import none_left

KIB = 1024
LARGE = 20_000
"""Rows of an object that is large for a spec of :func:`small_memory`."""


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """No test leaves a reading thread behind."""
    with none_left("s3pq-read", "s3pq-decode"):
        yield


class Read:
    """Everything that a stream yielded."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.entries: list[list[Entry]] = []
        """By checkpoint."""
        self.checkpoints: list[Checkpoint] = []

    @property
    def sizes(self) -> list[int]:
        return [batch.num_rows for batch in self.batches]

    @property
    def statuses(self) -> list[list[tuple[str, str, int]]]:
        return [[(e.object.key, str(e.status), e.rows) for e in each] for each in self.entries]

    def column(self, name: str) -> list[Any]:
        return [value for batch in self.batches for value in batch.column(name).to_pylist()]


def readable(
    store: Store,
    pending: Listing,
    *,
    log: logging.Logger | None = None,
    rules: LoadRules | None = None,
    **fields: Any,
) -> ReadableObjects:
    """Make the readable objects of a listing, as the objects of table ``t``."""
    progress = ProgressLog("t", pending, log or logger())
    return ReadableObjects(build_fetcher(store, pending, spec(**fields)), progress, rules)


def read(
    bucket: Bucket,
    pending: Listing | None = None,
    *,
    reference: Reference | None = None,
    log: logging.Logger | None = None,
    verify: bool = False,
    skip_malformed: bool = False,
    most_rows: int | None = None,
    **fields: Any,
) -> Read:
    """Read a bucket to the end in this thread; what is committed is what was drained."""
    got = Read()
    with opened(bucket) as store:
        pending = listed(store) if pending is None else pending
        rules = LoadRules(verify=verify)
        objects = readable(store, pending, log=log, rules=rules, **fields)
        with TableStream(objects, reference, most_rows=most_rows) as stream:
            for checkpoint in stream.checkpoints():
                got.checkpoints.append(checkpoint)
                before = len(got.batches)
                try:
                    got.batches += checkpoint.batches or ()
                except MalformedObjectError:
                    del got.batches[before:]
                    if not skip_malformed:
                        raise
                got.entries.append(list(checkpoint.entries))
    return got


def small_memory(**fields: Any) -> dict[str, Any]:
    """Return the fields of a spec for which a hundred rows are small and LARGE rows are large."""
    return {"max_object_bytes_in_memory": 64 * KIB, "checkpoint_bytes": 64 * KIB} | fields


def broken_in_the_middle() -> bytes:
    """Make a large object whose footer and page headers are right, but not its last pages' text."""
    body = parquet(numbers(LARGE), row_group_size=1000, compression="none")
    return body.replace(b"row 15", b"\xff" * 6)


@pytest.mark.parametrize(("most_rows", "sizes"), [(65_536, [1000]), (600, [600, 400])])
def test_whoever_asks_for_larger_batches_gets_them(
    bucket: Bucket, most_rows: int, sizes: list[int]
) -> None:
    """Destinations ask for them, whatever `rows_per_record` is."""
    bucket.put("t/a", 1000)
    assert read(bucket, most_rows=most_rows, rows_per_record=10).sizes == sizes


def test_small_objects_are_joined_for_who_asks_for_larger_batches(bucket: Bucket) -> None:
    """Joining with other objects changes neither id nor key of a row."""
    for key, rows in (("t/a", 3), ("t/b", 0), ("t/c", 2), ("t/d", 1)):
        bucket.put(key, numbers(3).slice(0, rows))
    got, alone = read(bucket, most_rows=65_536), read(bucket)
    assert (got.sizes, alone.sizes) == ([6], [3, 2, 1])
    for name in ("id", "_cq_id", "_s3_key"):
        assert got.column(name) == alone.column(name)
    assert got.statuses == alone.statuses


def test_joined_batches_are_bounded_and_keep_the_order(bucket: Bucket) -> None:
    """A large batch, or one with its columns in another order, ends a joined batch."""
    wide = pa.table({"id": range(4), "text": ["x" * 600 * KIB] * 4})
    for key, body in (("a", 5), ("b", 5), ("c", wide), ("d", 5), ("e", 5)):
        bucket.put(key, body)
    bucket.put("f", numbers(5).select(["text", "id"]))
    bucket.put("g", numbers(5))
    got = read(bucket, most_rows=65_536)
    assert got.sizes == [10, 4, 10, 5, 5]
    assert got.column("_cq_id") == read(bucket).column("_cq_id")
    assert all(batch.schema == got.batches[0].schema for batch in got.batches)
    for number in range(20):
        bucket.put(f"h{number:02}", wide.slice(0, 1))
    batches = read(bucket, most_rows=65_536).batches[4:]
    assert len(batches) < sum(batch.num_rows for batch in batches) == 25
    assert max(batch.nbytes for batch in batches) < 2.1 * KIB * KIB


@pytest.mark.parametrize("most_rows", [None, 65_536])
def test_an_object_with_another_schema_stops_its_checkpoint(
    bucket: Bucket, most_rows: int | None
) -> None:
    """Nothing of its checkpoint is committed, and the destination gets the error."""
    bucket.put("a", 5)
    bucket.put("b", pa.table({"id": ["text"]}))
    with opened(bucket) as store:
        stream = TableStream(readable(store, listed(store)), None, most_rows=most_rows)
        with stream:
            checkpoint = next(stream.checkpoints())
            assert checkpoint.batches is not None
            with pytest.raises(SchemaMismatchError, match="'b'"):
                list(checkpoint.batches)
            assert isinstance(checkpoint.error, SchemaMismatchError)


@pytest.mark.parametrize(("rows_per_record", "batches"), [(100, 10), (500, 2), (999, 2), (5000, 1)])
def test_a_batch_has_at_most_rows_per_record_rows(
    bucket: Bucket, rows_per_record: int, batches: int
) -> None:
    """A thousand rows come in as many batches as it takes, in their order."""
    bucket.put("a", 1000)
    got = read(bucket, rows_per_record=rows_per_record)
    assert len(got.batches) == batches
    assert max(got.sizes) == min(rows_per_record, 1000)
    assert got.column("id") == list(range(1000))


def test_a_batch_never_spans_two_objects(bucket: Bucket) -> None:
    """Each batch is of one object, even where its rows do not fill it."""
    for key, rows in (("a", 150), ("b", 30), ("c", 100)):
        bucket.put(key, rows)
    got = read(bucket, rows_per_record=100)
    assert got.sizes == [100, 50, 30, 100]
    assert [set(batch.column("_s3_key").to_pylist()) for batch in got.batches] == [
        {"a"},
        {"a"},
        {"b"},
        {"c"},
    ]


def test_a_large_object_streams_in_batches(bucket: Bucket) -> None:
    """An object over the memory bound has its rows in order and its batches bounded, too."""
    bucket.put("a", LARGE)
    got = read(bucket, **small_memory(rows_per_record=3000))
    assert got.column("id") == list(range(LARGE))
    assert max(got.sizes) == 3000
    assert len(set(got.column("_cq_id"))) == LARGE


def test_progress_counts_what_is_done_within_an_object(bucket: Bucket) -> None:
    """A table of one large object is not at 0 until all of it is read."""
    bucket.put("a", parquet(numbers(LARGE), row_group_size=1000))
    lines = Lines()
    with opened(bucket) as store:
        pending = listed(store)
        progress = ProgressLog("t", pending, logger(lines), every_seconds=0)
        objects = ReadableObjects(build_fetcher(store, pending, spec(**small_memory())), progress)
        with TableStream(objects, None) as stream:
            for checkpoint in stream.checkpoints():
                assert sum(batch.num_rows for batch in checkpoint.batches or ()) in (0, LARGE)
    unfinished = [text for text in lines.of("progress") if "objects=0/1" in text]
    assert len({text.partition('bytes="')[2].split(" ")[0] for text in unfinished}) > 5


def test_every_batch_names_its_table(bucket: Bucket) -> None:
    """Schema metadata `cq:table_name` is on every batch, as the CloudQuery SDK has it."""
    bucket.put("a", 10)
    got = read(bucket, rows_per_record=5)
    assert [batch.schema.metadata for batch in got.batches] == [{b"cq:table_name": b"t"}] * 2


def test_a_row_keeps_its_id_when_it_is_read_again(bucket: Bucket) -> None:
    """Ids follow from object and row, not from how the rows were batched."""
    bucket.put("a", 100)
    bucket.put("b", 100)
    one = read(bucket, rows_per_record=7)
    other = read(bucket, rows_per_record=100)
    assert one.column("_cq_id") == other.column("_cq_id")
    assert len(set(one.column("_cq_id"))) == 200
    assert set(one.column("_cq_parent_id")) == {None}


def test_a_file_keeps_its_own_ids(bucket: Bucket) -> None:
    """Files that CloudQuery wrote have `_cq_id` already."""
    bucket.put("a", pa.table({"_cq_id": ["x", "y"], "v": [1, 2]}))
    assert read(bucket).column("_cq_id") == ["x", "y"]


def test_ids_can_be_left_out(bucket: Bucket) -> None:
    """Without `add_cq_ids` only the key is added."""
    bucket.put("a", 1)
    (batch,) = read(bucket, add_cq_ids=False).batches
    assert batch.schema.names == ["id", "text", "_s3_key"]


def test_a_column_of_our_name_stops_the_table(bucket: Bucket) -> None:
    """A file's own `_s3_key` is refused before a row is handed on."""
    bucket.put("a", pa.table({"_s3_key": ["x"]}))
    with pytest.raises(UnsupportedSchemaError, match="_s3_key"):
        read(bucket)


def test_checkpoints_are_bounded_by_bytes(bucket: Bucket) -> None:
    """Objects are committed together until their bytes are enough; the last checkpoint says so."""
    for i in range(6):
        bucket.put(f"k{i}", 10)
    size = len(parquet(numbers(10)))
    got = read(bucket, checkpoint_bytes=2 * size)
    assert [[key for key, *_ in each] for each in got.statuses] == [
        ["k0", "k1"],
        ["k2", "k3"],
        ["k4", "k5"],
    ]
    assert [checkpoint.is_last for checkpoint in got.checkpoints] == [False, False, True]


def test_one_checkpoint_is_enough_for_little(bucket: Bucket) -> None:
    """What fits one checkpoint is committed at once."""
    for i in range(6):
        bucket.put(f"k{i}", 10)
    got = read(bucket)
    assert got.statuses == [[(f"k{i}", "loaded", 10) for i in range(6)]]
    assert got.checkpoints[0].is_last


def test_a_large_object_is_a_checkpoint_of_its_own(bucket: Bucket) -> None:
    """A large object can be rolled back alone, so nothing else is committed with it."""
    for key, rows in (("a", 10), ("b", LARGE), ("c", 10), ("d", 10)):
        bucket.put(key, rows)
    got = read(bucket, **small_memory())
    assert [[key for key, *_ in each] for each in got.statuses] == [["a"], ["b"], ["c", "d"]]


def test_objects_are_read_in_the_order_given(bucket: Bucket) -> None:
    """The order of the pending listing is the order of the rows."""
    for key in ("b", "a", "c"):
        bucket.put(key, 1)
    with opened(bucket) as store:
        pending = Listing(listed(store).frame.sort("key", descending=True))
    assert read(bucket, pending).column("_s3_key") == ["c", "b", "a"]


def test_each_object_is_asked_for_once(bucket: Bucket) -> None:
    """One read an object: footers are not asked for apart."""
    for i in range(5):
        bucket.put(f"k{i}", 100)
    with opened(bucket) as store:
        pending = listed(store)
    bucket.proxy.forget()
    read(bucket, pending)
    assert sorted(request.key for request in bucket.proxy.requests) == keys(pending)


def test_nothing_pending_is_no_checkpoint(bucket: Bucket) -> None:
    """An empty stream ends at once."""
    assert read(bucket).checkpoints == []


def test_zero_rows_are_loaded_with_their_schema(bucket: Bucket) -> None:
    """A file without rows still makes its table and has its entry."""
    bucket.put("a", 0)
    got = read(bucket)
    assert got.statuses == [[("a", "loaded", 0)]]
    assert got.checkpoints[0].schema is not None
    assert got.checkpoints[0].schema.names[:2] == ["id", "text"]


MALFORMED = {
    "zero bytes": b"",
    "not Parquet": b"id,text\n1,one\n" * 10,
    "truncated": parquet(numbers(100))[:-30],
    "broken pages": parquet(numbers(100), compression="none", use_dictionary=False).replace(
        b"row 1", b"\xff\xff\xff\xff\xff"
    ),
    "encrypted": parquet(numbers(10))[:-4] + b"PARE",
}


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("bad", "body"),
    [*(("b", body) for body in MALFORMED.values()), ("a", b"bad"), ("c", b"bad")],
    ids=[*MALFORMED, "the first", "the last"],
)
def test_a_malformed_object_is_quarantined(bucket: Bucket, bad: str, body: bytes) -> None:
    """Wherever it is in the order: a warning has its key and reason, and the others are loaded."""
    for key in "abc":
        bucket.put(key, body if key == bad else 10)
    with opened(bucket) as store:
        pending = Listing(listed(store).frame.sort("key"))
    lines = Lines()
    got = read(bucket, pending, log=logger(lines))
    good = [key for key in "abc" if key != bad]
    assert got.column("_s3_key") == [key for key in good for _ in range(10)]
    (entries,) = got.statuses
    assert sorted(entries) == sorted(
        [*((key, "loaded", 10) for key in good), (bad, "quarantined", 0)]
    )
    (warning,) = lines.of("object_quarantined")
    assert f"key={bad}" in warning
    assert "reason=" in warning
    (entry,) = (e for e in got.entries[0] if e.status is Status.QUARANTINED)
    assert entry.reason


def test_only_malformed_objects_make_entries_without_rows(bucket: Bucket) -> None:
    """A table whose objects are all malformed has ledger entries and no schema."""
    bucket.put("a", b"")
    bucket.put("b", b"x")
    got = read(bucket)
    assert got.statuses == [[("a", "quarantined", 0), ("b", "quarantined", 0)]]
    assert (got.checkpoints[0].schema, got.checkpoints[0].batches) == (None, None)


def test_a_large_object_broken_in_the_middle_is_rolled_back_alone(bucket: Bucket) -> None:
    """Its own checkpoint is rolled back; those before and after it stand."""
    bucket.put("a", 10)
    bucket.put("b", broken_in_the_middle())
    bucket.put("c", 10)
    got = read(bucket, skip_malformed=True, **small_memory())
    assert got.statuses == [[("a", "loaded", 10)], [("b", "quarantined", 0)], [("c", "loaded", 10)]]
    assert isinstance(got.checkpoints[1].error, MalformedObjectError)
    assert set(got.column("_s3_key")) == {"a", "c"}


def test_verifying_finds_a_broken_large_object_before_its_first_row(bucket: Bucket) -> None:
    """Where nothing can be rolled back alone, large objects are decoded before they are read."""
    bucket.put("a", 10)
    bucket.put("b", broken_in_the_middle())
    bucket.put("c", LARGE)
    got = read(bucket, verify=True, **small_memory())
    loaded = [entry for each in got.statuses for entry in each]
    assert sorted(loaded) == [("a", "loaded", 10), ("b", "quarantined", 0), ("c", "loaded", LARGE)]
    assert all(checkpoint.error is None for checkpoint in got.checkpoints)
    assert len(got.column("id")) == LARGE + 10


def test_invalid_text_is_malformed(bucket: Bucket) -> None:
    """Bytes that are no UTF-8 do not reach a destination as text."""
    raw = pa.array([b"ok", b"\xff\xfe"], pa.binary()).view(pa.string())
    bucket.put("a", pa.table({"c": raw}))
    assert read(bucket).statuses == [[("a", "quarantined", 0)]]


def test_a_bad_transfer_of_a_large_object_rolls_its_checkpoint_back(bucket: Bucket) -> None:
    """Its rows were handed on already, so the stream stops; the object is not quarantined."""
    put_in_parts(bucket, "a", parquet(numbers(LARGE), row_group_size=1000, compression="none"))
    bad = broken_in_the_middle()
    spans: list[str] = []

    def spoilt(request: Request) -> Answer | None:
        if not request.is_object or request.range in spans:
            return None
        spans.append(str(request.range))
        start, end = map(int, str(request.range).removeprefix("bytes=").split("-"))
        found = bucket.client.head_object(Bucket=bucket.name, Key="a")
        headers = {"ETag": found["ETag"], "Content-Range": f"bytes {start}-{end}/{len(bad)}"}
        return Answer(206, bad[start : end + 1], headers)

    bucket.proxy.before = spoilt
    with pytest.raises(BrokenAnswerError):
        read(bucket, **small_memory())


def test_a_large_malformed_object_without_md5_is_quarantined(bucket: Bucket) -> None:
    """The same bytes come twice."""
    put_in_parts(bucket, "a", broken_in_the_middle())
    assert read(bucket, skip_malformed=True, **small_memory()).statuses == [
        [("a", "quarantined", 0)]
    ]


def test_a_schema_that_a_bad_transfer_spoilt_is_no_mismatch(bucket: Bucket) -> None:
    """A column's name that is not the table's is read again before the table fails."""
    body = parquet(pa.table({"id": [1], "text": ["x"]}), store_schema=False)
    bucket.put("a", body)
    put_in_parts(bucket, "b", body)
    bad = body.replace(b"text", b"tex\x74"[:3] + b"u")

    def spoilt(request: Request) -> Answer | None:
        if request.key != "b" or len(bucket.proxy.object_reads) > 2:
            return None
        found = bucket.client.head_object(Bucket=bucket.name, Key="b")
        return Answer(200, bad, {"ETag": found["ETag"]})

    bucket.proxy.before = spoilt
    with pytest.raises(BrokenAnswerError):
        read(bucket)


def test_a_deleted_object_is_skipped_with_a_warning(bucket: Bucket) -> None:
    """Deleted between listing and reading: its key is warned about, and it gets no entry."""
    for key in "abc":
        bucket.put(key, 10)
    with opened(bucket) as store:
        pending = listed(store)
    bucket.delete("b")
    lines = Lines()
    got = read(bucket, pending, log=logger(lines))
    assert got.statuses == [[("a", "loaded", 10), ("c", "loaded", 10)]]
    (warning,) = lines.of("object_missing")
    assert "key=b" in warning


def test_everything_deleted_is_an_end_without_entries(bucket: Bucket) -> None:
    """When all that was pending is gone there is nothing to commit."""
    bucket.put("a", 10)
    with opened(bucket) as store:
        pending = listed(store)
    bucket.delete("a")
    assert [entry for each in read(bucket, pending).entries for entry in each] == []


def test_an_overwritten_object_is_entered_as_it_was_read(bucket: Bucket) -> None:
    """The entry has the version whose rows were read, not the one that was listed."""
    bucket.put("a", 10)
    with opened(bucket) as store:
        pending = listed(store)
        bucket.put("a", numbers(3, start=100))
        got = read(bucket, pending)
        (now,) = list_prefix(store, "")
    assert got.column("id") == [100, 101, 102]
    assert [entry.object for entry in got.entries[0]] == [now]


def test_schemas_that_differ_name_both_objects_and_the_columns(bucket: Bucket) -> None:
    """The error says which objects, which columns, what was expected and what was found."""
    bucket.put("a", pa.table({"id": [1], "text": ["x"]}))
    bucket.put("b", pa.table({"id": ["1"], "more": [True]}))
    with pytest.raises(SchemaMismatchError) as caught:
        read(bucket)
    message = str(caught.value)
    assert "'b' does not match 'a'" in message
    assert "column 'id': expected int64, found string" in message
    assert "column 'text' (string) is not in 'b'" in message
    assert "column 'more' (bool) is not in 'a'" in message
    assert "Nothing of this load is written" in message


def test_a_late_mismatch_says_up_to_which_object_is_committed(bucket: Bucket) -> None:
    """In a longer backfill the checkpoints before the mismatch stand."""
    for i in range(4):
        bucket.put(f"k{i}", 10)
    bucket.put("k4", pa.table({"other": [1]}))
    with pytest.raises(SchemaMismatchError, match="4 objects are committed, up to 'k3'"):
        read(bucket, checkpoint_bytes=1)


def test_a_stored_schema_is_the_reference(bucket: Bucket) -> None:
    """Where the table has a schema, even the first object must match it."""
    bucket.put("b", 1)
    stored = pa.schema([("id", pa.int32()), ("_s3_key", pa.string())])
    with pytest.raises(SchemaMismatchError, match="'b' does not match 'old'"):
        read(bucket, reference=Reference(stored, "old"))


def test_writers_may_order_columns_as_they_like(bucket: Bucket) -> None:
    """Another order of columns is no other schema; values follow their names."""
    bucket.put("a", pa.table({"x": [1], "y": ["one"]}))
    bucket.put("b", pa.table({"y": ["two"], "x": [2]}))
    got = read(bucket)
    assert got.column("x") == [1, 2]
    assert got.column("y") == ["one", "two"]
    assert {tuple(batch.schema.names) for batch in got.batches} == {
        ("x", "y", "_cq_id", "_cq_parent_id", "_s3_key")
    }


@pytest.mark.parametrize(
    "other",
    [
        pa.array(["b"], pa.large_string()),
        pa.array(["b"], pa.string_view()),
        pa.array(["b"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_writers_may_hint_at_other_types_of_text(bucket: Bucket, other: pa.Array) -> None:
    """Text is text, whichever Arrow type its writer held it in."""
    bucket.put("a", pa.table({"c": ["a"]}))
    bucket.put("b", pa.table({"c": other}))
    got = read(bucket)
    assert got.column("c") == ["a", "b"]
    assert {batch.schema.field("c").type for batch in got.batches} == {pa.string()}


def test_a_store_that_fails_stops_the_stream(bucket: Bucket) -> None:
    """What concerns the store is raised as it is, and nothing of the checkpoint is entered."""
    for key in "abc":
        bucket.put(key, 10)
    with opened(bucket) as store:
        pending = listed(store)
    bucket.proxy.before = lambda r: Answer(501) if r.is_object and r.key == "c" else None
    with pytest.raises(StoreError, match="501"):
        read(bucket, pending)


def test_a_disk_without_room_stops_the_stream(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is wrong with the object: it is not quarantined, and the step may be tried again."""
    bucket.put("a", LARGE)
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    lines = Lines()
    with pytest.raises(DiskError, match=r"'a'.*TMPDIR") as caught:
        read(bucket, log=logger(lines), **small_memory())
    assert caught.value.retryable
    assert lines.of("object_quarantined") == []


def test_a_failure_behind_a_checkpoint_leaves_it_whole(bucket: Bucket) -> None:
    """What was read before the failing object can be committed first."""
    for key in "ab":
        bucket.put(key, 10)
    with opened(bucket) as store:
        pending = listed(store)
        bucket.proxy.before = lambda r: Answer(501) if r.is_object and r.key == "b" else None
        with TableStream(readable(store, pending, checkpoint_bytes=1), None) as stream:
            checkpoints = stream.checkpoints()
            first = next(checkpoints)
            assert first.batches is not None
            assert first.batches.read_all().num_rows == 10
            assert [(e.object.key, first.error, first.is_last) for e in first.entries] == [
                ("a", None, False)
            ]
            with pytest.raises(StoreError):
                next(checkpoints)


def test_abandoning_a_stream_frees_everything(bucket: Bucket) -> None:
    """A reader that stops in the middle leaves neither thread nor temporary file."""
    for i in range(10):
        bucket.put(f"k{i}", LARGE)
    with opened(bucket) as store:
        stream = TableStream(readable(store, listed(store), **small_memory()), None)
        with stream:
            checkpoint = next(stream.checkpoints())
            assert checkpoint.batches is not None
            assert checkpoint.batches.read_next_batch().num_rows == 500
    assert len({request.key for request in bucket.proxy.object_reads}) < 10


def test_closing_stops_within_a_large_object(bucket: Bucket) -> None:
    """A cancelled run does not decode the rest of it, which may be minutes."""
    bucket.put("a", 200_000, row_group_size=10_000)
    with opened(bucket) as store:
        stream = TableStream(readable(store, listed(store), **small_memory()), None)
        checkpoint = next(stream.checkpoints())
        assert checkpoint.batches is not None
        assert checkpoint.batches.read_next_batch().num_rows == 500
        stream.close(wait=False)
        with pytest.raises(ReadAbandonedError):
            checkpoint.batches.read_all()
    assert isinstance(checkpoint.error, ReadAbandonedError)
