"""Objects that a person names are read again, and their rows replaced in one transaction."""

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import NothingToReloadError
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load, owner, reasons
from s3pq_dagster_tests.destinations.tables import ids_by_key


@pytest.fixture
def lake(bucket: Bucket, destination: Destination) -> Bucket:
    """A bucket whose three objects are loaded."""
    for key, number in (("t/a/1", 1), ("t/a/2", 2), ("t/b/1", 3)):
        bucket.put(key, pa.table({"id": [number]}))
    load(bucket, destination)
    return bucket


@pytest.mark.first_case
@pytest.mark.parametrize("write_mode", ["replace", "append", "mirror"])
def test_what_a_pattern_takes_is_read_again(
    lake: Bucket, destination: Destination, write_mode: str
) -> None:
    """Nothing else is: neither what is pending nor what is deleted."""
    lake.put("t/c/new", pa.table({"id": [9]}))
    lake.delete("t/b/1")
    options = {"reload": ("t/a/*",)}
    report = load(lake, destination, options=options, write_mode=write_mode, run_id="again")
    assert (report.objects, report.rows, report.removed) == (2, 2, 0)
    assert ids_by_key(destination, "t") == {"t/a/1": [1], "t/a/2": [2], "t/b/1": [3]}
    found = destination.entries(owner(lake)).sort("key")
    assert found.select("run_id", "refreshed").rows() == [
        ("again", True),
        ("again", True),
        ("run", False),
    ]
    assert load(lake, destination).objects == 1


def test_versions_that_are_kept_go_too(lake: Bucket, destination: Destination) -> None:
    """Only the rows of the current version are left of the object."""
    lake.put("t/a/1", pa.table({"id": [5]}))
    load(lake, destination, write_mode="append")
    assert ids_by_key(destination, "t")["t/a/1"] == [1, 5]
    load(lake, destination, options={"reload": ("t/a/1",)}, write_mode="append")
    assert ids_by_key(destination, "t")["t/a/1"] == [5]


def test_what_cannot_be_read_any_more_is_quarantined(
    lake: Bucket, destination: Destination
) -> None:
    """As in any load; an object that was quarantined is loaded, if it can be."""
    lake.put("t/a/1", b"no Parquet, but as long as it has to be")
    report = load(lake, destination, options={"reload": ("t/a/*",)})
    assert (report.objects, list(report.quarantined_keys)) == (1, ["t/a/1"])
    assert set(reasons(lake, destination)) == {"t/a/1"}
    lake.put("t/a/1", pa.table({"id": [6]}))
    load(lake, destination, options={"reload": ("t/a/1",)})
    assert ids_by_key(destination, "t") == {"t/a/1": [6], "t/a/2": [2], "t/b/1": [3]}
    assert reasons(lake, destination) == {}


def test_a_pattern_that_takes_nothing_is_an_error(lake: Bucket, destination: Destination) -> None:
    """It may be misspelt; nothing is touched, though another pattern takes something."""
    with pytest.raises(NothingToReloadError, match=r"'t/x\*' takes none of the 3 .* 't/a/1'"):
        load(lake, destination, options={"reload": ("t/a/1", "t/x*")}, run_id="never")
    assert set(destination.entries(owner(lake))["run_id"]) == {"run"}
