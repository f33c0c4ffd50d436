"""A table's readable objects, opened in order; others are quarantined or skipped."""

from collections.abc import Iterator
from typing import Any

import pytest

from s3pq_dagster.errors import BrokenAnswerError, QuarantineLimitError, ReadAbandonedError
from s3pq_dagster.ledger import Entry
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.readable_objects import LoadRules, ReadableObjects
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.buckets import Bucket, numbers, parquet
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.made import Lines, listed, logger, opened, spec
from s3pq_dagster_tests.unit.threads import none_left


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """No test leaves a reading thread behind."""
    with none_left("s3pq-read", "s3pq-decode"):
        yield


class Objects:
    """The readable objects of a listing, with a log that keeps its lines."""

    def __init__(
        self, store: Store, pending: Listing, rules: LoadRules | None = None, **fields: Any
    ) -> None:
        self.lines = Lines()
        progress = ProgressLog("t", pending, logger(self.lines))
        fetcher = build_fetcher(store, pending, spec(**fields))
        self.objects = ReadableObjects(fetcher, progress, rules)

    def read(self) -> list[tuple[str, int]]:
        """Take all that can be taken now: keys, and numbers of rows."""
        read = []
        while (found := self.objects.peek()) is not None:
            self.objects.take()
            read.append((found.object.key, sum(batch.num_rows for batch in found.batches())))
            self.objects.release(found)
        return read

    def quarantined(self) -> list[str]:
        """Take the keys of the objects that are quarantined so far."""
        return [entry.object.key for entry in self.objects.take_quarantined()]


def read(bucket: Bucket) -> tuple[list[tuple[str, int]], list[str]]:
    """Read a bucket: what was read, and what is quarantined."""
    with opened(bucket) as store:
        found = Objects(store, listed(store))
        try:
            return found.read(), found.quarantined()
        finally:
            found.objects.close()


def put_in_parts(bucket: Bucket, key: str, body: bytes) -> None:
    """Put an object as a multipart upload of one part: its e_tag is no MD5."""
    at = {"Bucket": bucket.name, "Key": key}
    at["UploadId"] = bucket.client.create_multipart_upload(**at)["UploadId"]
    part = bucket.client.upload_part(**at, PartNumber=1, Body=body)
    parts = [{"ETag": part["ETag"], "PartNumber": 1}]
    bucket.client.complete_multipart_upload(**at, MultipartUpload={"Parts": parts})


def spoil(bucket: Bucket, times: int, *, same: bool) -> None:
    """Answer the first requests for an object with bytes that are no Parquet."""
    turns = iter(range(times))

    def spoilt(request: Request) -> Answer | None:
        if not request.is_object or (turn := next(turns, None)) is None:
            return None
        found = bucket.client.get_object(
            Bucket=bucket.name, Key=request.key, Range=request.range or "bytes=0-"
        )
        body = bytes([1 if same else turn]) * len(found["Body"].read())
        headers = {"ETag": found["ETag"], "Content-Range": found["ContentRange"]}
        if request.range is None:
            del headers["Content-Range"]
        return Answer(206 if request.range else 200, body, headers)

    bucket.proxy.before = spoilt


def test_one_bad_transfer_does_not_quarantine_an_object(bucket: Bucket) -> None:
    """An object that does not decode and has no MD5 is read again first."""
    put_in_parts(bucket, "a", parquet(numbers(10)))
    spoil(bucket, 1, same=False)
    assert read(bucket) == ([("a", 10)], [])
    assert len(bucket.proxy.object_reads) == 2


def test_transfers_that_differ_again_and_again_are_the_stores_fault(bucket: Bucket) -> None:
    """The object may be good: nothing is entered, and the step may be tried again."""
    put_in_parts(bucket, "a", parquet(numbers(10)))
    spoil(bucket, 100, same=False)
    with pytest.raises(BrokenAnswerError, match="differ from one read to the next"):
        read(bucket)


