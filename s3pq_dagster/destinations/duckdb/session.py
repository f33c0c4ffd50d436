"""One table over one open connection to DuckDB: its state, its commits, its refresh."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.duckdb.entries import Entries
from s3pq_dagster.destinations.duckdb.failures import translated
from s3pq_dagster.destinations.duckdb.ledger_tables import LedgerTables
from s3pq_dagster.destinations.duckdb.look import look_of
from s3pq_dagster.destinations.duckdb.names import quoted
from s3pq_dagster.destinations.duckdb.state_reader import StateReader
from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.duckdb.table import Table
from s3pq_dagster.destinations.duckdb.table_facts import TableFacts
from s3pq_dagster.destinations.duckdb.types import check_schema
from s3pq_dagster.destinations.ledger_rows import NO_ENTRIES, OBJECTS, SCHEMAS, TABLES
from s3pq_dagster.destinations.table_errors import unaccounted_rows
from s3pq_dagster.destinations.table_look import TableLook
from s3pq_dagster.destinations.table_state import Commit, Owner, TableAudit, TableState


# Long by the state that people look at, beside what a writer needs of it.
class Session:
    """One table over one open connection."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        namespace: str,
        owner: Owner,
        *,
        run_id: str = "",
        append: bool = False,
    ) -> None:
        self._sql = Statements(connection)
        self._path = path
        self._namespace = namespace
        self._owner = owner
        self._run_id = run_id
        self._append = append
        self._refreshed = False
        self._has_unaccounted_rows = False
        """Whether the table has more rows than its ledger says."""
        self._state: TableState | None = None
        """The state that was read, until this session writes: nobody else writes meanwhile."""
        self._existing: set[str] | None = None
        """Which of the table and the ledger's tables exist, if known. DuckDB visits every table of
        the file to tell, so the answer is kept until this session creates or drops one."""
        database = self._sql.rows("SELECT current_database()")[0][0]
        # With its database in front: alone, a namespace named like the database would be ambiguous.
        self._space = f"{quoted(database)}.{quoted(namespace)}"
        self.table = Table(self._sql, self._space, owner.table)
        self._ledger = LedgerTables(self._sql, self._space)
        self._entries = Entries(self._sql, self._ledger, owner)
        self._facts = TableFacts(self._sql, self._ledger, owner)

    def create_ledger(self) -> None:
        """Create the namespace and the ledger's tables, or bring them to this format."""
        if {OBJECTS, TABLES, SCHEMAS} <= self._existing_tables() and self._ledger.are_current():
            return
        with self.transaction():
            self._sql.run(f"CREATE SCHEMA IF NOT EXISTS {self._space}")
            self._ledger.create()
        self._existing = None

    def start_over(self, keys: Sequence[str] | None = None) -> None:
        """Drop the table and its entries, or the rows and entries of some keys alone.

        Nobody sees that before the transaction commits.
        """
        self._state, self._refreshed = None, True
        if keys is None:
            self._existing = None
            self.table.drop()
            self._entries.delete()
            return
        self._entries.forget(keys)
        if self._owner.table in self._existing_tables():
            self.table.delete(keys)

    def state(self) -> TableState:
        """Read the ledger and the schema, and check that they belong to this owner and table."""
        if self._state is None:
            reading = StateReader(self._ledger, self._entries, self._facts, self.table)
            self._state = reading.state(self._owner, self._existing_tables())
            self._has_unaccounted_rows = self._state.rows > self._state.ledger.rows
        return self._state

    def entries(self) -> pl.DataFrame:
        """See :meth:`TableWriter.entries`."""
        self.state()  # refuses a table of another owner
        return self._entries.rows() if OBJECTS in self._existing_tables() else NO_ENTRIES

    def audit(self) -> TableAudit:
        """See :meth:`Destination.audit`."""
        with self.transaction():  # state and row counts of one snapshot
            state = self.state()
            return TableAudit.of(state, self.table.count_by_key() if state.exists else [])

    def look(self) -> TableLook:
        """See :meth:`Destination.look`."""
        with self.transaction():
            state, there = self.state(), self._existing_tables()
            return look_of(self._sql, self._space, self._owner.table, state, there)

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """See :meth:`TableWriter.commit`."""
        if batches is not None:
            check_schema(batches.schema, schema_key)
        self._state = None
        with translated(self._path), self.transaction():
            changed = batches is not None and self._fit_table(batches.schema, schema_key)
            sealed = seal() if batches is None else self._replace(batches, seal)
            self._entries.write(
                sealed.entries,
                run_id=self._run_id,
                append=self._append,
                refreshed=self._refreshed,
            )
            new = batches.schema if batches is not None and changed else None
            self._facts.write(sealed, new, schema_key)

    def remove(
        self, keys: Sequence[str], *, seal: Callable[[], Commit], undone: str | None = None
    ) -> int:
        """See :meth:`TableWriter.remove`."""
        self._state = None
        with translated(self._path), self.transaction():
            deleted = self.table.delete(keys)
            self._entries.mark_removed(keys, run_id=self._run_id, undone=undone)
            self._facts.write(seal(), None, None)
        return deleted

    def stored_schema(self) -> pa.Schema | None:
        """Read the Arrow schema the table was created with."""
        return self._facts.stored_schema()[0] if TABLES in self._existing_tables() else None

    @property
    def stamp_in_doubt(self) -> datetime | None:
        """What tells the last commit apart, if it failed and may stand all the same."""
        return self._facts.stamp if self._sql.is_commit_in_doubt else None

    def stands(self, stamp: datetime) -> bool:
        """Return whether the table's last commit is the one that a stamp tells apart."""
        return TABLES in self._existing_tables() and self._facts.has_stamp(stamp)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything done in the context, or nothing; nested contexts join the outer one."""
        try:
            with self._sql.transaction():
                yield
        except BaseException:
            self._existing = None  # the rollback undid what was created and dropped
            raise

    def _fit_table(self, schema: pa.Schema, schema_key: str | None) -> bool:
        """Create the table, or give it the columns that rows have; return whether it changed."""
        if self._owner.table in self._existing_tables():
            return self.table.become(self._facts.stored_schema(), (schema, schema_key))
        self.table.create(schema)
        self._existing = None
        return True

    def _replace(self, batches: pa.RecordBatchReader, seal: Callable[[], Commit]) -> Commit:
        """Insert rows, then delete those of earlier versions of the same objects.

        Which objects those are is known only when the batches are drained.
        """
        old_rows = self.table.insert(batches)
        sealed = seal()
        if old_rows is not None:
            self._refuse_unaccounted_rows(sealed.loaded_keys, old_rows)
            if replaced := self._entries.replaced_among(sealed.entries, append=self._append):
                self.table.delete(replaced, old_rows)
        self.table.insert_staged()
        return sealed

    def _refuse_unaccounted_rows(self, keys: Sequence[str], old_rows: str) -> None:
        """Raise if the table already has rows of these objects that no ledger entry accounts for.

        Somebody deleted the entries, and the rows would be in the table twice. Finding them takes
        a pass over a column, so it is done only where the table has more rows than the ledger says.
        """
        owner, objects = self._owner.table, self._ledger.objects
        if not self._has_unaccounted_rows:
            return
        if found := self.table.unaccounted(owner, objects, keys, old_rows):
            raise unaccounted_rows(owner, found)

    def _existing_tables(self) -> set[str]:
        if self._existing is None:
            wanted = (OBJECTS, TABLES, SCHEMAS, self._owner.table)
            self._existing = self._sql.existing(self._namespace, wanted)
        return self._existing
