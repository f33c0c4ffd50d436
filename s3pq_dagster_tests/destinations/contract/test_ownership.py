"""A table of another owner, or one whose ledger is missing or newer, is refused."""

from dataclasses import replace

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    LayoutChangedError,
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


def test_a_table_belongs_to_one_bucket(destination: Destination) -> None:
    """Reading and writing for another owner fail with an error that names both owners."""
    load(destination, (A1, 3))
    for takes_over in (False, True):
        other = Owner("orders", "lake2", "orders/", takes_over)
        with (
            pytest.raises(TableOwnedElsewhereError, match=r"s3://lake/orders/,.*lake2/orders/"),
            destination.write(other, run_id="r", append=False, refresh=takes_over) as writer,
        ):
            commit(writer, (B1, 1))
        with pytest.raises(TableOwnedElsewhereError):
            destination.state(other)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}


def test_a_table_belongs_to_one_pattern_until_it_is_loaded_anew(destination: Destination) -> None:
    """The error names both patterns; a refresh makes the new one the table's."""
    load(destination, (A1, 3))
    other = Owner("orders", "lake", "orders-v2/{x}/*.parquet")
    with (
        pytest.raises(LayoutChangedError, match=r"'orders/'.*'orders-v2/\{x\}/\*.parquet'"),
        destination.write(other, run_id="r", append=False, refresh=False) as writer,
    ):
        commit(writer, (B1, 1))
    with pytest.raises(LayoutChangedError):
        destination.state(other)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}
    anew = replace(other, takes_over=True)
    assert destination.state(anew).rows == 3
    with destination.write(anew, run_id="r", append=False, refresh=True) as writer:
        commit(writer, (B1, 1))
    assert destination.state(other).rows == 1
    with pytest.raises(LayoutChangedError):
        destination.state(OWNER)


def test_other_columns_of_the_same_keys_are_refused_until_loaded_anew(
    destination: Destination,
) -> None:
    """What the layout makes of keys is noted, and kept by a writer that does not know it."""
    one, other = replace(OWNER, layout="1a"), replace(OWNER, layout="2b", takes_over=True)
    for owner, found in ((one, A1), (OWNER, B1)):
        with destination.write(owner, run_id="r", append=False, refresh=False) as writer:
            commit(writer, (found, 2))
    assert destination.state(one).rows == 4
    with pytest.raises(LayoutChangedError, match="other columns"):
        destination.state(replace(other, takes_over=False))
    with destination.write(other, run_id="r", append=False, refresh=True) as writer:
        commit(writer, (A1, 1))
    assert destination.state(replace(other, takes_over=False)).rows == 1
    with pytest.raises(LayoutChangedError):
        destination.state(one)


@pytest.mark.parametrize("pattern", ["orders/*.parquet", "orders/{hive}/*.parquet"])
def test_a_folder_is_one_owner_however_its_pattern_is_written(
    destination: Destination, pattern: str
) -> None:
    """A table that was loaded from a prefix goes on; nothing of it is loaded again."""
    load(destination, (A1, 3))
    owner = Owner("orders", "lake", pattern)
    assert destination.state(owner).rows == 3
    with destination.write(owner, run_id="r", append=False, refresh=False) as writer:
        commit(writer, (B1, 1))
    assert destination.state(OWNER).rows == 4


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
