"""Parquet files in S3: locks, conditional writes, lost answers, permissions and kills."""

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from s3pq_dagster.dagster.io_managers import build_io_manager
from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
)
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.places.parquet_s3 import ParquetS3Place
from s3pq_dagster_tests.destinations.s3_worker import requests_of
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    batch,
    ids_by_key,
    load,
    loaded,
    sealed,
    stream,
)
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Answer, Proxy, Request
from s3pq_dagster_tests.servers import REGION, SECRET_KEY, Identity, admin_client, seaweedfs
from s3pq_dagster_tests.unit.made import Lines, logger, meta

A, A2, B, C = meta("orders/a"), meta("orders/a", "v2"), meta("orders/b"), meta("orders/c")
LEASE = 2
"""Seconds; S3 stamps whole ones."""


def destination_in(bucket: Bucket, *, lease_seconds: float = LEASE, **options: Any) -> Any:
    """Make a destination in a bucket, behind its proxy."""
    return ParquetDestination(
        f"s3://{bucket.name}/lake",
        endpoint_url=options.pop("endpoint_url", bucket.proxy.endpoint),
        region=REGION,
        lease_seconds=lease_seconds,
        **({"lock_timeout_seconds": 30} | options),
    )


def keys(bucket: Bucket) -> list[str]:
    """List a bucket."""
    found = bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", ())
    return sorted(each["Key"] for each in found)


@pytest.fixture(params=["moto", "weed"])
def either(request: pytest.FixtureRequest) -> Bucket:
    """A bucket on each of the servers."""
    found: Bucket = request.getfixturevalue(
        {"moto": "bucket", "weed": "weed_bucket"}[request.param]
    )
    return found


# The life of a table


@pytest.mark.first_case
def test_a_table_lives_in_s3_as_in_a_directory(either: Bucket) -> None:
    """A table is loaded, overwritten, removed from, refreshed and read; each object is one file."""
    destination = destination_in(either)
    load(destination, (A, 3), (B, 2), (C, 0))
    load(destination, (A2, 2), start=10)
    assert ids_by_key(destination) == {A.key: [10, 11], B.key: [0, 1]}
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        assert writer.remove([B.key], seal=sealed) == 2
    assert dict(destination.audit(OWNER).rows_by_key.rows()) == {A.key: 2}
    load(destination, (B, 1), refresh=True, start=20)
    assert ids_by_key(destination) == {B.key: [20]}
    folders = [key.rpartition("/")[0] for key in keys(either)]
    assert folders == [
        "lake/_s3pq_objects",
        "lake/_s3pq_schemas",
        "lake/_s3pq_staged",
        "lake/_s3pq_tables",
        "lake/orders",
    ]


@pytest.mark.thorough
def test_a_large_object_goes_up_in_parts_and_comes_back_in_ranges(bucket: Bucket) -> None:
    """Reading a column fetches only its byte ranges, all of one version of the file."""
    noise = os.urandom(24 * 1024 * 1024)
    rows = [noise[start : start + 4096] for start in range(0, len(noise), 4096)]
    each = pa.record_batch({"id": range(len(rows)), "noise": rows, "_s3_key": [A.key] * len(rows)})
    destination = destination_in(bucket)
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        writer.commit(stream(each), schema_key=A.key, seal=lambda: sealed(loaded(A, len(rows))))
    assert any("uploadId" in request.query for request in bucket.proxy.requests)
    with destination.read("orders", None) as reader:
        assert reader.read_all() == pa.Table.from_batches([each])
    bucket.proxy.forget()
    with destination.read("orders", ["id"]) as reader:
        assert reader.read_all().num_rows == len(rows)
    reads = [request for request in bucket.proxy.object_reads if "/orders/" in request.key]
    assert reads
    assert all(request.range for request in reads)


@pytest.mark.thorough
def test_few_requests_are_made_for_each_object(bucket: Bucket) -> None:
    """A file is put, copied, and deleted with others; others are by checkpoint or table."""
    destination = destination_in(bucket, lease_seconds=60)
    load(destination, (C, 1))
    counts = []
    for start, many in ((0, 10), (100, 50)):
        bucket.proxy.forget()
        load(destination, *((meta(f"orders/{start + n}"), 1) for n in range(many)))
        counts.append(len(bucket.proxy.requests))
    assert counts[1] - counts[0] == 2 * 40