def test_the_same_malformed_bytes_twice_are_the_objects(bucket: Bucket) -> None:
    """After one more request, the object is quarantined."""
    put_in_parts(bucket, "a", b"not Parquet")
    assert read(bucket) == ([], ["a"])
    assert len(bucket.proxy.object_reads) == 2


def test_a_malformed_object_whose_md5_is_right_is_not_read_again(bucket: Bucket) -> None:
    """The MD5 shows that the transfer is not at fault."""
    bucket.put("a", b"not Parquet")
    assert read(bucket) == ([], ["a"])
    assert len(bucket.proxy.object_reads) == 1


def test_an_object_stays_open_until_it_is_taken(bucket: Bucket) -> None:
    """Looking twice opens nothing twice."""
    bucket.put("a", 1)
    bucket.put("b", 1)
    with opened(bucket) as store:
        objects = Objects(store, listed(store)).objects
        first = objects.peek()
        assert objects.peek() is first is not None
        objects.take()
        assert objects.peek() is not first
        objects.release(first)
        objects.close()


def test_quarantined_objects_are_taken_before_more_is_read(bucket: Bucket) -> None:
    """A run that dies among many malformed objects does not read all of them again."""
    for number in range(5):
        bucket.put(f"k{number}", b"bad")
    bucket.put("k5", 1)
    with opened(bucket) as store:
        found = Objects(store, listed(store), checkpoint_bytes=6)
        for keys in (["k0", "k1"], ["k2", "k3"]):
            assert found.read() == []
            assert found.quarantined() == keys
        assert found.read() == [("k5", 1)]
        assert found.quarantined() == ["k4"]
        found.objects.close()


def test_the_load_may_stop_the_reading_at_a_malformed_object(bucket: Bucket) -> None:
    """What its rule raises is raised, and all is freed."""
    bucket.put("a", b"bad")

    def refuse(entry: Entry) -> None:
        raise QuarantineLimitError(
            "t", quarantined=1, listed=1, fraction=0.5, key=entry.object.key, reason="bad"
        )

    with opened(bucket) as store:
        found = Objects(store, listed(store), LoadRules(on_quarantine=refuse))
        with pytest.raises(QuarantineLimitError):
            found.read()
        found.objects.close()


@pytest.mark.parametrize("is_loaded", [False, True])
def test_an_object_put_back_to_what_is_loaded_is_skipped(
    bucket: Bucket, *, is_loaded: bool
) -> None:
    """Only the load knows; in any case the object is noted as it was read."""
    bucket.put("a", 1)
    with opened(bucket) as store:
        pending = listed(store)
        bucket.put("a", 2)
        (now,) = listed(store)

        def rule(found: ObjectMeta) -> bool:
            return is_loaded and found == now

        found = Objects(store, pending, LoadRules(is_loaded=rule))
        assert found.read() == ([] if is_loaded else [("a", 2)])
        assert found.objects.changed == [now]
        assert len(found.lines.of("object_put_back")) == is_loaded
        found.objects.close()


def test_a_deleted_object_is_skipped(bucket: Bucket) -> None:
    """Its key is noted, and a warning says so."""
    bucket.put("a", 1)
    bucket.put("b", 1)
    with opened(bucket) as store:
        found = Objects(store, listed(store))
        bucket.delete("a")
        assert found.read() == [("b", 1)]
        assert found.objects.missing == ["a"]
        assert len(found.lines.of("object_missing")) == 1
        found.objects.close()


def test_closing_abandons_what_is_being_read(bucket: Bucket) -> None:
    """Whoever decodes on in another thread is stopped at the next batch."""
    bucket.put("a", 1)
    with opened(bucket) as store:
        objects = Objects(store, listed(store)).objects
        objects.check_wanted()
        objects.close(wait=False)
        with pytest.raises(ReadAbandonedError):
            objects.check_wanted()
