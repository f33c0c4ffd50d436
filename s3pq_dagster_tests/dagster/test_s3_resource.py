"""What a `dagster_aws.s3.S3Resource` says of access is honoured; anything else is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from s3pq_dagster import S3ParquetResource
from s3pq_dagster.errors import AccessDeniedError, ConfigurationError, CredentialsError
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.proxy import Proxy
from s3pq_dagster_tests.servers import admin_client, seaweedfs

# Dagster calls its own deprecated property when a resource is nested in another.
pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
PUBLIC = "open-data"


@pytest.fixture
def buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Bucket]]:
    """A public bucket and another one, each with a table, and nobody's credentials around."""
    with (
        seaweedfs(tmp_path / "weed", public=[PUBLIC]) as server,
        Proxy(server) as proxy,
    ):
        client = admin_client(server)
        found = {name: Bucket(name, client, proxy) for name in (PUBLIC, "closed")}
        for bucket in found.values():
            client.create_bucket(Bucket=bucket.name)
            bucket.put("a/1.parquet", 3)
            bucket.put("a/2.parquet", 300_000)
        for name in KEYS:
            monkeypatch.delenv(name)
        yield found


@pytest.mark.thorough
def test_a_public_bucket_needs_no_credentials(
    buckets: dict[str, Bucket], instance: dg.DagsterInstance, database: Path
) -> None:
    """Small objects, large ones and listings are asked for without a signature."""
    lake = Lake(buckets[PUBLIC], instance, database)
    assert lake.run(s3=S3Resource(use_unsigned_session=True)).success
    assert lake.rows("a") == 300_003
    proxy = buckets[PUBLIC].proxy
    assert proxy.object_reads
    assert {request.authorization for request in proxy.requests} == {None}


@pytest.mark.thorough
def test_what_is_not_public_is_denied(buckets: dict[str, Bucket]) -> None:
    """Without a signature S3 says so; without credentials that are wanted, we do."""
    source = S3ParquetResource(**buckets["closed"].spec, s3=S3Resource(use_unsigned_session=True))
    with pytest.raises(AccessDeniedError):
        _list(source)
    with pytest.raises(CredentialsError):
        _list(S3ParquetResource(**buckets[PUBLIC].spec))


def test_keys_and_session_token_are_those_of_the_resource(lake: Lake) -> None:
    """Each request is signed with them, whatever the environment has."""
    lake.bucket.put("a/1.parquet", 3)
    lake.bucket.put("a/2.parquet", 300_000)
    inner = S3Resource(
        aws_access_key_id="THEIRS", aws_secret_access_key="secret", aws_session_token="token"
    )
    assert lake.run(s3=inner).success
    requests = lake.bucket.proxy.requests
    assert all("Credential=THEIRS/" in str(request.authorization) for request in requests)
    assert {request.token for request in requests} == {"token"}


@pytest.mark.parametrize("value", [5, "s3", S3ParquetResource(bucket="b", region="r")])
def test_another_value_is_refused_by_name(value: Any) -> None:
    """When the resource is made: the message has the type that was given."""
    with pytest.raises(ConfigurationError, match=f"got .*{type(value).__name__}: give S3Resource"):
        S3ParquetResource(bucket="b", region="r", s3=value)


def test_what_is_bound_to_a_key_is_looked_at_when_it_is_used(bucket: Bucket) -> None:
    """It may be anything until then."""
    bound = dg.ResourceDefinition.hardcoded_resource(5)
    with pytest.raises(ConfigurationError, match=r"got builtins\.int: give S3Resource"):
        _list(S3ParquetResource(**bucket.spec, s3=bound))


def _list(source: S3ParquetResource) -> None:
    with source.process_config_and_initialize_cm() as opened:
        opened.list_tables(dg.get_dagster_logger())
