"""Redirects to another host: no way of reading follows one, and each says where it pointed."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import boto3
import pytest

from s3pq_dagster.errors import StoreRefusedError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.unit.broken import http, saying
from s3pq_dagster_tests.unit.made import spec

BYTES = b"0123456789" * 20
MD5 = hashlib.md5(BYTES).hexdigest()
DIRECT = ObjectMeta("a", len(BYTES), MD5, datetime(2024, 1, 1, tzinfo=UTC))
BY_BOTOCORE = ObjectMeta("a b", len(BYTES), "opaque", datetime(2024, 1, 1, tzinfo=UTC))
WAYS: dict[str, Callable[[Store], object]] = {
    "directly": lambda store: store.read(DIRECT),
    "by botocore": lambda store: store.read(BY_BOTOCORE),
    "a range": lambda store: store.read(DIRECT, 1, 5),
    "a look": lambda store: store.stat("a"),
    "a listing": lambda store: list_prefix(store, ""),
}


@pytest.mark.first_case
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_is_an_error_and_not_followed(way: str, status: int) -> None:
    """The other server would get the session token; it is never asked, and its host is named."""
    with saying([http(BYTES, ETag=f'"{MD5}"')]) as other:
        location = f"{other.endpoint}/lake/a?X-Amz-Signature=canary"
        with saying([http(b"", status=f"{status} Elsewhere", Location=location)]) as server:
            session = boto3.Session("key", "secret", "canary-token")
            store = Store.open(spec(endpoint_url=server.endpoint), session)
            with pytest.raises(StoreRefusedError) as caught:
                WAYS[way](store)
            store.close()
    assert other.requests == []
    assert {b"canary-token" in request for request in server.requests} == {True}
    text = str(caught.value)
    assert f"points to {other.endpoint.removeprefix('http://')}. Redirects are not followed" in text
    assert "canary" not in text
    assert not caught.value.retryable
