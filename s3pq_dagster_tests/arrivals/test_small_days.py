"""Days that Hypothesis makes up: whatever arrives, every row is there exactly once.

``python -m bench.arrivals`` plays hundreds of them.
"""

import pytest
from hypothesis import HealthCheck, given, settings

from s3pq_dagster_tests.arrivals.small_days import Step, small_days
from s3pq_dagster_tests.arrivals.small_plays import played_by_loads, played_by_runs
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.examples import examples

WRITE_MODES = [
    *(pytest.param(mode, marks=pytest.mark.nightly) for mode in ("append", "replace")),
    "mirror",
]
SHARED = [HealthCheck.function_scoped_fixture]


@pytest.mark.thorough
@pytest.mark.parametrize("write_mode", WRITE_MODES)
@settings(max_examples=examples(5), suppress_health_check=SHARED)
@given(looks=small_days(4))
def test_whatever_arrives_is_loaded_exactly_once(
    bucket: Bucket, write_mode: str, looks: list[list[Step]]
) -> None:
    """Objects are late, tied, overwritten, deleted, malformed and repaired, also while read."""
    assert played_by_loads(bucket, write_mode, looks) == {}


@pytest.mark.parametrize("write_mode", WRITE_MODES)
@settings(max_examples=examples(2), suppress_health_check=SHARED)
@given(looks=small_days(2))
def test_sensor_and_runs_load_exactly_once_whatever_arrives(
    bucket: Bucket, write_mode: str, looks: list[list[Step]]
) -> None:
    """The same holds with the sensor and runs; in the end no run is requested."""
    assert played_by_runs(bucket, write_mode, looks) == {}
