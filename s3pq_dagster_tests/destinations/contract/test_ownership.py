"""A table of another owner, or one whose ledger is missing or newer, is refused."""

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    LedgerVersionError,
    TableNotManagedError,
    TableOwnedElsewhereError,
)
from s3pq_dagster.ledger import FORMAT_VERSION
from s3pq_dagster_tests.destinations.contract.objects import A1, B1
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    commit,
    ids_by_key,
    load,
)


@pytest.mark.parametrize(
    "other", [Owner("orders", "lake2", "orders/"), Owner("orders", "lake", "orders-v2/")], ids=str
)
def test_a_table_belongs_to_one_bucket_and_prefix(destination: Destination, other: Owner) -> None:
    """Reading and writing for another owner fail with an error that names both owners."""
    load(destination, (A1, 3))
    for refresh in (False, True):
        with (
            pytest.raises(TableOwnedElsewhereError, match=r"s3://lake/orders/,.*") as caught,
            destination.write(other, run_id="r", append=False, refresh=refresh) as writer,
        ):
            commit(writer, (B1, 1))
        assert f"s3://{other.bucket}/{other.prefix}" in str(caught.value)
    with pytest.raises(TableOwnedElsewhereError):
        destination.state(other)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}


@pytest.mark.parametrize("whole", [True, False])
def test_a_table_without_its_ledger_is_refused(place: Place, *, whole: bool) -> None:
    """A dropped ledger is an error, because loading again would duplicate the rows."""
    load(place.open(), (A1, 3))
    place.drop_ledger(whole=whole)
    with pytest.raises(TableNotManagedError, match="orders"):
        place.open().state(OWNER)
    with pytest.raises(TableNotManagedError):
        load(place.open(), (A1, 3))


def test_a_ledger_without_its_table_is_refused(place: Place) -> None:
    """A dropped table is an error, because its ledger says that everything is loaded."""
    load(place.open(), (A1, 3))
    place.drop_table("orders")
    with pytest.raises(TableNotManagedError, match="orders"):
        place.open().state(OWNER)
    with pytest.raises(TableNotManagedError):
        load(place.open(), (B1, 3))


def test_a_newer_ledger_is_refused(place: Place) -> None:
    """A ledger in a newer release's format is neither read nor written."""
    load(place.open(), (A1, 3))
    place.set_format_version(FORMAT_VERSION + 1)
    with pytest.raises(LedgerVersionError, match=f"version {FORMAT_VERSION + 1}.*Upgrade"):
        place.open().state(OWNER)
    with pytest.raises(LedgerVersionError):
        load(place.open(), (B1, 3))
