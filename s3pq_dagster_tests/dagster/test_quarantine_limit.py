"""A run fails when more of its objects are malformed than the spec allows."""

import dagster as dg
import pytest

from s3pq_dagster_tests.lake import Lake


def test_a_run_fails_when_too_many_objects_are_malformed(lake: Lake) -> None:
    """The error has the numbers, the limit and an example; the open checkpoint is rolled back."""
    for number in range(4):
        lake.bucket.put(f"a/{number}.parquet", b"malformed" if number % 2 else 3)
    result = lake.run(max_quarantined_fraction=0.25)
    message = _failure(result)
    assert "2 of 4 listed objects of table 'a'" in message
    assert "max_quarantined_fraction 0.25" in message
    assert "'a/3.parquet'" in message
    assert "a" not in lake.tables()
    assert lake.ledger("a") == []


@pytest.mark.thorough
def test_a_run_passes_with_as_many_as_allowed(lake: Lake) -> None:
    """A run may quarantine as many objects as the limit, and the ledger has them."""
    for number in range(4):
        lake.bucket.put(f"a/{number}.parquet", b"malformed" if number == 0 else 3)
    assert lake.run(max_quarantined_fraction=0.25).success
    assert lake.rows("a") == 9
    assert lake.statuses("a")["a/0.parquet"] == "quarantined"


@pytest.mark.thorough
def test_objects_quarantined_before_count_against_the_threshold(lake: Lake) -> None:
    """A run fails until they are repaired, even if it would read nothing malformed itself."""
    lake.bucket.put("a/0.parquet", b"malformed")
    lake.bucket.put("a/1.parquet", 3)
    assert lake.run(max_quarantined_fraction=0.5).success
    assert "1 of 2 listed objects" in _failure(lake.run(max_quarantined_fraction=0.1))
    lake.bucket.put("a/0.parquet", 4)
    assert lake.run(max_quarantined_fraction=0.1).success
    assert lake.rows("a") == 7


@pytest.mark.thorough
def test_quarantined_objects_that_are_read_again_do_not_count_twice(lake: Lake) -> None:
    """With `retry_quarantined` an object counts once, if it is quarantined again."""
    lake.bucket.put("a/0.parquet", b"malformed")
    lake.bucket.put("a/1.parquet", 3)
    assert lake.run(max_quarantined_fraction=0.5).success
    again = lake.run(max_quarantined_fraction=0.5, config={"retry_quarantined": True})
    assert again.success


@pytest.mark.thorough
def test_a_refresh_over_the_threshold_leaves_the_old_table(lake: Lake) -> None:
    """Too many malformed objects roll the whole refresh back."""
    lake.bucket.put("a/0.parquet", 3)
    lake.run()
    lake.bucket.put("a/0.parquet", b"malformed")
    result = lake.run(max_quarantined_fraction=0.5, config={"full_refresh": True})
    assert "1 of 1 listed objects" in _failure(result)
    assert lake.rows("a") == 3


def test_the_threshold_is_not_retried(lake: Lake) -> None:
    """A step is not retried for an error that a retry cannot mend."""
    lake.bucket.put("a/0.parquet", b"malformed")
    lake.options = {"retry_policy": dg.RetryPolicy(max_retries=2)}
    result = lake.run(max_quarantined_fraction=0)
    assert len(result.filter_events(lambda event: event.is_step_failure)) == 1
    assert not result.filter_events(lambda event: event.is_step_up_for_retry)


def test_a_table_of_which_no_object_can_be_read_fails(lake: Lake) -> None:
    """Whatever the limit is, and in each run, until one can be read; none is read twice."""
    lake.bucket.put("a/0.parquet", b"malformed")
    lake.bucket.put("a/1.parquet", b"")
    lake.bucket.put("b/0.parquet", 2)
    definitions = lake.definitions()
    for _ in range(2):
        said = _failure(lake.run(definitions=definitions))
        assert "none of the 2 listed objects of table 'a' can be loaded: 'a/0.parquet': " in said
        assert lake.rows("b") == 2
        assert lake.statuses("a") == dict.fromkeys(["a/0.parquet", "a/1.parquet"], "quarantined")
        reads = [request.key for request in lake.bucket.proxy.object_reads]
        assert reads.count("a/0.parquet") <= 2  # once more in case the transfer was at fault
    tick = lake.tick(definitions=definitions)
    assert not tick.run_requests
    assert str(tick.skip_message).startswith("failing until")
    lake.bucket.put("a/1.parquet", 3)
    assert lake.run(definitions=definitions).success
    assert lake.rows("a") == 3


def test_a_refresh_of_which_no_object_can_be_read_leaves_the_old_table(lake: Lake) -> None:
    """The rows of what was readable once stay."""
    lake.bucket.put("a/0.parquet", 3)
    lake.run()
    lake.bucket.put("a/0.parquet", b"malformed")
    result = lake.run(config={"full_refresh": True})
    assert "the only listed object of table 'a' cannot be loaded" in _failure(result)
    assert lake.rows("a") == 3


def _failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)
