"""Objects fetched in parallel and within bounds, handed out in order."""

import resource
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from s3pq_dagster.errors import (
    BrokenAnswerError,
    DiskError,
    InternalError,
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreError,
)
from s3pq_dagster.objects import MOST_OBJECT_BYTES
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.spool import Spool
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.made import listed, opened, spec
from s3pq_dagster_tests.unit.threads import none_left

KIB = 1024
WAIT_SECONDS = 20


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """No test leaves a reading thread behind."""
    with none_left("s3pq-read"):
        yield


def body_of(fetched: ObjectBytes) -> bytes:
    """Read the bytes of a fetched object through its file."""
    assert fetched.error is None
    with fetched.open() as file:
        data: bytes = file.read()
    return data


def put_many(bucket: Bucket, count: int, size: int = 10) -> dict[str, bytes]:
    """Put objects of a size, each of its own bytes."""
    bodies = {f"k{i:03d}": bytes([i]) * size for i in range(count)}
    for key, body in bodies.items():
        bucket.put(key, body)
    return bodies


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("concurrency", "count", "expected"), [(1, 5, 1), (5, 20, 5), (-1, 20, 20), (50, 20, 20)]
)
def test_as_many_requests_are_under_way_as_asked_for(
    bucket: Bucket, concurrency: int, count: int, expected: int
) -> None:
    """`concurrency` requests are under way at a time: no more, and no fewer if there are enough."""
    bodies = put_many(bucket, count)
    with opened(bucket, concurrency=concurrency) as store:
        found = listed(store)
        barrier = threading.Barrier(expected, timeout=WAIT_SECONDS)

        def meet(request: Request) -> None:
            barrier.wait()

        bucket.proxy.before = meet
        with Fetcher(store, found, spec(concurrency=concurrency)) as fetcher:
            read = {}
            for fetched in fetcher:
                read[fetched.object.key] = body_of(fetched)
                fetcher.release(fetched)
    assert read == bodies
    assert bucket.proxy.most_in_flight == expected


def test_objects_come_in_order_whatever_arrives_first(bucket: Bucket) -> None:
    """The first object comes first even when its answer is the last."""
    put_many(bucket, 4)
    others = threading.Semaphore(0)

    def last_comes_first(request: Request) -> None:
        if request.key == "k000":
            for _ in range(3):
                assert others.acquire(timeout=WAIT_SECONDS)
        else:
            others.release()

    with opened(bucket) as store:
        found = listed(store)
        bucket.proxy.before = last_comes_first
        with Fetcher(store, found, spec(concurrency=4)) as fetcher:
            assert [fetched.object.key for fetched in fetcher] == ["k000", "k001", "k002", "k003"]


def test_bytes_in_flight_are_bounded(bucket: Bucket) -> None:
    """No more bytes are held than asked for, and as many as that allows."""
    put_many(bucket, 12, size=300 * KIB)
    bounds = spec(max_bytes_in_flight=1000 * KIB)
    held: set[str] = set()
    most = 0
    lock = threading.Lock()
    barrier = threading.Barrier(3, timeout=WAIT_SECONDS)

    def hold(request: Request) -> None:
        nonlocal most
        with lock:
            held.add(request.key)
            most = max(most, len(held))
        barrier.wait()

    with opened(bucket) as store:
        found = listed(store)
        bucket.proxy.before = hold
        with Fetcher(store, found, bounds) as fetcher:
            for fetched in fetcher:
                with lock:
                    held.remove(fetched.object.key)
                fetcher.release(fetched)
    assert most == 3


def test_an_object_over_the_bound_is_read_alone(bucket: Bucket) -> None:
    """One object that is more than the bound is read all the same, with nothing beside it."""
    bodies = put_many(bucket, 3, size=300 * KIB)
    with opened(bucket) as store:
        found = listed(store)
        read = {}
        with Fetcher(store, found, spec(max_bytes_in_flight=100 * KIB)) as fetcher:
            for fetched in fetcher:
                read[fetched.object.key] = body_of(fetched)
                fetcher.release(fetched)
    assert read == bodies
    assert bucket.proxy.most_in_flight == 1


def test_a_large_object_is_fetched_in_ranges_each_once(bucket: Bucket) -> None:
    """Ranges of the size allowed in memory tile the object: no byte twice, none left out."""
    body = bytes(range(256)) * 5 * KIB
    bucket.put("large", body + b"end")
    bounds = spec(max_object_bytes_in_memory=256 * KIB, concurrency=3)
    with opened(bucket) as store:
        found = listed(store)
        with Fetcher(store, found, bounds) as fetcher:
            (fetched,) = fetcher
            assert body_of(fetched) == body + b"end"
            fetcher.release(fetched)
    asked = sorted(
        tuple(map(int, str(request.range).removeprefix("bytes=").split("-")))
        for request in bucket.proxy.object_reads
    )
    starts = [start for start, _ in asked]
    assert starts == [0, *(end + 1 for _, end in asked[:-1])]
    assert asked[-1][1] == len(body) + 2
    assert max(end - start + 1 for start, end in asked) == 256 * KIB
    assert all(request.if_match for request in bucket.proxy.object_reads)


