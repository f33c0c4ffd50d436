"""One table over one open connection: its state, its commits, its refresh."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pyarrow as pa

from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES
from s3pq_dagster.destinations.postgres.connection import Connection
from s3pq_dagster.destinations.postgres.entries import Entries
from s3pq_dagster.destinations.postgres.failures import translated
from s3pq_dagster.destinations.postgres.names import refreshed_name, stored_name
from s3pq_dagster.destinations.postgres.statements import ONE_SNAPSHOT
from s3pq_dagster.destinations.postgres.table import Table
from s3pq_dagster.destinations.postgres.types import check_schema
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.destinations.table_errors import not_managed, unaccounted_rows
from s3pq_dagster.destinations.table_state import Commit, Owner, TableAudit, TableState
from s3pq_dagster.errors import TableNotManagedError
from s3pq_dagster.ledger import Status


class Session:
    """One table over one open connection."""

    def __init__(
        self,
        connection: Connection,
        url: PostgresUrl,
        namespace: str,
        owner: Owner,
        *,
        run_id: str = "",
        append: bool = False,
    ) -> None:
        self._connection = connection
        self._url = url
        self._namespace = namespace
        self._owner = owner
        self._run_id = run_id
        self._append = append
        self._entries = Entries(connection, namespace, owner)
        self._table = self._named(stored_name(owner.table))
        self._old: Table | None = None
        """In a refresh, the table that is to go."""
        self._in_refresh = False
        self._is_new = False
        """Whether a refresh has begun, and made no table yet."""
        self._is_checked = False
        """Whether the table is known to have the columns it was made with."""
        self._rows: int | None = None
        """Of the table, once they are counted; from then on nobody else writes."""
        self._has_strays = False

    def create_ledger(self) -> None:
        """Create namespace and ledger if they are not there.

        What is there is not asked for again, since even that takes a permission.
        """
        if not self._entries.are_there():
            with self._connection.transaction():
                self._entries.create()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look several times, and see one moment."""
        exists = self._table.exists()
        with self._connection.transaction(ONE_SNAPSHOT):
            if exists:
                self._table.keep()
            yield

    def state(self) -> TableState:
        """Read ledger and schema; check that they are ours and belong together."""
        found, exists = self._entries.found(), self._exists()
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
            raise self._not_managed(f"its objects are in {OBJECTS} but the table is not there")
        if self._rows is None:
            self._rows = self._table.count() if exists else 0
        self._has_strays = self._rows > ledger.rows
        return TableState(ledger, exists, schema, schema_key, self._rows)

    def audit(self) -> TableAudit:
        """See :meth:`Destination.audit`."""
        state = self.state()
        return TableAudit.of(state, self._table.count_by_key() if state.exists else [])

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
        rows, self._rows = self._rows, None  # to be counted again unless all goes well
        with translated(self._url, psycopg.Error), self._connection.transaction():
            change = 0
            if batches is None:
                sealed = seal()
            else:
                self._make_table(batches.schema)
                sealed, change = self._replace(batches, seal)
            self._entries.write(
                sealed.entries, self._connection.copy, run_id=self._run_id, append=self._append
            )
            schema = None if batches is None else batches.schema
            self._entries.write_table(sealed, schema, schema_key)
        self._rows = None if rows is None else rows + change

    def remove(self, keys: Sequence[str], *, seal: Callable[[], Commit]) -> int:
        """See :meth:`TableWriter.remove`."""
        rows, self._rows = self._rows, None
        with translated(self._url, psycopg.Error), self._connection.transaction():
            gone = self._table.delete(keys)
            self._entries.mark_removed(keys, run_id=self._run_id)
            self._entries.write_table(seal(), None, None)
        self._rows = None if rows is None else rows - gone
        return gone

    @contextmanager
    def refresh(self) -> Iterator[None]:
        """Start with nothing, in one transaction; others see the old table until it ends.

        A table that has the right columns stays, with the rights and views that people gave it:
        its rows are deleted, and others go on reading them. One with other columns gives way to
        a new one at the very end, since that keeps readers waiting.
        """
        with self._connection.transaction():
            self._entries.forget()
            self._old = self._table if self._table.exists() else None
            self._in_refresh = self._is_new = True
            self._rows = 0
            yield
            if self._old is not None:
                self._old.drop()
                if not self._is_new:
                    self._table.rename(stored_name(self._owner.table))

    def _exists(self) -> bool:
        return not self._is_new and self._table.exists()

    def _make_table(self, schema: pa.Schema) -> None:
        if self._exists():
            if not self._is_checked:
                self._table.check(schema)
                self._is_checked = True
            return
        self._is_checked = True
        if self._old is not None and self._old.fits(schema):
            self._old.empty()
            self._table, self._old = self._old, None
        else:
            if self._old is not None:
                self._table = self._named(refreshed_name(self._owner.table))
            self._table.create(schema)
        self._is_new = False

    def _replace(
        self, batches: pa.RecordBatchReader, seal: Callable[[], Commit]
    ) -> tuple[Commit, int]:
        """Insert, then delete the rows of earlier versions; give the change in rows.

        Which objects those are is known only once the batches are drained.
        """
        mark = self._entries.last_command() if self._in_refresh else 0
        inserted = self._table.insert(batches, self._connection.copy)
        sealed = seal()
        keys = sealed.loaded_keys
        if self._has_strays:
            # Somebody deleted an entry, and the rows would be there twice. That takes a look at
            # the whole column, so only where the table has more rows than the ledger says.
            strays = self._table.strays(self._owner.table, keys, mark)
            if strays:
                raise unaccounted_rows(self._owner.table, strays)
        said = {} if self._append else self._entries.rows_of(keys)
        if not said:
            return sealed, inserted
        now = {entry.object.key: entry.rows for entry in sealed.entries if entry.rows}
        return sealed, inserted - self._table.delete_before(said, now, mark)

    def _check_owner(self, *, exists: bool) -> tuple[pa.Schema | None, str | None]:
        about = self._entries.about()
        if about is None:
            if exists:
                raise self._not_managed(f"it has no row in {TABLES}")
            return None, None
        bucket, prefix, schema, schema_key = about
        self._owner.check(bucket, prefix)
        if schema is not None and not exists:
            raise self._not_managed(f"its row in {TABLES} is there but the table is not")
        return schema, schema_key

    def _not_managed(self, found: str) -> TableNotManagedError:
        return not_managed(self._owner.table, found)

    def _named(self, name: str) -> Table:
        return Table(self._connection, self._namespace, name)
