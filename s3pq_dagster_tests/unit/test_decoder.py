"""What is wrong with an object, told from what is wrong with this machine."""

import resource

import pytest

from s3pq_dagster.decoder import open_object
from s3pq_dagster.errors import MalformedObjectError
from s3pq_dagster.fetcher import Fetched
from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.unit.made import meta, spec


def test_running_out_of_descriptors_is_not_a_malformed_object() -> None:
    """It would be quarantined, and its rows be missing though nothing is wrong with it."""
    body = parquet(numbers(3))
    fetched = Fetched(meta("k", size=len(body)))
    with open("/dev/null", "rb") as spool:  # noqa: PTH123 - any open file
        fetched.spool = spool
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spool.fileno(), hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                open_object(fetched, spec(), whole=True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_broken_page_is_a_malformed_object() -> None:
    """Whatever error the decoder has for it."""
    body = bytearray(parquet(numbers(1000)))
    body[100:400] = b"\xff" * 300
    with pytest.raises(MalformedObjectError):
        open_object(Fetched(meta("k", size=len(body)), data=bytes(body)), spec(), whole=True)
