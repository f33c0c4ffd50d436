"""Each check shows its numbers, and fails when somebody breaks what it checks."""

from typing import Any

import dagster as dg
import pytest

from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.lake import CHECKS, Lake, checked, materialized, observed, values
from s3pq_dagster_tests.proxy import Answer, Request


def passed(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Return which checks passed."""
    return {name: found.passed for name, found in checked(result).items()}


def sample(found: dg.AssetCheckEvaluation) -> list[dict[str, Any]]:
    """Return the rows that a check shows."""
    value = found.metadata["s3pq/sample"]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


@pytest.fixture
def loaded(lake: Lake) -> Lake:
    """A lake whose table `a` has loaded two objects of 3 and 4 rows."""
    lake.bucket.put("a/1.parquet", 3)
    lake.bucket.put("a/2.parquet", 4)
    assert lake.run().success
    return lake


def test_a_load_evaluates_every_check(lake: Lake) -> None:
    """All checks pass, and show their numbers."""
    lake.bucket.put("a/1.parquet", 3)
    lake.bucket.put("a/2.parquet", 4)
    result = lake.run()
    assert passed(result) == dict.fromkeys(CHECKS, True)
    assert {check.description for check in checked(result).values()} == {None}
    found = {name: values(check) for name, check in checked(result).items()}
    assert found["complete"] == {
        "s3pq/objects_listed": 2,
        "s3pq/objects_loaded": 2,
        "s3pq/objects_quarantined": 0,
        "s3pq/objects_pending": 0,
        "s3pq/objects_to_remove": 0,
        "s3pq/objects_elsewhere": 0,
    }
    assert found["rows_reconciled"] == {
        "s3pq/table_rows": 7,
        "s3pq/ledger_rows": 7,
        "s3pq/objects_unreconciled": 0,
    }
    assert found["no_quarantine"] == {"s3pq/objects_listed": 2, "s3pq/objects_quarantined": 0}


def test_a_run_with_nothing_new_evaluates_every_check(loaded: Lake) -> None:
    """A run evaluates the checks even if it loads nothing."""
    result = loaded.run()
    assert observed(result)
    assert passed(result) == dict.fromkeys(CHECKS, True)


@pytest.mark.thorough
def test_checks_run_alone_and_load_nothing(loaded: Lake) -> None:
    """A run of checks lists once, requests no object, and records no event of the asset."""
    definitions = loaded.definitions()
    loaded.bucket.put("a/3.parquet", 1)
    loaded.bucket.proxy.forget()
    result = loaded.check("a", "no_quarantine", definitions=definitions)
    assert passed(result) == {"no_quarantine": True}
    assert not materialized(result)
    assert not observed(result)
    assert len(loaded.bucket.proxy.listings) == 1
    assert loaded.bucket.proxy.object_reads == []


@pytest.mark.thorough
def test_an_added_object_fails_complete(loaded: Lake) -> None:
    """The check names the object, and the next load mends it."""
    loaded.bucket.put("a/3.parquet", 1)
    result = loaded.check("a")
    assert passed(result) == {"complete": False, "rows_reconciled": True, "no_quarantine": True}
    complete = checked(result)["complete"]
    assert complete.severity is dg.AssetCheckSeverity.WARN
    assert "materialize the asset" in str(complete.description)
    assert values(complete)["s3pq/objects_pending"] == 1
    assert sample(complete) == [{"key": "a/3.parquet", "what": "not in the ledger"}]
    assert passed(loaded.run())["complete"]


def test_a_row_deleted_by_hand_fails_rows_reconciled(loaded: Lake) -> None:
    """The check shows the object, its rows in the ledger and its rows in the table."""
    loaded.execute("DELETE FROM a WHERE _s3_key = 'a/2.parquet' AND id = 0")
    result = loaded.run()
    assert passed(result) == {"complete": True, "rows_reconciled": False, "no_quarantine": True}
    reconciled = checked(result)["rows_reconciled"]
    assert reconciled.severity is dg.AssetCheckSeverity.ERROR
    assert values(reconciled)["s3pq/table_rows"] == 6
    assert sample(reconciled) == [{"key": "a/2.parquet", "ledger_rows": 4, "table_rows": 3}]


@pytest.mark.thorough
def test_rows_of_no_object_fail_rows_reconciled(loaded: Lake) -> None:
    """Inserted rows count, with a key that the ledger does not have or without a key."""
    loaded.execute("INSERT INTO a (id, _s3_key) VALUES (1, 'a/9.parquet'), (2, NULL)")
    reconciled = checked(loaded.check("a"))["rows_reconciled"]
    assert sample(reconciled) == [
        {"key": None, "ledger_rows": 0, "table_rows": 1},
        {"key": "a/9.parquet", "ledger_rows": 0, "table_rows": 1},
    ]


@pytest.mark.thorough
def test_a_dropped_ledger_entry_fails_complete_and_rows_reconciled(loaded: Lake) -> None:
    """The object is not accounted for, and its rows belong to no object."""
    loaded.execute("DELETE FROM _s3pq_objects WHERE key = 'a/1.parquet'")
    result = loaded.check("a")
    assert passed(result) == {"complete": False, "rows_reconciled": False, "no_quarantine": True}
    assert sample(checked(result)["rows_reconciled"]) == [
        {"key": "a/1.parquet", "ledger_rows": 0, "table_rows": 3}
    ]


@pytest.mark.thorough
def test_a_quarantined_object_fails_no_quarantine_until_it_is_replaced(loaded: Lake) -> None:
    """The run succeeds; the check warns with key and reason until the object is readable."""
    loaded.bucket.put("a/3.parquet", b"malformed")
    result = loaded.run()
    assert result.success
    assert passed(result) == {"complete": True, "rows_reconciled": True, "no_quarantine": False}
    aside = checked(result)["no_quarantine"]
    assert aside.severity is dg.AssetCheckSeverity.WARN
    (row,) = sample(aside)
    assert row["key"] == "a/3.parquet"
    assert row["reason"] == loaded.ledger("a")[-1]["reason"]
    assert not passed(loaded.run())["no_quarantine"]
    loaded.bucket.put("a/3.parquet", 5)
    assert passed(loaded.run())["no_quarantine"]
    assert loaded.rows("a") == 12


@pytest.mark.thorough
def test_a_deleted_object_takes_its_quarantine_with_it(loaded: Lake) -> None:
    """The check ignores quarantined objects that are no longer listed."""
    loaded.bucket.put("a/3.parquet", b"malformed")
    assert not passed(loaded.run())["no_quarantine"]
    loaded.bucket.delete("a/3.parquet")
    assert passed(loaded.run())["no_quarantine"]


@pytest.mark.first_case
@pytest.mark.parametrize(("write_mode", "complete"), [("replace", True), ("mirror", False)])
def test_rows_of_a_deleted_object_fail_complete_in_a_mirror_only(
    lake: Lake, write_mode: str, *, complete: bool
) -> None:
    """Only a mirror has to remove the rows of deleted objects."""
    lake.bucket.put("a/1.parquet", 3)
    lake.bucket.put("a/2.parquet", 3)
    definitions = lake.definitions(write_mode=write_mode)
    lake.run(definitions=definitions)
    lake.bucket.delete("a/1.parquet")
    found = checked(lake.check("a", "complete", definitions=definitions))["complete"]
    assert found.passed == complete
    if not complete:
        assert sample(found) == [{"key": "a/1.parquet", "what": "loaded, no longer listed"}]


@pytest.mark.thorough
def test_versions_kept_by_append_reconcile(lake: Lake) -> None:
    """The check counts the rows of all loaded versions of a key."""
    lake.bucket.put("a/1.parquet", 3)
    lake.run(write_mode="append")
    lake.bucket.put("a/1.parquet", numbers(5, start=10))
    result = lake.run(write_mode="append")
    assert passed(result) == dict.fromkeys(CHECKS, True)
    assert values(checked(result)["rows_reconciled"])["s3pq/table_rows"] == 8


def test_an_object_that_changes_while_it_is_loaded_does_not_fail_complete(lake: Lake) -> None:
    """The check ignores objects that were overwritten or deleted during the load."""
    for number in range(3):
        lake.bucket.put(f"a/{number}.parquet", 3)
    definitions = lake.definitions()

    def change(request: Request) -> None:
        if request.key == "a/0.parquet" and request.is_object:
            lake.bucket.proxy.before = lambda _request: None
            lake.bucket.put("a/1.parquet", parquet(numbers(7)))
            lake.bucket.delete("a/2.parquet")

    lake.bucket.proxy.before = change
    result = lake.run(definitions=definitions, concurrency=1)
    assert result.success
    assert passed(result) == dict.fromkeys(CHECKS, True)


def test_a_load_of_some_objects_fails_complete(lake: Lake) -> None:
    """`max_objects` leaves the rest pending, and the check shows them."""
    for number in range(3):
        lake.bucket.put(f"a/{number}.parquet", 3)
    result = lake.run(config={"max_objects": 2})
    assert values(checked(result)["complete"])["s3pq/objects_pending"] == 1
    assert not passed(result)["complete"]


@pytest.mark.thorough
def test_footers_are_read_again_on_request(loaded: Lake) -> None:
    """Each loaded object costs one ranged request; ledger, table and footers agree."""
    loaded.bucket.put("a/3.parquet", b"malformed")
    definitions = loaded.definitions()
    loaded.run(definitions=definitions)
    loaded.bucket.proxy.forget()
    result = loaded.check("a", definitions=definitions, config={"verify_footers": True})
    reads = loaded.bucket.proxy.object_reads
    assert sorted(read.key for read in reads) == ["a/1.parquet", "a/2.parquet"]
    assert all(read.range for read in reads)
    reconciled = checked(result)["rows_reconciled"]
    assert reconciled.passed
    assert values(reconciled)["s3pq/footers_read"] == 2


@pytest.mark.thorough
def test_a_footer_with_other_rows_than_the_ledger_fails_rows_reconciled(loaded: Lake) -> None:
    """A footer reveals a change by hand of both the rows and their ledger entry."""
    loaded.execute("DELETE FROM a WHERE _s3_key = 'a/2.parquet' AND id = 0")
    loaded.execute("UPDATE _s3pq_objects SET rows = 3 WHERE key = 'a/2.parquet'")
    assert passed(loaded.check("a"))["rows_reconciled"]
    result = loaded.check("a", config={"verify_footers": True})
    assert sample(checked(result)["rows_reconciled"]) == [
        {"key": "a/2.parquet", "ledger_rows": 4 - 1, "footer_rows": 4}
    ]


@pytest.mark.thorough
def test_a_footer_that_cannot_be_read_fails_rows_reconciled(loaded: Lake) -> None:
    """The check names the object; the op does not fail over it."""
    definitions = loaded.definitions()

    def before(request: Request) -> Answer | None:
        archived = b"<Error><Code>InvalidObjectState</Code></Error>"
        return Answer(403, archived) if request.key == "a/2.parquet" else None

    loaded.bucket.proxy.before = before
    result = loaded.check("a", definitions=definitions, config={"verify_footers": True})
    (found,) = sample(checked(result)["rows_reconciled"])
    assert found["key"] == "a/2.parquet"
    assert not passed(result)["rows_reconciled"]


def test_checks_cost_no_request_after_a_load(lake: Lake) -> None:
    """The checks use the listing of the run."""
    for table in ("a", "b"):
        lake.bucket.put(f"{table}/1.parquet", 3)
    definitions = lake.definitions()
    lake.bucket.proxy.forget()
    assert lake.run(definitions=definitions).success
    assert len(lake.bucket.proxy.listings) == 1
    assert len(lake.bucket.proxy.object_reads) == 2


@pytest.mark.thorough
def test_one_op_for_all_evaluates_the_checks_of_each_table(lake: Lake) -> None:
    """Each table is checked with `granularity="all"` too."""
    for table in ("a", "b"):
        lake.bucket.put(f"{table}/1.parquet", 3)
    lake.options = {"granularity": "all"}
    found = [(e.asset_key.path[-1], e.check_name) for e in _evaluations(lake.run())]
    assert sorted(found) == sorted((table, name) for table in ("a", "b") for name in CHECKS)


@pytest.mark.thorough
def test_checks_can_be_left_off(lake: Lake) -> None:
    """With `checks=False` an asset has no checks."""
    lake.bucket.put("a/1.parquet", 3)
    lake.options = {"checks": False}
    result = lake.run()
    assert result.success
    assert not _evaluations(result)


def test_a_failed_load_evaluates_no_check(lake: Lake) -> None:
    """A step that failed to load evaluates no check, which might hide the failure."""
    lake.bucket.put("a/1.parquet", 3)
    definitions = lake.definitions()
    lake.bucket.proxy.before = lambda request: Answer(403) if request.is_object else None
    result = lake.run(definitions=definitions)
    assert not result.success
    assert not _evaluations(result)


def _evaluations(result: dg.ExecuteInProcessResult) -> list[dg.AssetCheckEvaluation]:
    return list(result.get_asset_check_evaluations())


# The threshold
