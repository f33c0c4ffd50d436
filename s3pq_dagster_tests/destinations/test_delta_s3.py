"""Delta tables in S3: servers, permissions, and two writers at the same time."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.destinations.protocol import TableWriter
from s3pq_dagster.errors import DestinationDeniedError, DestinationError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.crashes.scenarios import REFRESHED, REPLACING, Scenario
from s3pq_dagster_tests.crashes.steps import kills
from s3pq_dagster_tests.crashes.trial import Stage
from s3pq_dagster_tests.crashes.watches import TELLING
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    commit,
    entries,
    ids_by_key,
    load,
    loaded,
    rows,
    sealed,
    stream,
    write,
)
from s3pq_dagster_tests.servers import (
    ACCESS_KEY,
    REGION,
    SECRET_KEY,
    Identity,
    admin_client,
    free_port,
    seaweedfs,
)
from s3pq_dagster_tests.unit.made import meta

A, A2, B = meta("orders/a"), meta("orders/a", "v2"), meta("orders/b")
READER = Identity("reader", "reader-secret", ("Read", "List"))


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SeaweedFS with a user who may only read."""
    with seaweedfs(tmp_path_factory.mktemp("delta"), READER) as endpoint:
        yield endpoint


def at(bucket: Bucket, endpoint: str | None, prefix: str = "lake/") -> DeltaDestination:
    """Return a destination below a prefix of a bucket."""
    return DeltaDestination(f"s3://{bucket.name}/{prefix}", endpoint_url=endpoint, region=REGION)


@pytest.mark.thorough
def test_a_faithful_server_takes_everything(weed_bucket: Bucket, weed: str) -> None:
    """SeaweedFS honours `If-None-Match`: first load, overwritten objects, mirror and refresh."""
    destination = at(weed_bucket, weed)
    load(destination, (A, 3), (B, 2))
    load(destination, (A2, 1), start=10)
    with destination.write(OWNER, run_id="r", append=False, refresh=False) as writer:
        assert writer.remove([B.key], seal=sealed) == 2
    assert ids_by_key(destination) == {A.key: [10]}
    with destination.write(OWNER, run_id="r", append=False, refresh=True) as writer:
        commit(writer, (A, 3))
        commit(writer, (B, 2))
    assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0, 1]}
    assert entries(destination) == [(A.key, "v1", "loaded"), (B.key, "v1", "loaded")]


@pytest.mark.thorough
def test_who_commits_second_fails_and_runs_again(weed_bucket: Bucket, weed: str) -> None:
    """Nothing of the second checkpoint is there, not even its files, and running again loads it."""
    one, other = at(weed_bucket, weed), at(weed_bucket, weed)
    load(one, (meta("orders/c"), 1))
    with (
        one.write(OWNER, run_id="r", append=False, refresh=False) as first,
        other.write(OWNER, run_id="r", append=False, refresh=False) as second,
    ):
        commit(second, (A, 3))
        with pytest.raises(DestinationError, match="another run wrote table 'orders'") as caught:
            commit(first, (A, 3))
    assert caught.value.retryable
    assert ids_by_key(one) == {"orders/c": [0], A.key: [0, 1, 2]}
    assert len(_data_files(weed_bucket)) == 2
    load(one, (B, 1))
    assert ids_by_key(one) == {"orders/c": [0], A.key: [0, 1, 2], B.key: [0]}


@pytest.mark.thorough
def test_who_changes_a_schema_second_fails_and_runs_again(weed_bucket: Bucket, weed: str) -> None:
    """Of two runs that give a table other columns, one is committed; then so is the other."""
    one, other = at(weed_bucket, weed), at(weed_bucket, weed)
    load(one, (meta("orders/c"), 1))

    def grow(writer: TableWriter, found: ObjectMeta, columns: dict[str, object]) -> None:
        each = pa.record_batch(columns | {"text": ["x"], "_s3_key": [found.key]})
        seal = partial(sealed, loaded(found, 1))
        writer.commit(stream(each), schema_key=found.key, seal=seal)

    with (
        write(one) as first,
        write(other) as second,
    ):
        grow(second, A, {"id": [0.5]})
        with pytest.raises(DestinationError, match="another run wrote table 'orders'"):
            grow(first, B, {"id": [2], "note": ["new"]})
    assert len(_data_files(weed_bucket)) == 3  # before, rewritten, new
    with write(one) as again:
        grow(again, B, {"id": [2.0], "note": ["new"]})
    found = {row["_s3_key"]: (row["id"], row["note"]) for row in rows(one)}
    assert found == {"orders/c": (0.0, None), A.key: (0.5, None), B.key: (2.0, "new")}


def _data_files(bucket: Bucket) -> list[str]:
    found = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="lake/orders/s3pq-")
    return [each["Key"] for each in found.get("Contents", [])]