def test_the_urls_endpoint_comes_from_the_environment(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint comes from the same variables as in AWS's own libraries."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.proxy.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    manager = build_io_manager(f"parquet+s3://{bucket.name}/lake/")
    load(manager.destination(logger()), (A, 1))
    assert any(key.startswith("lake/orders/a-") for key in keys(bucket))
    assert manager.table_name("orders") == f"s3://{bucket.name}/lake/orders/*.parquet"


def test_the_root_may_be_a_bucket_as_a_whole(bucket: Bucket) -> None:
    """Without a prefix, keys do not begin with a slash."""
    destination = ParquetDestination(
        f"s3://{bucket.name}", endpoint_url=bucket.proxy.endpoint, region=REGION
    )
    load(destination, (A, 1))
    assert keys(bucket)[0] == "_s3pq_objects/orders.parquet"
    assert ids_by_key(destination) == {A.key: [0]}


# Turns

_WRITE = """
import sys
from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster_tests.destinations.s3_worker import requests_of
from s3pq_dagster_tests.destinations.tables import OWNER, commit
from s3pq_dagster_tests.unit.made import meta
root, endpoint, region, lease = sys.argv[1:]
destination = ParquetDestination(
    root, endpoint_url=endpoint, region=region, lease_seconds=float(lease)
)
with destination.write(OWNER, run_id="other", append=False, refresh=False) as writer:
    commit(writer, (meta("orders/a"), 3))
    print("committed", flush=True)
    sys.stdin.readline()
    commit(writer, (meta("orders/b"), 3))
    print("committed again", flush=True)
"""


@pytest.fixture
def other(bucket: Bucket) -> Iterator[subprocess.Popen[str]]:
    """Another process that has committed object a and waits for a line to commit b."""
    root, endpoint = f"s3://{bucket.name}/lake", bucket.proxy.endpoint
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITE, root, endpoint, REGION, str(LEASE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "committed\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.thorough
def test_a_living_writer_is_waited_for_however_long_his_lease(
    bucket: Bucket, other: subprocess.Popen[str]
) -> None:
    """It renews its lease; the wait is logged, and ends with an error that names the writer."""
    lines = Lines()
    waiting = destination_in(bucket, lock_timeout_seconds=2 * LEASE + 1, log=logger(lines))
    with pytest.raises(DestinationLockedError, match=f"another process.* pid {other.pid}"):
        load(waiting, (C, 1))
    assert lines.of("destination_locked")
    said, _ = other.communicate("go on\n", timeout=30)
    assert said == "committed again\n"
    load(waiting, (C, 1))
    assert set(ids_by_key(waiting)) == {A.key, B.key, C.key}


@pytest.mark.thorough
def test_a_dead_writer_is_waited_for_until_his_lease_ends(
    bucket: Bucket, other: subprocess.Popen[str]
) -> None:
    """What the dead writer committed stands; what it staged is deleted."""
    other.kill()
    destination = destination_in(bucket)
    load(destination, (C, 1))
    assert set(ids_by_key(destination)) == {A.key, C.key}


@pytest.mark.thorough
def test_a_writer_that_slept_too_long_commits_nothing_more(
    bucket: Bucket, other: subprocess.Popen[str]
) -> None:
    """Another writer took the lease over; the object that both wanted to load is there once."""
    other.send_signal(signal.SIGSTOP)
    destination = destination_in(bucket)
    load(destination, (B, 2), start=10)
    other.send_signal(signal.SIGCONT)
    said, error = other.communicate("go on\n", timeout=60)
    assert said == ""
    assert "was changed by another run meanwhile" in error or "was lost: another run" in error
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [10, 11]}
    load(destination, (C, 1))
    assert not [key for key in keys(bucket) if "_s3pq_staged/orders/" in key]


def test_a_released_lease_is_not_waited_for(bucket: Bucket) -> None:
    """A released lease is free at once, however long leases last."""
    destination = destination_in(bucket, lease_seconds=3600, lock_timeout_seconds=0)
    for found in (A, B):
        load(destination, (found, 1))


@pytest.mark.thorough
def test_a_dead_writer_from_the_future_is_not_waited_for(bucket: Bucket) -> None:
    """If the server's clock was set back, a lease ends when it was seen unchanged for so long."""
    lock = "lake/_s3pq_staged/orders.lock"
    bucket.client.put_object(Bucket=bucket.name, Key=lock, Body=b"dead pid 1 of yesterday 0")
    bucket.set_last_modified(lock, datetime.now(UTC) + timedelta(days=1))
    destination = destination_in(bucket, lease_seconds=0.5, lock_timeout_seconds=20)
    load(destination, (A, 1))
    assert ids_by_key(destination) == {A.key: [0]}


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_an_s3_that_heeds_no_conditions_is_refused(bucket: Bucket, header: str) -> None:
    """Two runs could overwrite each other's ledger there, so conditions are tried out first."""

    class Heedless(Proxy):
        def answer(self, request: Request, path: str, headers: dict[str, str], body: bytes) -> Any:
            return super().answer(
                request, path, {k: v for k, v in headers.items() if k != header}, body
            )

    with Heedless(bucket.proxy.endpoint) as proxy:
        destination = destination_in(bucket, endpoint_url=proxy.endpoint)
        for _ in range(2):
            with pytest.raises(DestinationDeniedError, match="not heed If-Match and If-None-Match"):
                load(destination, (A, 1))
    assert keys(bucket) == []


# Answers that get lost


@pytest.mark.thorough
def test_a_commit_whose_answer_got_lost_is_found_committed(bucket: Bucket) -> None:
    """The request is repeated and finds its own content there, which is no error."""
    destination = destination_in(bucket)
    load(destination, (A, 1))
    lost: list[str] = []

    class Forgetful(Proxy):
        def answer(self, request: Request, path: str, headers: dict[str, str], body: bytes) -> Any:
            answer = super().answer(request, path, headers, body)
            if request.method == "PUT" and "_s3pq_objects" in request.key and not lost:
                lost.append(request.key)
                return 500, [("Content-Length", "0")], b""
            return answer

    with Forgetful(bucket.proxy.endpoint) as proxy:
        load(destination_in(bucket, endpoint_url=proxy.endpoint), (B, 2))
    assert lost
    assert ids_by_key(destination) == {A.key: [0], B.key: [0, 1]}


@pytest.mark.thorough
def test_a_commit_that_nobody_knows_of_is_left_to_the_next_writer(bucket: Bucket) -> None:
    """Its answers got lost, but it was done: the next one finds it, and each row is there once."""
    destination = destination_in(bucket)
    load(destination, (A, 1))

    class Silent(Proxy):
        def answer(self, request: Request, path: str, headers: dict[str, str], body: bytes) -> Any:
            answer = super().answer(request, path, headers, body)
            if request.method == "PUT" and "_s3pq_objects" in request.key:
                return 500, [("Content-Length", "0")], b""
            return answer

    with Silent(bucket.proxy.endpoint) as proxy, pytest.raises(DestinationError):
        load(destination_in(bucket, endpoint_url=proxy.endpoint), (B, 2))
    assert ids_by_key(destination) == {A.key: [0], B.key: [0, 1]}
    load(destination, (C, 1))  # once the lease of that one has ended
    assert ids_by_key(destination) == {A.key: [0], B.key: [0, 1], C.key: [0]}
    assert not [key for key in keys(bucket) if "_s3pq_staged/orders/" in key]


@pytest.mark.thorough
def test_a_reader_whose_file_is_replaced_meanwhile_fails(bucket: Bucket) -> None:
    """Byte ranges of two versions are never joined: the reader gets an error."""
    destination = destination_in(bucket)
    for version, start in ((A, 0), (A2, 1)):
        with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
            big = [batch(A.key, 100_000, start + 100_000 * part) for part in range(4)]
            entry = loaded(version, 400_000)
            if not start:
                writer.commit(stream(*big), schema_key=A.key, seal=lambda e=entry: sealed(e))
                continue
            with destination.read("orders", ["text"]) as reader:
                reader.read_next_batch()
                writer.commit(stream(*big), schema_key=A.key, seal=lambda e=entry: sealed(e))
                with pytest.raises(DestinationError, match="Read it again"):
                    reader.read_all()


# What is wrong with the place


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    """The error names the bucket and what to check, and is not retried."""
    destination = ParquetDestination(
        "s3://no-such-bucket/lake", endpoint_url=bucket.proxy.endpoint, region=REGION
    )
    for look in (lambda: destination.state(OWNER), lambda: load(destination, (A, 1))):
        with pytest.raises(DestinationDeniedError, match=r"'no-such-bucket' of the .* not found"):
            look()


def test_a_server_that_is_not_there_is_named() -> None:
    """The error names the endpoint and what to check."""
    destination = ParquetDestination(
        "s3://lake/x", endpoint_url="http://127.0.0.1:9", region=REGION
    )
    with pytest.raises(DestinationError, match=r"cannot reach S3 at http://127\.0\.0\.1:9"):
        destination.state(OWNER)


def test_a_profile_that_is_not_there_is_named() -> None:
    """The error comes before any request is sent."""
    destination = ParquetDestination("s3://lake/x", region=REGION, local_profile="nobody")
    with pytest.raises(DestinationDeniedError, match=r"nobody.*`local_profile`"):
        destination.state(OWNER)


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("method", "key", "permission"),
    first_of(
        [
            ("GET", "_s3pq_objects", "s3:GetObject"),
            ("PUT", "_s3pq_objects", "s3:PutObject"),
            ("GET", "", "s3:ListBucket"),
            ("PUT", "_s3pq_staged/orders/", "s3:PutObject"),
            ("POST", "", "s3:DeleteObject"),
        ],
        keep=2,
    ),
)
def test_what_is_denied_is_named(bucket: Bucket, method: str, key: str, permission: str) -> None:
    """The error names the permission; once it is granted, all loads and each row is there once."""
    destination = destination_in(bucket)
    load(destination, (A, 1))

    def deny(request: Request) -> Answer | None:
        is_it = request.method == method and (key in request.key if key else not request.key)
        return Answer(403, b"<Error><Code>AccessDenied</Code></Error>") if is_it else None

    bucket.proxy.before = deny
    with pytest.raises(DestinationDeniedError, match=f"lack {permission}"):
        load(destination, (B, 2))
    bucket.proxy.before = lambda _request: None
    known = destination.state(OWNER).ledger
    load(destination, *((found, 2) for found in (B, C) if not known.holds(found)))
    assert ids_by_key(destination) == {A.key: [0], B.key: [0, 1], C.key: [0, 1]}