def test_at_most_two_large_objects_are_on_disk(bucket: Bucket) -> None:
    """Prefetching does not fill the disk; each temporary file is deleted on release."""
    bodies = put_many(bucket, 6, size=100 * KIB)
    bounds = spec(max_object_bytes_in_memory=50 * KIB)
    read, most = {}, 0
    with opened(bucket) as store, Fetcher(store, listed(store), bounds) as fetcher:
        for fetched in fetcher:
            spool = fetched.spool
            assert spool is not None
            read[fetched.object.key] = body_of(fetched)
            started = {request.key for request in bucket.proxy.object_reads}
            most = max(most, len(started - set(read)) + 1)
            fetcher.release(fetched)
            assert spool.is_closed
    assert read == bodies
    assert most <= 2


def test_closing_removes_the_temporary_files(bucket: Bucket) -> None:
    """An object that was fetched and never taken leaves no file either."""
    put_many(bucket, 3, size=100 * KIB)
    spools: list[Spool | None] = []
    with opened(bucket) as store:
        found = listed(store)
        with Fetcher(store, found, spec(max_object_bytes_in_memory=50 * KIB)) as fetcher:
            fetched = next(iter(fetcher))
            spools.append(fetched.spool)
            fetcher.release(fetched)
            second = next(iter(fetcher))
            spools.append(second.spool)
            fetcher.release(second)
    assert all(spool is not None and spool.is_closed for spool in spools)


def test_an_empty_object_is_not_asked_for(bucket: Bucket) -> None:
    """Zero bytes need no request, and do not hold the others up."""
    bucket.put("a", b"")
    bucket.put("b", b"1")
    with opened(bucket) as store, Fetcher(store, listed(store), spec()) as fetcher:
        assert [body_of(fetched) for fetched in fetcher] == [b"", b"1"]
    assert [request.key for request in bucket.proxy.object_reads] == ["b"]


@pytest.mark.parametrize("size", [10, 100 * KIB], ids=["small", "large"])
def test_an_object_overwritten_meanwhile_is_read_again(bucket: Bucket, size: int) -> None:
    """The object that is at the key now is fetched, and handed on with its new version."""
    bucket.put("a", b"o" * size)
    bucket.put("b", b"b" * size)
    with opened(bucket) as store:
        found = listed(store)
        bucket.put("a", b"new!" * size)
        with Fetcher(store, found, spec(max_object_bytes_in_memory=60 * KIB)) as fetcher:
            read = {}
            for fetched in fetcher:
                read[fetched.object.key] = (fetched.object, body_of(fetched))
                fetcher.release(fetched)
        now = {each.key: each for each in list_prefix(store, "")}
    assert read["a"] == (now["a"], b"new!" * size)
    assert read["b"][1] == b"b" * size


def test_an_object_that_never_rests_is_an_error(bucket: Bucket) -> None:
    """After a few overwrites in a row its error is handed on; the others come."""
    bucket.put("a", b"1")
    bucket.put("b", b"2")
    with opened(bucket) as store:
        found = listed(store)
        bucket.proxy.before = lambda request: (
            Answer(412) if request.is_object and request.key == "a" else None
        )
        with Fetcher(store, found, spec()) as fetcher:
            first, second = fetcher
    assert isinstance(first.error, ObjectChangedError)
    assert body_of(second) == b"2"


def test_a_deleted_objects_error_comes_in_its_place(bucket: Bucket) -> None:
    """An object that is gone is handed on with its error, in order, and costs nothing."""
    put_many(bucket, 3)
    with opened(bucket) as store:
        found = listed(store)
        bucket.delete("k001")
        with Fetcher(store, found, spec()) as fetcher:
            got = list(fetcher)
    assert [type(fetched.error) for fetched in got] == [type(None), ObjectNotFoundError, type(None)]
    assert got[1].held == 0


def test_an_object_deleted_after_it_was_overwritten_is_missing(bucket: Bucket) -> None:
    """An object found changed, and then deleted, counts as deleted."""
    bucket.put("a", b"1")
    with opened(bucket) as store:
        found = listed(store)
        bucket.delete("a")
        bucket.proxy.before = lambda request: Answer(412) if request.if_match else None
        with Fetcher(store, found, spec()) as fetcher:
            (got,) = fetcher
    assert isinstance(got.error, ObjectNotFoundError)


