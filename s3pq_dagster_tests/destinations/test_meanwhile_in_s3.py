"""Another run creates a table in S3 in between any two requests of a reader or a writer."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import DestinationConflictError
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.tables import OWNER, ids_by_key, load
from s3pq_dagster_tests.proxy import Request
from s3pq_dagster_tests.servers import REGION
from s3pq_dagster_tests.unit.made import meta

pytestmark = pytest.mark.thorough

A, B = meta("orders/a"), meta("orders/b")


def at(kind: type[Any], bucket: Bucket, root: str, endpoint: str) -> Destination:
    """Return a destination below a prefix of a bucket."""
    found: Destination = kind(f"s3://{bucket.name}/{root}", endpoint_url=endpoint, region=REGION)
    return found


def at_each_request(
    bucket: Bucket,
    kind: type[Any],
    moto: str,
    work: Callable[[Destination], object],
    *,
    only: Callable[[Request], bool] = lambda _request: True,
) -> Iterator[Destination]:
    """Do some work in new roots; before its first, second, … request another run loads object B.

    Requests that only repeat earlier ones count as none.

    Yields:
        Each root afterwards, up to the number of requests that the work takes.
    """
    for position in count():
        root = f"lake-{position}"
        asked: set[object] = set()

        def before(
            request: Request, asked: set[object] = asked, position: int = position, root: str = root
        ) -> None:
            known = len(asked)
            if only(request):
                asked.add(_kind_of(request))
            if known == position < len(asked):
                load(at(kind, bucket, root, moto), (B, 2))

        bucket.proxy.before = before
        work(at(kind, bucket, root, bucket.proxy.endpoint))
        if len(asked) <= position:
            return
        yield at(kind, bucket, root, moto)


def _kind_of(request: Request) -> object:
    """Return what makes a request differ from others, but for what is random in its key."""
    asked = {name: request.query.get(name) for name in ("prefix", "delimiter")}
    return request.method, re.sub(r"[0-9a-f-]{15,}", "…", f"{request.key} {asked}")


@pytest.mark.parametrize("kind", [DeltaDestination, ParquetDestination])
def test_a_reader_sees_the_table_or_none(bucket: Bucket, moto: str, kind: type[Any]) -> None:
    """Whatever a reader has seen before, it does not report a table whose parts do not fit."""
    seen: list[int] = []
    for _ in at_each_request(bucket, kind, moto, lambda d: seen.append(d.state(OWNER).rows)):
        pass
    assert set(seen) == {0, 2}
    assert len(seen) > 2


def _lists_the_directory(request: Request) -> bool:
    return (
        request.is_listing
        and "/_" not in request.query["prefix"][0]
        and "delimiter" not in request.query
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "only",
    [
        pytest.param(_lists_the_directory, id="when it looks for foreign files"),
        pytest.param(lambda _request: True, id="at any time", marks=pytest.mark.nightly),
    ],
)
def test_a_writer_commits_or_has_come_second(
    bucket: Bucket, moto: str, only: Callable[[Request], bool]
) -> None:
    """Delta Lake has no lock in S3: a late first load fails, and succeeds if it is repeated."""

    def work(destination: Destination) -> None:
        with suppress(DestinationConflictError):
            load(destination, (A, 3))

    outcomes = []
    roots = at_each_request(bucket, DeltaDestination, moto, work, only=only)
    for destination in roots:
        first = ids_by_key(destination)
        assert first[B.key] == [0, 1]
        outcomes.append(A.key in first)
        if A.key not in first:
            load(destination, (A, 3))
        assert ids_by_key(destination) == {A.key: [0, 1, 2], B.key: [0, 1]}
    assert False in outcomes