@pytest.mark.thorough
def test_credentials_are_in_no_message(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither errors nor the destination's representation show a secret."""
    assert bucket
    with seaweedfs(tmp_path / "weed", Identity("reader", "reader-secret", ("Read", "List"))) as at:
        client = admin_client(at)
        client.create_bucket(Bucket="lake-x")
        client.close()
        for access, secret, said in (
            ("reader", "reader-secret", "lack s3:PutObject"),
            ("nobody", "canary-secret", "no usable AWS credentials"),
            ("reader", "canary-secret", "no usable AWS credentials"),
        ):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
            destination = ParquetDestination("s3://lake-x/l", endpoint_url=at, region=REGION)
            with pytest.raises(DestinationDeniedError, match=said) as caught:
                load(destination, (A, 1))
            shown = "".join(traceback.format_exception(caught.value)) + repr(vars(destination))
            assert not [
                word for word in ("canary-secret", "reader-secret", SECRET_KEY) if word in shown
            ]


# Kills


def agrees(place: ParquetS3Place, *, refresh: bool) -> None:
    """Check that ledger, rows and the documented list of files agree."""
    destination = place.open()
    audit = destination.audit(OWNER)
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()
    by_key = ids_by_key(destination)
    assert all(ids in ([0, 1, 2], [10, 11]) for ids in by_key.values())
    if refresh:
        assert len({len(ids) for ids in by_key.values()}) == 1
    listed = sorted(key for (key,) in place.select("orders", ["_s3_key"]))
    assert listed == sorted(key for key, ids in by_key.items() for _ in ids)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("refresh", [False, True])
def test_a_writer_may_be_killed_at_any_request(tmp_path: Path, *, refresh: bool) -> None:
    """Before it or after it; whoever comes next ends what was begun, and each row is there once.

    ``S3PQ_KILL_EVERY=1`` kills at all of them.
    """
    template = ParquetS3Place(tmp_path / "template")
    load(template.open(), *((meta(f"orders/{number}"), 3) for number in range(4)))
    whole = template.copied_to(tmp_path / "whole")
    count = requests_of(whole.root, whole.endpoint, "", refresh=refresh)
    assert count
    kills = [f"{number} {when}" for number in range(count) for when in ("before", "after")]
    for kill in kills[2 :: int(os.environ.get("S3PQ_KILL_EVERY", "11"))]:
        place = template.copied_to(tmp_path / kill)
        assert requests_of(place.root, place.endpoint, kill, refresh=refresh) is None, kill
        agrees(place, refresh=refresh)
        requests_of(place.root, place.endpoint, "", refresh=False)
        agrees(place, refresh=refresh)
        assert ids_by_key(place.open()) == {f"orders/{n}": [10, 11] for n in range(6)}, kill
        left = place.keys()
        assert not [key for key in left if key.startswith("_s3pq_staged/orders/")]
        assert pl.read_parquet(place.copy.path / "orders" / "*.parquet").height == 12
        place.discard()
    template.discard()