def test_a_range_that_fails_fails_its_object(bucket: Bucket) -> None:
    """One range of a large object that cannot be read is the object's error."""
    bucket.put("a", b"x" * 100 * KIB)
    with opened(bucket) as store:
        found = listed(store)
        bucket.proxy.before = lambda request: (
            Answer(501) if request.range and request.range.startswith("bytes=51200-") else None
        )
        with Fetcher(store, found, spec(max_object_bytes_in_memory=50 * KIB)) as fetcher:
            (got,) = fetcher
            fetcher.release(got)
    assert isinstance(got.error, StoreError)
    assert got.spool is None


def test_failed_objects_do_not_use_up_the_bound(bucket: Bucket) -> None:
    """Errors free what was counted for them, so that the rest still comes."""
    bodies = put_many(bucket, 10, size=300 * KIB)
    with opened(bucket) as store:
        found = listed(store)
        for number in range(0, 10, 2):
            bucket.delete(f"k{number:03d}")
        read = {}
        with Fetcher(store, found, spec(max_bytes_in_flight=400 * KIB)) as fetcher:
            for fetched in fetcher:
                if fetched.error is None:
                    read[fetched.object.key] = body_of(fetched)
                fetcher.release(fetched)
    assert read == {key: body for key, body in bodies.items() if int(key[1:]) % 2}


def test_abandoning_in_the_middle_does_not_hang(bucket: Bucket) -> None:
    """Closing waits for what is under way and begins nothing more."""
    put_many(bucket, 40)
    with opened(bucket) as store:
        found = listed(store)
        with Fetcher(store, found, spec(concurrency=2, max_bytes_in_flight=256 * KIB)) as fetcher:
            assert next(iter(fetcher)).object.key == "k000"
    asked = len(bucket.proxy.object_reads)
    assert asked < 10
    assert bucket.proxy.in_flight == 0


def test_closing_before_anything_is_taken_does_not_hang(bucket: Bucket) -> None:
    """A fetcher that was opened and never read closes as well."""
    put_many(bucket, 3)
    with opened(bucket) as store:
        Fetcher(store, listed(store), spec()).close()
    assert bucket.proxy.object_reads == []


def test_no_objects_are_no_requests(bucket: Bucket) -> None:
    """Nothing to fetch ends at once."""
    with opened(bucket) as store, Fetcher(store, [], spec()) as fetcher:
        assert list(fetcher) == []


def test_an_overwritten_object_is_read_again_though_others_fill_the_bound(bucket: Bucket) -> None:
    """The object that is waited for is always under way: later ones cannot starve it."""
    bodies = put_many(bucket, 8, size=64 * KIB)
    with opened(bucket, max_bytes_in_flight=4 * 64 * KIB, concurrency=8) as store:
        found = listed(store)
        bodies["k000"] = b"new" * 64 * KIB
        bucket.put("k000", bodies["k000"])
        with Fetcher(store, found, spec(max_bytes_in_flight=4 * 64 * KIB)) as fetcher:
            got = {}
            for fetched in fetcher:
                got[fetched.object.key] = body_of(fetched)
                fetcher.release(fetched)
    assert got == bodies


