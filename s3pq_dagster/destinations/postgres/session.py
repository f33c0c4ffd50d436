"""One table over one open connection to PostgreSQL: its state, its commits, its refresh."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import polars as pl
import psycopg
import pyarrow as pa

from s3pq_dagster.destinations.ledger_rows import NO_ENTRIES, OBJECTS, TABLES
from s3pq_dagster.destinations.postgres.alteration import change_table
from s3pq_dagster.destinations.postgres.connection import Connection
from s3pq_dagster.destinations.postgres.entries import Entries
from s3pq_dagster.destinations.postgres.failures import refusals_told, translated
from s3pq_dagster.destinations.postgres.ledger_tables import LedgerTables
from s3pq_dagster.destinations.postgres.look import look_of
from s3pq_dagster.destinations.postgres.names import refreshed_name, stored_name
from s3pq_dagster.destinations.postgres.statements import ONE_SNAPSHOT
from s3pq_dagster.destinations.postgres.table import Table
from s3pq_dagster.destinations.postgres.table_facts import TableFacts
from s3pq_dagster.destinations.postgres.types import check_schema
from s3pq_dagster.destinations.postgres.values import PIECE_BYTES
from s3pq_dagster.destinations.table_errors import not_managed, unaccounted_rows
from s3pq_dagster.destinations.table_look import TableLook
from s3pq_dagster.destinations.table_state import Commit, Owner, TableAudit, TableState
from s3pq_dagster.ledger import Status


# Long by the refreshes, of a table and of some objects, which share what is known of it.
class Session:
    """One table over one open connection."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        owner: Owner,
        *,
        run_id: str = "",
        append: bool = False,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._owner = owner
        self._run_id = run_id
        self._append = append
        self._piece_bytes = piece_bytes
        self._ledger = LedgerTables(connection, namespace)
        self._entries = Entries(connection, self._ledger, owner)
        self._facts = TableFacts(connection, self._ledger, owner)
        self._table = Table(connection, namespace, stored_name(owner.table))
        self._replaced_table: Table | None = None
        """In a refresh, the old table, which is dropped at the end unless it is filled again."""
        self._in_refresh = False
        self._starts_empty = False
        """Whether a refresh has begun and not created or emptied a table yet."""
        self._is_checked = False
        """Whether the table is known to have the columns it was created with."""
        self._rows: int | None = None
        """Number of rows in the table, once counted; nobody else writes meanwhile."""
        self._has_unaccounted_rows = False
        """Whether the table has more rows than its ledger says."""

    def create_ledger(self) -> None:
        """Create the namespace and the ledger's tables, or bring them to this format."""
        if not self._ledger.are_current():
            with self._connection.transaction():
                self._ledger.create()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all queries in the context see the database at one moment."""
        exists = self._table.exists()
        with self._connection.transaction(ONE_SNAPSHOT):
            if exists:
                self._table.lock_against_replacement()
            yield

    def state(self) -> TableState:
        """Read the ledger and the schema, and check that they belong to this owner and table."""
        found, exists = self._ledger.found() & {OBJECTS, TABLES}, self._exists()
        if not found and not exists:
            return TableState.empty()
        if missing := sorted({OBJECTS, TABLES} - found):
            raise not_managed(
                self._owner.table,
                f"{' and '.join(missing)} is not there",
                f"drop {' and '.join([*sorted(found), 'every table'])} that was loaded with it",
            )
        ledger = self._entries.ledger()
        schema, schema_key = self._check_owner(exists=exists)
        if not exists and ledger.count(Status.LOADED):
            raise not_managed(
                self._owner.table, f"its objects are in {OBJECTS} but the table is not there"
            )
        if self._rows is None:
            self._rows = self._table.count() if exists else 0
        self._has_unaccounted_rows = self._rows > ledger.rows
        return TableState(ledger, exists, schema, schema_key, self._rows)

    def entries(self) -> pl.DataFrame:
        """See :meth:`TableWriter.entries`."""
        self.state()  # refuses a table of another owner
        return self._entries.rows() if OBJECTS in self._ledger.found() else NO_ENTRIES

    def audit(self) -> TableAudit:
        """See :meth:`Destination.audit`."""
        state = self.state()
        return TableAudit.of(state, self._table.count_by_key() if state.exists else [])

    def look(self) -> TableLook:
        """See :meth:`Destination.look`."""
        return look_of(self._connection, self._ledger, self._owner.table, self.state())

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
        rows, self._rows = self._rows, None  # counted again if this commit fails
        with translated(self._connection.url, psycopg.Error), self._connection.transaction():
            change, schema = 0, None
            if batches is None:
                sealed = seal()
            else:
                if self._prepare_table(batches.schema, schema_key):
                    schema = batches.schema
                sealed, change = self._replace(batches, seal)
            self._entries.write(
                sealed.entries,
                self._connection.copy,
                run_id=self._run_id,
                append=self._append,
                refreshed=self._in_refresh,
            )
            self._facts.write(sealed, schema, schema_key)
        self._rows = None if rows is None else rows + change

    def remove(
        self, keys: Sequence[str], *, seal: Callable[[], Commit], undone: str | None = None
    ) -> int:
        """See :meth:`TableWriter.remove`."""
        rows, self._rows = self._rows, None
        with translated(self._connection.url, psycopg.Error), self._connection.transaction():
            deleted = self._table.delete(keys)
            self._entries.mark_removed(keys, run_id=self._run_id, undone=undone)
            self._facts.write(seal(), None, None)
        self._rows = None if rows is None else rows - deleted
        return deleted

    @contextmanager
    def refresh(self) -> Iterator[None]:
        """Replace the whole table in one transaction; others see the old one until it commits."""
        # A table with the right columns is emptied and filled again, so that privileges, views and
        # indexes that people added stay. A table with other columns is replaced by a new one. The
        # swap (drop, rename) comes last, because DROP TABLE locks out readers until the commit.
        with self._connection.transaction():
            self._entries.delete()
            self._replaced_table = self._table if self._table.exists() else None
            self._in_refresh = self._starts_empty = True
            self._rows = 0
            yield
            if self._replaced_table is not None:
                self._replaced_table.drop()
                if not self._starts_empty:
                    self._table.rename(stored_name(self._owner.table))

    def forget(self, keys: Sequence[str]) -> None:
        """Delete the rows and entries of some objects, in a transaction that loads them again."""
        with translated(self._connection.url, psycopg.Error):
            if self._table.exists():
                self._table.delete(keys)
            self._entries.forget(keys)
        self._in_refresh, self._rows = True, None

    def _exists(self) -> bool:
        return not self._starts_empty and self._table.exists()

    def _prepare_table(self, schema: pa.Schema, schema_key: str | None) -> bool:
        """Create the table, or give it the columns that rows have; return whether it changed.

        In a refresh, the old table is emptied, or a new one created.
        """
        if self._exists():
            row = self._facts.row()
            stored = (row.schema, row.schema_key) if row else (None, None)
            if not self._is_checked:
                self._table.check(stored[0] or schema)
            self._is_checked = True
            name, coming = self._owner.table, (schema, schema_key)
            return change_table(self._connection, self._table, name, stored, coming)
        self._is_checked = True
        if self._replaced_table is not None and self._replaced_table.fits(schema):
            self._replaced_table.empty()
            self._table, self._replaced_table = self._replaced_table, None
        else:
            if self._replaced_table is not None:
                name = refreshed_name(self._owner.table)
                self._table = Table(self._connection, self._namespace, name)
            self._table.create(schema)
        self._starts_empty = False
        return True

    def _replace(
        self, batches: pa.RecordBatchReader, seal: Callable[[], Commit]
    ) -> tuple[Commit, int]:
        """Insert rows, then delete those of earlier versions of the same objects.

        Which objects those are is known only when the batches are drained.

        Returns:
            What the commit writes to the ledger, and the change in the number of rows.
        """
        mark = self._entries.last_command() if self._in_refresh else 0
        with refusals_told(self._connection.url):
            inserted = self._table.insert(batches, self._connection.copy, self._piece_bytes)
        sealed = seal()
        keys = sealed.loaded_keys
        if self._has_unaccounted_rows:
            # Somebody deleted entries, and these rows would be in the table twice. Finding that out
            # reads a whole column, so it is done only where the table has more rows than the
            # ledger says.
            found = self._table.unaccounted(self._owner.table, keys, mark)
            if found:
                raise unaccounted_rows(self._owner.table, found)
        if self._append:
            before = self._entries.rows_of_resized(sealed.entries)
        else:
            before = self._entries.rows_of(keys)
        if not before:
            return sealed, inserted
        rows = {entry.object.key: entry.rows for entry in sealed.entries if entry.rows}
        return sealed, inserted - self._table.delete_old(before, rows, mark)

    def _check_owner(self, *, exists: bool) -> tuple[pa.Schema | None, str | None]:
        row = self._facts.row()
        if row is None:
            if exists:
                raise not_managed(self._owner.table, f"it has no row in {TABLES}")
            return None, None
        self._owner.check(row.bucket, row.prefix, row.layout)
        if row.schema is not None and not exists:
            raise not_managed(
                self._owner.table, f"its row in {TABLES} is there but the table is not"
            )
        return row.schema, row.schema_key
