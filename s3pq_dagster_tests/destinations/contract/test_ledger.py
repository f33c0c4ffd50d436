"""The ledger's entry for each object, loaded or quarantined."""

import datetime as dt

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.destinations.contract.objects import A1, A2, A3, B1, C1
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    entries,
    ids_by_key,
    load,
    sealed,
    write,
)
from s3pq_dagster_tests.unit.made import meta


@pytest.mark.parametrize("e_tag", ["v1", None])
def test_the_ledger_keeps_the_facts_of_an_object(destination: Destination, e_tag: str) -> None:
    """An object listed again unchanged is found unchanged, even with an odd key or no e_tag."""
    found = meta("orders//ü '\";\x01 \U0001f600", e_tag, size=2**40, second=7)
    load(destination, (found, 1))
    (entry,) = destination.state(OWNER).ledger.frame.to_dicts()
    assert entry == {
        "key": found.key,
        "e_tag": e_tag,
        "size": 2**40,
        "last_modified": found.last_modified,
        "rows": 1,
        "status": "loaded",
        "reason": None,
    }
    assert ids_by_key(destination) == {found.key: [0]}


def test_microseconds_of_a_version_survive(destination: Destination) -> None:
    """Without an e_tag the time identifies the version, so it must not be truncated."""
    moment = dt.datetime(2024, 2, 14, 12, 0, 0, 123_457, tzinfo=dt.UTC)
    found = ObjectMeta("orders/a", 5, None, moment)
    load(destination, (found, 1))
    state = destination.state(OWNER)
    assert list(state.ledger.frame["last_modified"]) == [moment]
    assert state.ledger.cursor == moment


def test_a_ledger_can_be_there_before_its_table(destination: Destination) -> None:
    """If every object is quarantined there are entries and no table; the first rows make it."""
    entry = Entry(A1, Status.QUARANTINED, 0, "it has 0 bytes")
    with write(destination) as writer:
        writer.commit(None, schema_key=None, seal=lambda: sealed(entry))
    state = destination.state(OWNER)
    assert (state.exists, state.schema, state.rows) == (False, None, 0)
    assert entries(destination) == [(A1.key, "v1", "quarantined")]
    load(destination, (B1, 2))
    assert ids_by_key(destination) == {B1.key: [0, 1]}
    assert entries(destination) == [(A1.key, "v1", "quarantined"), (B1.key, "v1", "loaded")]


def test_a_malformed_new_version_leaves_the_old_rows(destination: Destination) -> None:
    """The loaded version stays beside the quarantined one until a later version can be read."""
    load(destination, (A1, 3))
    with write(destination) as writer:
        bad = Entry(A2, Status.QUARANTINED, 0, "truncated")
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}
    assert entries(destination) == [(A1.key, "v1", "loaded"), (A1.key, "v2", "quarantined")]
    load(destination, (A3, 1), start=30)
    assert ids_by_key(destination) == {A1.key: [30]}
    assert entries(destination) == [(A1.key, "v3", "loaded")]


@pytest.mark.parametrize("append", [False, True], ids=["replace", "append"])
def test_a_quarantined_object_that_reads_at_last_is_loaded(
    destination: Destination, *, append: bool
) -> None:
    """The same version can leave quarantine and then has one entry."""
    with write(destination, append=append) as writer:
        bad = Entry(A1, Status.QUARANTINED, 0, "denied")
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    load(destination, (A1, 2), append=append)
    assert entries(destination) == [(A1.key, "v1", "loaded")]


def test_quarantined_again_is_one_entry(destination: Destination) -> None:
    """An object that fails repeatedly keeps one entry."""
    bad = Entry(A1, Status.QUARANTINED, 0, "truncated")
    for _ in range(2):
        with write(destination) as writer:
            writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    assert entries(destination) == [(A1.key, "v1", "quarantined")]


def test_ledger_and_rows_agree(destination: Destination) -> None:
    """After loads and removals, the ledger counts as many rows for each key as the table has."""
    load(destination, (A1, 3), (B1, 2))
    load(destination, (A2, 4), (C1, 0))
    with write(destination) as writer:
        writer.remove([B1.key], seal=sealed)
    ledger = destination.state(OWNER).ledger.frame
    held_rows = {e["key"]: e["rows"] for e in ledger.to_dicts() if e["status"] == "loaded"}
    counted = {key: len(ids) for key, ids in ids_by_key(destination).items()}
    assert held_rows == {A1.key: 4, C1.key: 0}
    assert counted == {key: count for key, count in held_rows.items() if count}
