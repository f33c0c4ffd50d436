"""What a failed load leaves in the event log, and what the sensor reads in it."""

from typing import Any

import dagster as dg
import pytest

from s3pq_dagster import (
    S3ParquetDeltaIOManager,
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    errors,
)
from s3pq_dagster.dagster.failures import failure_observation, read_failure, settings_digest
from s3pq_dagster.dagster.metadata import DATA_VERSION_TAG

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.S3ParquetError)
]
MANAGER = S3ParquetDuckDBIOManager(database="lake.duckdb")


def source(**fields: Any) -> S3ParquetResource:
    """Make a resource."""
    return S3ParquetResource(bucket="lake", region="eu-central-1", **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_no_failure_lasts_that_a_retry_may_mend(kind: type[errors.S3ParquetError]) -> None:
    """What is tried again at once is asked for again too."""
    assert not (kind.retryable and kind.lasting)


@pytest.mark.parametrize(
    ("error", "listing", "lasting"),
    [
        (errors.UnsupportedSchemaError("no"), "f", True),
        (errors.UnsupportedSchemaError("no"), None, False),
        (errors.DestinationError("no"), "f", False),
    ],
)
def test_it_is_read_as_it_was_written(
    error: errors.S3ParquetError, listing: str | None, *, lasting: bool
) -> None:
    """A failure lasts if its class says so and it is known of which listing."""
    key = dg.AssetKey(["lake", "a"])
    event = failure_observation(key, error, listing=listing, settings="s", place="p")
    assert DATA_VERSION_TAG not in (event.tags or {})
    found = read_failure(event)
    assert found is not None
    assert (found.error, found.lasting) == (type(error).__name__, lasting)
    assert found.lasts("f", "s") is lasting
    assert not found.lasts("g", "s")
    assert not found.lasts("f", None)
    assert read_failure(dg.AssetObservation(key)) is None


def test_what_is_asked_for_has_one_hash_on_every_machine() -> None:
    """Defaults that depend on the machine's memory are left out; what a user gives is not."""
    same = settings_digest(source(), MANAGER)
    bounds = source(max_decoded_bytes=S3ParquetResource.model_fields["max_decoded_bytes"].default)
    assert settings_digest(bounds, MANAGER) == same
    rules = [{"match": "e/{hive}/*.parquet"}]
    delta = S3ParquetDeltaIOManager(root="lake", partition_by=["day"])
    others = [
        settings_digest(source(schema_mode="evolve"), MANAGER),
        settings_digest(source(max_decoded_bytes=5), MANAGER),
        settings_digest(source(layout={"rules": rules}), MANAGER),
        settings_digest(source(), delta),
    ]
    assert len({same, *others}) == 5
