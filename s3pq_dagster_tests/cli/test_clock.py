"""`s3pq doctor` and clocks: the server's is in the `Date` of its answers."""

import re
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from s3pq_dagster_tests.cli.conftest import CommandLine, Said
from s3pq_dagster_tests.proxy import Answer, Proxy, Request

HOUR = 3600
TOO_SKEWED = (
    b'<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code><Message>The difference between '
    b"the request time and the current time is too large.</Message></Error>"
)


class OtherClock(Proxy):
    """A server whose answers have a ``Date`` that a test chooses."""

    date: str | None = None

    def answer(
        self, request: Request, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        status, found, content = super().answer(request, path, headers, body)
        kept = [(name, value) for name, value in found if name.lower() != "date"]
        dated = [] if self.date is None else [("Date", self.date)]
        return status, [*kept, *dated], content


@pytest.fixture
def server(moto: str) -> Iterator[OtherClock]:
    """Put another clock before the server."""
    with OtherClock(moto) as proxy:
        yield proxy


def clock(s3pq: CommandLine, server: OtherClock) -> tuple[bool, str]:
    """Return whether the clock is ok, and what is found."""
    checks = doctor(s3pq, server).json["checks"]
    ((is_ok, found),) = [(each["ok"], each["found"]) for each in checks if each["check"] == "clock"]
    return is_ok, found


def doctor(s3pq: CommandLine, server: OtherClock) -> Said:
    """Run `doctor` against the server."""
    return s3pq("doctor", "--json", S3PQ_ENDPOINT_URL=server.endpoint)


@pytest.mark.parametrize(("seconds", "side"), [(-2 * HOUR, "ahead of"), (2 * HOUR, "behind")])
def test_a_clock_that_is_far_off_is_told(
    s3pq: CommandLine, server: OtherClock, seconds: int, side: str
) -> None:
    """By how much and to which side; the bucket itself can be used."""
    s3pq.bucket.put("orders/a.parquet", 1)
    server.date = formatdate(time.time() + seconds, usegmt=True)
    said = doctor(s3pq, server)
    assert said.code == 1
    found = {each["check"]: each["found"] for each in said.json["checks"] if not each["ok"]}
    assert found.keys() - {"DAGSTER_HOME"} == {"clock"}
    assert re.fullmatch(
        rf"7[12]\d\d s {side} the bucket's: set this machine's clock \(NTP\)", found["clock"]
    )


@pytest.mark.first_case
@pytest.mark.parametrize("date", [None, "yesterday", "31 Dec 2030"])
def test_a_server_that_tells_no_time_is_no_failure(
    s3pq: CommandLine, server: OtherClock, date: str | None
) -> None:
    """Neither no `Date` nor one that cannot be read says anything of this machine."""
    server.date = date
    assert clock(s3pq, server) == (True, "not told: the server says no time")


def test_a_date_without_a_zone_is_of_utc(s3pq: CommandLine, server: OtherClock) -> None:
    """As HTTP says that it is, whatever the server writes."""
    server.date = formatdate(time.time()).replace("+0000", "-0000")
    assert clock(s3pq, server) == (True, "within a minute of the bucket's")


def test_s3_refuses_for_the_clock_and_it_is_told_how_far_it_is_off(
    s3pq: CommandLine, server: OtherClock
) -> None:
    """Beyond 15 minutes no listing is answered, and the refusal has the time all the same."""

    def refuse(request: Request) -> Answer | None:
        return Answer(403, TOO_SKEWED) if request.is_listing else None

    server.before = refuse
    server.date = formatdate(time.time() - 2 * HOUR, usegmt=True)
    is_ok, found = clock(s3pq, server)
    assert not is_ok
    assert " s ahead of the bucket's: set this machine's clock" in found
    failed = s3pq("plan", S3PQ_ENDPOINT_URL=server.endpoint)
    assert (failed.code, failed.err.count("\n")) == (1, 1)
    assert "Set this machine's clock (NTP), then run again." in failed.err
