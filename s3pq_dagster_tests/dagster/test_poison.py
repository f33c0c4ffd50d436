"""Runs of a table in which some objects have values that the destination cannot hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from s3pq_dagster import S3ParquetResource, build_io_manager, build_s3_parquet_definitions
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.ledger import Status
from s3pq_dagster_tests.buckets import Bucket, parquet
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.lake import checked, materialized, messages, values
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.poison import KINDS, refused_by, rows
from s3pq_dagster_tests.spoilt import WAYS

OBJECTS = 200
IN_ONE_PLACE_OR_ALL = pytest.mark.parametrize(
    "kind",
    first_of(sorted(PLACES, reverse=True), others=pytest.mark.nightly),
    indirect=True,
)
"""One destination, and at night all of them."""


@pytest.fixture(params=PLACES)
def kind(request: pytest.FixtureRequest) -> str:
    """Name a destination."""
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path) -> Iterator[Place]:
    """Make an empty place of that destination."""
    found = PLACES[kind](tmp_path)
    yield found
    found.discard()


def run(
    bucket: Bucket, place: Place, instance: dg.DagsterInstance, **config: Any
) -> dg.ExecuteInProcessResult:
    """Materialize the table ``t``."""
    definitions = build_s3_parquet_definitions(
        S3ParquetResource(**bucket.spec),
        destination=build_io_manager(place.url),
        retry_policy=None,
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    ops = {"load_t": {"config": config}} if config else {}
    return job.execute_in_process(instance=instance, run_config={"ops": ops}, raise_on_error=False)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind", first_of(PLACES, keep=2, others=pytest.mark.nightly), indirect=True
)
def test_check_and_log_name_each_object_that_was_set_aside(
    bucket: Bucket, kind: str, place: Place, instance: dg.DagsterInstance
) -> None:
    """The run succeeds; check, log and materialization name each object that was set aside."""
    bucket.put("t/good.parquet", rows([1, 2]))
    for name, poison in KINDS.items():
        bucket.put(f"t/{name}.parquet", rows([3], poison))
    refused = {f"t/{name}.parquet": poison.column for name, poison in refused_by(kind).items()}
    for config in ({}, {"full_refresh": True}):
        result = run(bucket, place, instance, **config)
        assert result.success
        check = checked(result)["no_quarantine"]
        assert check.passed == (not refused)
        assert checked(result)["complete"].passed
        assert checked(result)["rows_reconciled"].passed
        told = {record.data["key"]: str(record.data["reason"]) for record in _sample(check)}
        assert told.keys() == refused.keys()
        assert all(f"column {column!r}" in told[key] for key, column in refused.items())
        logged = [
            text for text in messages(instance, result.run_id) if "object_quarantined" in text
        ]
        assert len(logged) == len(refused)
        numbers = values(materialized(result)["t"])
        assert numbers["s3pq/objects_quarantined"] == len(refused)
        assert numbers["dagster/row_count"] == 2 + len(KINDS) - len(refused)


@pytest.mark.thorough
@IN_ONE_PLACE_OR_ALL
def test_a_day_with_twenty_kinds_of_poison_loads_all_others(
    bucket: Bucket, kind: str, place: Place, instance: dg.DagsterInstance
) -> None:
    """Of 200 objects, 20 have a poison of a kind of its own: those that are held load as well."""
    assert len(KINDS) == OBJECTS // 10
    poisons = dict(zip(range(0, OBJECTS, 10), KINDS.items(), strict=True))
    for number in range(OBJECTS):
        poison = poisons[number][1] if number in poisons else None
        bucket.put(f"t/{number:03}.parquet", rows([2 * number, 2 * number + 1], poison))
    refused = {
        f"t/{number:03}.parquet"
        for number, (name, _) in poisons.items()
        if name in refused_by(kind)
    }
    result = run(bucket, place, instance)
    assert result.success
    state = place.open().state(Owner("t", bucket.name, "t/"))
    assert state.ledger.count(Status.LOADED) == OBJECTS - len(refused)
    assert state.rows == 2 * (OBJECTS - len(refused))
    frame = state.ledger.frame
    assert set(frame.filter(frame["status"] == "quarantined")["key"]) == refused
    assert len(_sample(checked(result)["no_quarantine"])) == len(refused)


@pytest.mark.thorough
@IN_ONE_PLACE_OR_ALL
def test_a_day_with_twenty_spoilt_objects_loads_180(
    bucket: Bucket, kind: str, place: Place, instance: dg.DagsterInstance
) -> None:
    """Of 200 objects, 20 are spoilt, each in another way, and told with its reason."""
    assert len(WAYS) == OBJECTS // 10
    ways = dict(zip(range(0, OBJECTS, 10), WAYS.values(), strict=True))
    for number in range(OBJECTS):
        body = parquet(rows([2 * number, 2 * number + 1]))
        bucket.put(f"t/{number:03}.parquet", ways[number](body) if number in ways else body)
    result = run(bucket, place, instance)
    assert result.success
    state = place.open().state(Owner("t", bucket.name, "t/"))
    assert state.ledger.count(Status.LOADED) == OBJECTS - len(ways)
    assert state.rows == 2 * (OBJECTS - len(ways))
    told = {record.data["key"]: record.data["reason"] for record in _sample_of(result)}
    assert told.keys() == {f"t/{number:03}.parquet" for number in ways}
    assert all(told.values())


def _sample_of(result: dg.ExecuteInProcessResult) -> list[dg.TableRecord]:
    return _sample(checked(result)["no_quarantine"])


def _sample(check: dg.AssetCheckEvaluation) -> list[dg.TableRecord]:
    found = check.metadata.get("s3pq/sample")
    return [] if found is None else list(found.value.records)  # type: ignore[union-attr]
