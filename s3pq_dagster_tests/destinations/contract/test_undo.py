"""A run's load is taken back in one transaction: its rows go, and nothing loads them again."""

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import UndoRefusedError
from s3pq_dagster.loading.undo import find_undo, undo
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load, owner, reasons
from s3pq_dagster_tests.destinations.tables import ids_by_key

ONE, OTHER = {"id": [1, 2]}, {"id": [7]}


def take_back(bucket: Bucket, destination: Destination, run_id: str) -> int:
    """Take a run back as the command line does."""
    found = find_undo(destination.entries(owner(bucket)), "t", run_id)
    return undo(destination, owner(bucket), found)


@pytest.fixture
def lake(bucket: Bucket, destination: Destination) -> Bucket:
    """A bucket of which run ``good`` has loaded ``t/1`` and ``t/2``, and run ``bad`` the rest."""
    bucket.put("t/1", pa.table(ONE))
    bucket.put("t/2", pa.table(ONE))
    load(bucket, destination, run_id="good")
    bucket.put("t/2", pa.table(OTHER))
    bucket.put("t/3", pa.table(OTHER))
    load(bucket, destination, run_id="bad")
    return bucket


def test_the_rows_of_the_run_go_and_all_else_stays(lake: Bucket, destination: Destination) -> None:
    """Its objects are quarantined, the earlier version of one does not come back."""
    before = destination.state(owner(lake))
    assert take_back(lake, destination, "bad") == 2
    assert ids_by_key(destination, "t") == {"t/1": [1, 2]}
    assert reasons(lake, destination) == dict.fromkeys(["t/2", "t/3"], "undone: run bad")
    state = destination.state(owner(lake))
    assert (state.rows, state.ledger.rows, state.schema) == (2, 2, before.schema)
    audit = destination.audit(owner(lake))
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()
    found = destination.entries(owner(lake)).sort("key")
    assert found["run_id"].to_list() == ["good", "bad", "bad"]
    assert found["rows"].to_list() == [2, 0, 0]


def test_nothing_loads_them_until_they_change_or_a_run_is_asked(
    lake: Bucket, destination: Destination
) -> None:
    """Neither the next run, nor one in which every loaded row is replaced."""
    take_back(lake, destination, "bad")
    assert load(lake, destination).bytes == 0
    lake.put("t/1", pa.table({"other": ["columns"]}))
    with pytest.raises(Exception, match="other"):  # and the table keeps its columns
        load(lake, destination)
    lake.put("t/1", pa.table(OTHER))
    assert load(lake, destination).objects == 1
    lake.put("t/3", pa.table(ONE))
    assert load(lake, destination).objects == 1
    assert ids_by_key(destination, "t") == {"t/1": [7], "t/3": [1, 2]}
    assert load(lake, destination, options={"retry_quarantined": True}).objects == 1
    assert ids_by_key(destination, "t") == {"t/1": [7], "t/2": [7], "t/3": [1, 2]}


@pytest.mark.thorough
def test_taken_back_objects_do_not_count_as_faulty(lake: Bucket, destination: Destination) -> None:
    """A run with nothing to do succeeds, however few faulty objects the spec allows."""
    take_back(lake, destination, "bad")
    take_back(lake, destination, "good")
    assert ids_by_key(destination, "t") == {}
    assert load(lake, destination, max_quarantined_fraction=0).bytes == 0
    lake.put("t/4", pa.table(OTHER))
    assert load(lake, destination, max_quarantined_fraction=0).objects == 1


@pytest.mark.first_case
@pytest.mark.parametrize("given", ["ba", "b", "bad"])
def test_the_beginning_of_an_id_will_do(lake: Bucket, destination: Destination, given: str) -> None:
    """The UI shows no more of it."""
    assert find_undo(destination.entries(owner(lake)), "t", given).run_id == "bad"


def refusal(bucket: Bucket, destination: Destination, run_id: str) -> str:
    """Return why a run cannot be taken back; nothing changes by it."""
    before = ids_by_key(destination, "t")
    with pytest.raises(UndoRefusedError) as refused:
        take_back(bucket, destination, run_id)
    assert ids_by_key(destination, "t") == before
    return str(refused.value)


@pytest.mark.thorough
def test_an_unknown_run_is_refused_with_those_that_are_known(
    lake: Bucket, destination: Destination
) -> None:
    """So is the beginning of several ids, and a run that is taken back already."""
    assert "the latest are 'bad', 'good'" in refusal(lake, destination, "x")
    assert "0 runs" in refusal(lake, destination, "")
    take_back(lake, destination, "bad")
    assert "taken back already" in refusal(lake, destination, "bad")
    lake.put("t/1", pa.table(OTHER))
    load(lake, destination, run_id="third")
    assert "no run" not in refusal(lake, destination, "good")


def test_a_run_that_replaced_the_table_is_refused(lake: Bucket, destination: Destination) -> None:
    """And one that loaded some objects again: what they replaced would not come back."""
    load(lake, destination, run_id="reload", options={"reload": ("t/1",)})
    assert "by a full refresh or a reload" in refusal(lake, destination, "reload")
    load(lake, destination, run_id="fresh", options={"full_refresh": True})
    assert "by a full refresh or a reload" in refusal(lake, destination, "fresh")


@pytest.mark.thorough
def test_a_run_that_removed_rows_is_refused(lake: Bucket, destination: Destination) -> None:
    """In a mirror rows go with their objects."""
    lake.delete("t/1")
    lake.put("t/4", pa.table(ONE))
    load(lake, destination, run_id="mirror", write_mode="mirror")
    assert "removed the rows of 1 objects" in refusal(lake, destination, "mirror")


@pytest.mark.thorough
def test_rows_of_other_versions_that_are_kept_are_in_the_way(
    lake: Bucket, destination: Destination
) -> None:
    """Nothing tells which rows are of which version; a run with objects of its own goes."""
    lake.put("t/1", pa.table(OTHER))
    load(lake, destination, run_id="second", write_mode="append")
    assert "rows of other versions are kept" in refusal(lake, destination, "second")
    lake.put("t/9", pa.table(OTHER))
    load(lake, destination, run_id="third", write_mode="append")
    assert take_back(lake, destination, "third") == 1


def test_another_run_may_come_in_between(lake: Bucket, destination: Destination) -> None:
    """What was shown to a person is what is taken back, or nothing."""
    shown = find_undo(destination.entries(owner(lake)), "t", "bad")
    lake.put("t/2", pa.table(ONE))
    load(lake, destination, run_id="third")
    with pytest.raises(Exception, match="changed by another run meanwhile"):
        undo(destination, owner(lake), shown)
    assert ids_by_key(destination, "t") == {"t/1": [1, 2], "t/2": [1, 2], "t/3": [7]}
