"""Footers read without their objects: schemas and numbers of rows."""

import resource

import pyarrow as pa
import pytest

from s3pq_dagster.errors import MalformedObjectError, StoreError
from s3pq_dagster.objects import MOST_OBJECT_BYTES, ObjectMeta
from s3pq_dagster.reading.footers import footer_rows, read_schema, table_schema
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.open_object import open_object
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster_tests.buckets import Bucket, numbers, parquet
from s3pq_dagster_tests.malformed.bombs import BOMBS
from s3pq_dagster_tests.malformed.crafted import INT32, Chunk, page
from s3pq_dagster_tests.proxy import Answer, Request
from s3pq_dagster_tests.unit.made import Lines, listed, logger, meta, opened, spec

KIB = 1024
NUMBERS = pa.schema([("id", pa.int64()), ("text", pa.string())])
WIDE = pa.table({f"a column with quite a long name, number {i:05d}": [i] for i in range(900)})


def asked_bytes(request: Request) -> int:
    """Count the bytes a ranged request asks for."""
    assert request.range is not None
    start, end = request.range.removeprefix("bytes=").split("-")
    return int(end) - int(start) + 1


def only(bucket: Bucket) -> tuple[pa.Schema | MalformedObjectError, ObjectMeta]:
    """Read the schema of the bucket's one object, or return its error."""
    with opened(bucket) as store:
        (found,) = list_prefix(store, "")
        try:
            return read_schema(store, found), found
        except MalformedObjectError as error:
            return error, found


def test_an_object_without_a_footer_is_read_again_and_has_no_rows(bucket: Bucket) -> None:
    """The first time the transfer may be at fault; the second time it is the object."""
    bucket.put("a", 3)
    bucket.put("b", b"no Parquet at all")
    with opened(bucket) as store:
        found = footer_rows(store, listed(store))
    assert dict(found.select("key", "footer_rows").rows()) == {"a": 3, "b": None}
    assert sorted(request.key for request in bucket.proxy.object_reads) == ["a", "b", "b"]


def test_a_total_of_no_rows_is_none(bucket: Bucket) -> None:
    """Early writers left it at 0; the row groups say how many rows there are."""
    bucket.put("a", bytes(Chunk(page(bytes(12), 3), rows=3, kind=INT32, file_rows=0)))
    with opened(bucket) as store:
        assert footer_rows(store, listed(store))["footer_rows"].to_list() == [3]


def test_a_schema_is_read_in_one_ranged_request(bucket: Bucket) -> None:
    """A large object costs its last 64 KiB, and no more."""
    bucket.put("a", numbers(100_000), compression="none")
    schema, found = only(bucket)
    assert schema == NUMBERS
    assert found.size > 1000 * KIB
    assert [asked_bytes(request) for request in bucket.proxy.object_reads] == [64 * KIB]


def test_even_a_small_object_is_not_read_whole(bucket: Bucket) -> None:
    """An object smaller than the tail is still asked for in part."""
    bucket.put("a", 3)
    schema, found = only(bucket)
    assert schema == NUMBERS
    assert [asked_bytes(request) < found.size for request in bucket.proxy.object_reads] == [True]


def test_a_long_footer_takes_a_second_request(bucket: Bucket) -> None:
    """A footer over 64 KiB is completed, no byte of it being asked for twice."""
    bucket.put("a", WIDE)
    schema, found = only(bucket)
    assert schema == WIDE.schema
    reads = bucket.proxy.object_reads
    assert len(reads) == 2
    assert 64 * KIB < sum(map(asked_bytes, reads)) < found.size


MALFORMED = {
    "empty": (b"", "0 bytes"),
    "tiny": (b"PAR1PAR1", "8 bytes"),
    "text": (b"a,b,c\n" * 100, "not in b'PAR1'"),
    "long": (b"PAR1" + b"x" * 100 + (10**6).to_bytes(4, "little") + b"PAR1", "longer than it"),
    "noise": (
        b"PAR1" + b"\xff" * 100 + (50).to_bytes(4, "little") + b"PAR1",
        "Error|Invalid|Thrift",
    ),
    "truncated": (parquet(numbers(10))[:-20], "not in b'PAR1'"),
    "encrypted": (parquet(numbers(10))[:-4] + b"PARE", "footer is encrypted"),
}


