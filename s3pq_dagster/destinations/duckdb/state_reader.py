"""Reads the state of one table in DuckDB, and checks that table and ledger belong together."""

from dataclasses import dataclass

import pyarrow as pa

from s3pq_dagster.destinations.duckdb.entries import Entries
from s3pq_dagster.destinations.duckdb.ledger_tables import LedgerTables
from s3pq_dagster.destinations.duckdb.table import Table
from s3pq_dagster.destinations.duckdb.table_facts import TableFacts
from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES
from s3pq_dagster.destinations.table_errors import differ_by_case, not_managed
from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.ledger import Status


@dataclass(frozen=True, slots=True)
class StateReader:
    """What the state of a table is read from."""

    ledger: LedgerTables
    entries: Entries
    facts: TableFacts
    table: Table

    def state(self, owner: Owner, existing: set[str]) -> TableState:
        """Read the ledger and the schema, and check that they belong to this owner and table.

        Args:
            owner: The table.
            existing: Which of the table and the ledger's tables exist.

        Raises:
            DestinationError: As :meth:`Destination.state`.
        """
        exists = owner.table in existing
        ledger_tables = existing & {OBJECTS, TABLES}
        if not ledger_tables and not exists:
            return TableState.empty()
        if missing := sorted({OBJECTS, TABLES} - existing):
            raise not_managed(
                owner.table,
                f"{' and '.join(missing)} is not there",
                f"drop {' and '.join([*sorted(ledger_tables), 'every table'])} that was loaded "
                f"with it",
            )
        self.ledger.check_version()
        schema, schema_key = self._check_owner(owner, exists=exists)
        rows = self.table.count() if exists else 0
        ledger = self.entries.ledger()
        if not exists and ledger.count(Status.LOADED):
            raise not_managed(
                owner.table, f"its objects are in {OBJECTS} but the table is not there"
            )
        return TableState(ledger, exists, schema, schema_key, rows)

    def _check_owner(self, owner: Owner, *, exists: bool) -> tuple[pa.Schema | None, str | None]:
        row = self.facts.row()
        if row is None:
            if exists and (twin := self.facts.case_twin()):
                raise differ_by_case(owner.table, twin)
            if exists:
                raise not_managed(owner.table, f"it has no row in {TABLES}")
            return None, None
        owner.check(row.bucket, row.prefix, row.layout)
        if row.schema is not None and not exists:
            found = f"its row in {TABLES} is there but the table is not"
            raise not_managed(owner.table, found)
        return row.schema, row.schema_key