def test_a_bucket_of_its_own_needs_no_prefix(weed_bucket: Bucket, weed: str) -> None:
    """With an empty prefix, tables are right below the bucket."""
    destination = at(weed_bucket, weed, prefix="")
    load(destination, (A, 3))
    assert ids_by_key(destination) == {A.key: [0, 1, 2]}


@pytest.mark.first_case
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_the_environment_may_say_where_it_is(
    weed_bucket: Bucket, weed: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint comes from the same variables as in AWS's own libraries."""
    monkeypatch.setenv(variable, weed)
    load(at(weed_bucket, None), (A, 1))
    assert ids_by_key(at(weed_bucket, None)) == {A.key: [0]}


def test_renewed_credentials_are_used(
    weed_bucket: Bucket, weed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials are read each time a table is opened."""
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "not yet")
        with pytest.raises(DestinationDeniedError):
            at(weed_bucket, weed).state(OWNER)
    load(at(weed_bucket, weed), (A, 1))
    assert at(weed_bucket, weed).state(OWNER).rows == 1


# What goes wrong


def _fails(destination: DeltaDestination, said: str) -> list[str]:
    """Read, load and query; each must fail with this error. Return the messages."""
    found = []
    for ask in (
        lambda: destination.state(OWNER),
        lambda: load(destination, (A, 1)),
        lambda: ids_by_key(destination),
    ):
        with pytest.raises(DestinationError, match=said) as caught:
            ask()
        assert SECRET_KEY not in repr(caught.value)
        assert "\n" not in str(caught.value)
        found.append(str(caught.value))
    return found


def test_the_error_names_a_bucket_that_does_not_exist(weed: str) -> None:
    """The error names the bucket and what to check; it is not retried."""
    destination = DeltaDestination("s3://no-such-bucket/lake", endpoint_url=weed, region=REGION)
    _fails(destination, r"s3://no-such-bucket/lake.*bucket does not exist.*Check its name")


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_the_error_names_refused_credentials_and_shows_none(
    weed_bucket: Bucket, weed: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that credentials are refused, and does not show them."""
    monkeypatch.setenv(variable, "wrong-and-secret")
    for said in _fails(at(weed_bucket, weed), "credentials are not accepted.*renew them"):
        assert "wrong-and-secret" not in said or variable == "AWS_ACCESS_KEY_ID"


def test_missing_credentials_are_an_error_before_any_request(
    weed_bucket: Bucket, weed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes before any request is sent."""
    for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(variable)
    _fails(at(weed_bucket, weed), r"no AWS credentials for the destination.*AWS_ACCESS_KEY_ID")


def test_the_error_names_a_profile_that_does_not_exist(weed_bucket: Bucket, weed: str) -> None:
    """The error names the profile."""
    destination = DeltaDestination(
        f"s3://{weed_bucket.name}/lake", endpoint_url=weed, profile="nobody"
    )
    _fails(destination, r"profile \(nobody\) could not be found")


@pytest.mark.thorough
def test_who_may_only_read_can_read(checking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading works; the error of writing names the permission that is missing."""
    destination = DeltaDestination("s3://shared/lake", endpoint_url=checking, region=REGION)
    admin_client(checking).create_bucket(Bucket="shared")
    load(destination, (A, 1))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER.secret_key)
    reader = DeltaDestination("s3://shared/lake", endpoint_url=checking, region=REGION)
    assert ids_by_key(reader) == {A.key: [0]}
    with pytest.raises(
        DestinationDeniedError, match=r"access denied to s3://shared/lake/.*lack s3:PutObject"
    ):
        load(reader, (B, 1))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    assert entries(destination) == [(A.key, "v1", "loaded")]


@pytest.mark.thorough
def test_a_server_that_does_not_answer_is_an_error_within_a_minute(weed_bucket: Bucket) -> None:
    """An endpoint where nobody listens is an error that is retried."""
    started = time.monotonic()
    destination = at(weed_bucket, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(
        DestinationError, match=r"cannot reach s3://.*Check `endpoint_url`"
    ) as caught:
        destination.state(OWNER)
    assert caught.value.retryable
    assert time.monotonic() - started < 60


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", [REPLACING, REFRESHED], ids=str)
def test_a_run_may_be_killed_on_s3(
    scenario: Scenario, bucket: Bucket, moto: str, tmp_path: Path
) -> None:
    """Killed after each commit of a replace or a refresh: nothing lost, doubled or read again."""
    stage = Stage(scenario, bucket, moto, tmp_path, "delta on S3")
    telling = [name for name in stage.steps() if name in TELLING["delta on S3"]]
    assert telling
    verdicts = [stage.killed_at(kill) for kill in kills(telling, after=True)]
    assert [verdict for verdict in verdicts if not verdict.is_right] == []