@pytest.mark.parametrize(("body", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_what_has_no_footer_is_malformed(bucket: Bucket, body: bytes, reason: str) -> None:
    """Whatever is not Parquet says why, by key."""
    bucket.put("a/x.parquet", body)
    error, _ = only(bucket)
    assert isinstance(error, MalformedObjectError)
    assert error.key == "a/x.parquet"
    assert any(word in error.reason for word in reason.split("|"))


@pytest.mark.parametrize("which", MALFORMED)
def test_a_run_gives_the_reason_that_discovery_gave(bucket: Bucket, which: str) -> None:
    """One object, read by its footer or whole, has one reason."""
    body, _ = MALFORMED[which]
    bucket.put("a", body)
    told, found = only(bucket)
    with pytest.raises(MalformedObjectError) as caught:
        open_object(ObjectBytes(found, data=body), spec(), whole=True)
    assert isinstance(told, MalformedObjectError)
    assert caught.value.reason == told.reason


@pytest.mark.parametrize("size", [2**63 - 1, MOST_OBJECT_BYTES + 1, -1])
def test_nothing_is_asked_of_an_object_of_no_possible_size(bucket: Bucket, size: int) -> None:
    """The listing lies, and says so at discovery as in a run."""
    with (
        opened(bucket) as store,
        pytest.raises(MalformedObjectError, match=f"listed with {size} bytes"),
    ):
        read_schema(store, meta("a", size=size))
    assert bucket.proxy.requests == []


@pytest.mark.first_case
@pytest.mark.parametrize(
    "name",
    [
        "a footer that says it has many row groups",
        "a footer that says it has many columns",
        "a schema of very many columns",
        "a schema that is nested very deeply",
        "very many remarks",
    ],
)
def test_a_footer_that_would_take_much_ends_nothing(name: str, bucket: Bucket) -> None:
    """What a hostile footer takes, it does not take of the process that discovers tables."""
    bucket.put("a", BOMBS[name].make())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    schema, _ = only(bucket)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(schema, MalformedObjectError | pa.Schema)
    assert after - before < 600 * KIB


def test_a_schema_is_canonical(bucket: Bucket) -> None:
    """Hints of the writer are not part of it."""
    table = pa.table({"a": pa.array(["x"], pa.large_string()).dictionary_encode()})
    bucket.put("a", table.replace_schema_metadata({"pandas": "{}"}))
    schema, _ = only(bucket)
    assert isinstance(schema, pa.Schema)
    assert schema.equals(pa.schema([("a", pa.string())]), check_metadata=True)


def test_a_table_takes_its_first_readable_objects_schema(bucket: Bucket) -> None:
    """Malformed and deleted objects are passed over with a warning each."""
    lines = Lines()
    for key, body in (("t/1", b"bad"), ("t/2", numbers(1)), ("t/3", numbers(2)), ("t/4", WIDE)):
        bucket.put(key, body)
    with opened(bucket) as store:
        found = listed(store, "t/")
        bucket.delete("t/2")
        read = table_schema(store, "t", found, logger(lines))
    assert read is not None
    assert read[0] == NUMBERS
    assert read[1].key == "t/3"
    skipped = lines.of("schema_skipped")
    assert ["key=t/1" in skipped[0], "key=t/2" in skipped[1], len(skipped)] == [True, True, 2]


def test_a_table_of_malformed_objects_has_no_schema_yet(bucket: Bucket) -> None:
    """Three are tried, so that a bucket of junk does not hold discovery up."""
    for number in range(5):
        bucket.put(f"t/{number}", b"not Parquet, but long enough")
    with opened(bucket) as store:
        assert table_schema(store, "t", listed(store), logger()) is None
    assert len({request.key for request in bucket.proxy.object_reads}) == 3


def test_a_store_that_fails_is_not_a_table_without_schema(bucket: Bucket) -> None:
    """What concerns more than one object is an error."""
    bucket.put("t/1", 1)
    with opened(bucket) as store:
        found = listed(store)
        bucket.proxy.before = lambda _: Answer(501)
        with pytest.raises(StoreError):
            table_schema(store, "t", found, logger())


def test_an_empty_listing_has_no_schema(bucket: Bucket) -> None:
    """Nothing listed, nothing asked."""
    with opened(bucket) as store:
        assert table_schema(store, "t", listed(store), logger()) is None
    assert bucket.proxy.object_reads == []
