"""A run says at its start when its bounds are beyond the memory there is."""

import pytest

from s3pq_dagster.memory import RESERVED_BYTES, memory_limit
from s3pq_dagster.spec import MIB
from s3pq_dagster_tests.command_line import headless_sync
from s3pq_dagster_tests.lake import Lake, messages


def test_bounds_beyond_the_memory_are_warned_of(lake: Lake) -> None:
    """The line has both numbers, and says what to lower; the run goes on."""
    lake.bucket.put("a/1.parquet", 3)
    most = memory_limit()
    result = lake.run(max_decoded_bytes=most, max_bytes_in_flight=MIB)
    assert result.success
    (said,) = [m for m in messages(lake.instance, result.run_id) if m.startswith("memory_short")]
    assert f"may_take={most + MIB + RESERVED_BYTES} there_is={most}" in said
    assert "lower max_decoded_bytes and max_bytes_in_flight" in said


def test_the_default_bounds_are_not_warned_of(lake: Lake) -> None:
    """They follow the memory there is."""
    lake.bucket.put("a/1.parquet", 3)
    result = lake.run()
    assert result.success
    assert not [m for m in messages(lake.instance, result.run_id) if "memory_short" in m]


@pytest.mark.thorough
def test_a_headless_sync_shows_the_warning(lake: Lake) -> None:
    """On stderr, where a cron job's mail would have it, once."""
    lake.bucket.put("a/1.parquet", 3)
    found = headless_sync(
        lake.bucket, lake.database.parent, S3PQ_MAX_DECODED_BYTES=str(memory_limit())
    )
    assert found.returncode == 0
    assert "WARNING" in found.stderr
    assert found.stderr.count("memory_short may_take=") == 1