def test_no_room_for_a_temporary_file_is_that_objects_error(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is dropped: the object comes with an error that says what to do."""
    bucket.put("big", b"x" * 100 * KIB)
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with opened(bucket) as store:
        found = listed(store)
        with Fetcher(store, found, spec(max_object_bytes_in_memory=KIB)) as fetcher:
            (fetched,) = fetcher
    assert isinstance(fetched.error, DiskError)
    assert "'big'" in str(fetched.error)
    assert "TMPDIR" in str(fetched.error)


def test_a_disk_that_is_nearly_full_is_that_objects_error(bucket: Bucket) -> None:
    """A short write is no error of the system, and must not hand on an object cut short."""
    bucket.put("big", b"x" * 100 * KIB)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(bucket) as store:
        found = listed(store)
        with Fetcher(store, found, spec(max_object_bytes_in_memory=60 * KIB)) as fetcher:
            resource.setrlimit(resource.RLIMIT_FSIZE, (80 * KIB, hard))
            try:
                (fetched,) = fetcher
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            fetcher.release(fetched)
    assert isinstance(fetched.error, DiskError)
    assert "'big'" in str(fetched.error)
    assert "Make room" in str(fetched.error)


def test_a_library_that_panics_is_not_the_buckets_fault(bucket: Bucket) -> None:
    """Nobody waits for ever for its object, which comes with an error that asks for a report."""
    put_many(bucket, 2)

    def panic(**_: object) -> None:
        raise SystemExit("a panic")

    with opened(bucket) as store:
        found = listed(store)
    events = bucket.client.meta.events
    events.register("before-call.s3.GetObject", panic)
    try:
        with Fetcher(Store(bucket.client, bucket.name), found, spec()) as fetcher:
            errors = [fetched.error for fetched in fetcher]
    finally:
        events.unregister("before-call.s3.GetObject", panic)
    assert [type(error) for error in errors] == [InternalError, InternalError]
    first = errors[0]
    assert first is not None
    assert "reading object 'k000' ended with SystemExit('a panic')" in str(first)
    assert "Nothing of the transaction under way is committed" in str(first)
    assert "report it, together with the log" in str(first)
    assert isinstance(first.__cause__, SystemExit)


def flip_first(bucket: Bucket, times: int, *, at: int | None = None) -> None:
    """Flip a bit in the first answers about the end of an object; elsewhere each time, if asked."""
    flips = iter(range(times))

    def broken(request: Request) -> Answer | None:
        start = int((request.range or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if not request.is_object or start == 0 or (turn := next(flips, None)) is None:
            return None
        found = bucket.client.get_object(
            Bucket=bucket.name, Key=request.key, Range=str(request.range)
        )
        body = bytearray(found["Body"].read())
        body[turn if at is None else at] ^= 1
        headers = {"ETag": found["ETag"], "Content-Range": found["ContentRange"]}
        return Answer(206, bytes(body), headers)

    bucket.proxy.before = broken


def fetch_large(bucket: Bucket) -> tuple[Exception | None, bytes]:
    """Fetch the bucket's one object in two ranges."""
    with opened(bucket) as store, Fetcher(store, listed(store), IN_TWO) as fetcher:
        (fetched,) = fetcher
        data = b"" if fetched.error else body_of(fetched)
        fetcher.release(fetched)
    return fetched.error, data


IN_TWO = spec(max_object_bytes_in_memory=50 * KIB)
LARGE = bytes(range(256)) * 400


def test_a_flipped_byte_in_a_large_object_is_fetched_again(bucket: Bucket) -> None:
    """Once all its ranges are there, they are compared with its e_tag."""
    bucket.put("a", LARGE)
    flip_first(bucket, 1)
    assert fetch_large(bucket) == (None, LARGE)
    assert len(bucket.proxy.object_reads) == 4


def test_a_large_object_that_comes_damaged_in_other_ways_is_an_error(
    bucket: Bucket,
) -> None:
    """The transfer is at fault, not the object."""
    bucket.put("a", LARGE)
    flip_first(bucket, 100)
    error, _ = fetch_large(bucket)
    assert isinstance(error, BrokenAnswerError)
    assert len(bucket.proxy.object_reads) == 8


def test_a_large_object_that_comes_damaged_the_same_each_time_is_malformed(bucket: Bucket) -> None:
    """The object at rest does not match its e_tag."""
    bucket.put("a", LARGE)
    flip_first(bucket, 100, at=7)
    error, _ = fetch_large(bucket)
    assert isinstance(error, MalformedObjectError)
    assert "verify_e_tags" in error.reason


def test_objects_behind_a_damaged_one_still_come(bucket: Bucket) -> None:
    """Reading it again starves nobody, however narrow the bounds."""
    for number in range(4):
        bucket.put(f"k{number}", LARGE)
    flip_first(bucket, 3)
    bounds = spec(max_object_bytes_in_memory=50 * KIB, max_bytes_in_flight=60 * KIB)
    with opened(bucket) as store, Fetcher(store, listed(store), bounds) as fetcher:
        for fetched in fetcher:
            assert body_of(fetched) == LARGE
            fetcher.release(fetched)


def test_a_wrong_size_costs_no_more_than_the_requests_under_way(bucket: Bucket) -> None:
    """An object listed with 50 TiB that has ten bytes fails with its first ranges."""
    bucket.put("k", b"0123456789")
    with opened(bucket) as store:
        (found,) = listed(store)
        lie = replace(found, size=MOST_OBJECT_BYTES)
        with Fetcher(store, [lie], spec(concurrency=2)) as fetcher:
            (fetched,) = fetcher
            assert isinstance(fetched.error, StoreError)
            fetcher.release(fetched)
    assert len(bucket.proxy.object_reads) <= 2 * 4  # each is tried four times


def test_an_object_of_no_possible_size_is_handed_on_as_malformed(bucket: Bucket) -> None:
    """In its order, without a request, and with the objects beside it."""
    bucket.put("k", b"0123456789")
    with opened(bucket) as store:
        (found,) = listed(store)
        lie = replace(found, key="lie", size=2**63 - 1)
        with Fetcher(store, [lie, found], spec()) as fetcher:
            first, second = fetcher
            assert isinstance(first.error, MalformedObjectError)
            assert body_of(second) == b"0123456789"
    assert [request.key for request in bucket.proxy.object_reads] == ["k"]
