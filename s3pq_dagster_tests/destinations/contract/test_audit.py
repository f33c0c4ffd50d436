"""An audit returns row counts and the ledger of the same moment."""

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.contract.objects import A1, B1, C1
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    load,
)


def test_an_audit_counts_the_rows_of_each_object(destination: Destination) -> None:
    """Rows are counted by key; an object without rows has no count."""
    assert destination.audit(OWNER).rows_by_key.is_empty()
    load(destination, (A1, 3), (B1, 0), (C1, 2))
    audit = destination.audit(OWNER)
    assert dict(audit.rows_by_key.rows()) == {A1.key: 3, C1.key: 2}
    assert audit.state.rows == 5
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()


def test_an_audit_finds_what_the_ledger_does_not_account_for(place: Place) -> None:
    """Rows that somebody deleted are reported as missing."""
    destination = place.open()
    load(destination, (A1, 3), (B1, 2))
    place.delete_rows(OWNER.table, B1.key)
    audit = destination.audit(OWNER)
    assert audit.state.ledger.reconcile(audit.rows_by_key).rows() == [(B1.key, 2, 0)]
