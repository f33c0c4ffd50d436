"""Byte ranges of a destination's object: what comes is held against what was asked for."""

import pytest

from s3pq_dagster.destinations.storage.ranges import RangedObject
from s3pq_dagster.destinations.storage.requests import Requests
from s3pq_dagster.errors import DestinationError
from s3pq_dagster_tests.unit.broken import http, saying

BODY = bytes(range(256)) * 400
SIZE, TAIL = len(BODY), 64 * 1024


def partial(body: bytes, content_range: str) -> bytes:
    """Answer with a range."""
    return http(body, status="206 Partial Content", ETag='"e"', Content_Range=content_range)


OPENED = partial(BODY[-TAIL:], f"bytes {SIZE - TAIL}-{SIZE - 1}/{SIZE}")
RANGE = f"bytes 2-4/{SIZE}"
WRONG = {
    "the whole object": http(BODY, ETag='"e"'),
    "another range": partial(BODY[3:6], f"bytes 3-5/{SIZE}"),
    "another size": partial(BODY[2:5], "bytes 2-4/9"),
    "too little": partial(BODY[2:4], RANGE),
}


def read(answer: bytes) -> bytes:
    """Open an object, and read its bytes 2 to 5 from an answer."""
    with saying([OPENED, answer]) as server:
        requests = Requests.open(
            "lake", endpoint_url=server.endpoint, region="us-east-1", profile=None
        )
        found = RangedObject(requests, "a")
        found.seek(2)
        data = found.read(3)
        requests.client.close()
    return data


def test_a_range_is_what_was_asked_for() -> None:
    """The right answer is taken."""
    assert read(partial(BODY[2:5], RANGE)) == BODY[2:5]


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_other_bytes_than_asked_for_are_an_error(answer: bytes) -> None:
    """A server that ignores Range, or answers another one, gives no wrong bytes."""
    with pytest.raises(DestinationError, match=r"asked .* for bytes 2 to 5 of s3://lake/a"):
        read(answer)
