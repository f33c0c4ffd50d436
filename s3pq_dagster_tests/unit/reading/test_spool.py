"""A large object's bytes in a temporary file."""

import os
import resource
import tempfile
from contextlib import closing
from itertools import count

import pytest

from s3pq_dagster.errors import DiskError
from s3pq_dagster.reading.spool import Spool
from s3pq_dagster_tests.unit.made import meta

BODY = os.urandom(2_500_000)


def filled() -> Spool:
    """Make a temporary file that holds the body."""
    spool = Spool(meta("k", size=len(BODY)))
    spool.write(BODY, 0)
    return spool


def test_ranges_come_back_in_order_whatever_came_first() -> None:
    """Threads write them in the order in which answers come."""
    with closing(Spool(meta("k", size=len(BODY)))) as spool:
        for start in (2_000_000, 0, 1_000_000):
            spool.write(BODY[start : start + 1_000_000], start)
        assert b"".join(spool.pieces(lambda: True)) == BODY


def test_a_range_that_comes_after_close_is_dropped() -> None:
    """Another file may have the same descriptor by then."""
    spool = filled()
    descriptor = spool.fileno()
    spool.close()
    with tempfile.TemporaryFile() as other:
        assert other.fileno() == descriptor
        spool.write(b"late", 0)
        assert os.fstat(descriptor).st_size == 0
        assert list(spool.pieces(lambda: True)) == []


def test_a_reader_gets_the_rest_though_the_file_is_closed_meanwhile() -> None:
    """A file that has the same descriptor by then is not read."""
    spool = filled()
    pieces = spool.pieces(lambda: True)
    first = next(pieces)
    spool.close()
    with tempfile.TemporaryFile() as other:
        other.write(b"other" * 1_000_000)
        other.flush()
        assert first + b"".join(pieces) == BODY


def test_reading_ends_when_nobody_wants_more() -> None:
    """A run that is cancelled does not wait for a gigabyte to be read back."""
    wanted = count()
    with closing(filled()) as spool:
        (first,) = spool.pieces(lambda: next(wanted) == 0)
    assert BODY.startswith(first)


def test_a_directory_that_does_not_exist_is_an_error_of_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names object, size and directory, and what to do; it does not blame the bucket."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(DiskError, match=r"'k' \(5 bytes\).*under /nowhere.*set TMPDIR") as caught:
        Spool(meta("k", size=5))
    assert caught.value.retryable
    assert "bucket" not in str(caught.value)


def test_a_full_disk_is_an_error_of_the_disk() -> None:
    """A write that the disk does not take is an error of the disk, with what to do about it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(Spool(meta("k", size=len(BODY)))) as spool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            with pytest.raises(DiskError, match=r"'k' \(2500000 bytes\).*Make room") as caught:
                spool.write(BODY, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.retryable
    assert "bucket" not in str(caught.value)
