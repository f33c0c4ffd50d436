"""What every destination promises.

A destination is a package with one class that fits :class:`Destination`. No destination imports
another.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.condition import Condition
from s3pq_dagster.destinations.table_look import TableLook
from s3pq_dagster.destinations.table_state import ChooseKeys, Commit, Owner, TableAudit, TableState


class CheckpointWriter(Protocol):
    """Writes checkpoints; each is committed as a whole or not at all."""

    def state(self) -> TableState:
        """Read the state of the table."""
        ...

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """Write rows and ledger entries in one transaction.

        The table is created if it does not exist. Where its columns are not those of the rows, it
        gets them in the same transaction: columns that it lacks are added, null in the rows that
        are stored, and types that differ are changed (``drift`` has joined them, so each holds the
        stored one). The schema that is new or changed is a row in ``_s3pq_schemas``. Unless the
        write mode is ``append``, the rows of earlier versions of the loaded objects are deleted in
        the same transaction.

        Args:
            batches: The rows; read once, to their end. ``None`` writes entries only. Their schema
                has every column of the table.
            schema_key: Key of the object that the batches' schema comes from.
            seal: Returns what goes into the ledger. Called once, when the batches are read and
                before anything is committed.

        Raises:
            DestinationError: The commit failed, and none of it is visible, unless the message says
                otherwise.
            UnsupportedSchemaError: A column cannot be stored unchanged; nothing is written.
            SchemaMismatchError: A stored value has no equal in a column's new type; nothing is
                written.
            RefusedRowsError: A value of these rows cannot be stored unchanged, which
                :meth:`Destination.check_values` did not find; none of it is visible. Unless the
                table is refreshed, the writer goes on.
        """
        ...


class TableWriter(CheckpointWriter, Protocol):
    """A table that is open for writing, and locked against other writers."""

    def entries(self) -> pl.DataFrame:
        """Read the table's rows of ``_s3pq_objects``; see :meth:`Destination.entries`."""
        ...

    def remove(
        self, keys: Sequence[str], *, seal: Callable[[], Commit], undone: str | None = None
    ) -> int:
        """Delete the rows of some objects and mark their entries removed, in one transaction.

        Args:
            keys: Keys of the objects.
            seal: Returns the cursor and fingerprint to store; it has no entries.
            undone: Why the entries become quarantined, of 0 rows, instead of removed.

        Returns:
            The number of rows deleted.
        """
        ...


class Destination(Protocol):
    """Stores tables and the ledger of what is loaded into them."""

    def state(self, owner: Owner) -> TableState:
        """Read the state of a table; this does not take the writer's lock.

        Raises:
            TableOwnedElsewhereError: The table belongs to another bucket.
            LayoutChangedError: The table is loaded from keys of another pattern.
            TableNotManagedError: The table exists without its ledger, or the ledger without its
                table.
            LedgerVersionError: A newer release wrote the ledger.
            DestinationError: The destination cannot be read.
        """
        ...

    def look(self, owner: Owner) -> TableLook:
        """Read the state of a table for people, with its runs and schemas.

        Nothing is written, not even what :meth:`state` may finish for a run that was killed.

        Raises:
            DestinationError: As :meth:`state`.
        """
        ...

    def entries(self, owner: Owner) -> pl.DataFrame:
        """Read what the ledger has of each object of a table; this does not take the lock.

        Returns:
            A row for each entry, any order, with the columns of
            :data:`~s3pq_dagster.destinations.ledger_rows.OBJECT_COLUMNS`.

        Raises:
            DestinationError: As :meth:`state`.
        """
        ...

    def condition(self, tables: Sequence[str]) -> Condition:
        """Say what speaks against writing now, and who writes; nothing is written or locked.

        Args:
            tables: Names of tables.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        ...

    def check_values(self, batch: pa.RecordBatch, key: str) -> None:
        """Hold rows of one object against what this destination can store; this opens nothing.

        Called from any thread for all rows of an object before the first of them is committed, and
        for each batch before it is handed on where an object is too large for that. Columns whose
        type is refused are left to :meth:`TableWriter.commit`.

        Args:
            batch: The rows, in the columns of the object's file.
            key: Key of the object.

        Raises:
            RefusedObjectError: A value cannot be stored unchanged; the reason names the column, the
                value and the cause.
        """
        ...

    def audit(self, owner: Owner) -> TableAudit:
        """Read the state of a table and count its rows by object, in one snapshot.

        That reads one column of the whole table.

        Raises:
            DestinationError: As :meth:`state`.
        """
        ...

    def write(
        self, owner: Owner, *, run_id: str, append: bool, refresh: bool | Sequence[str]
    ) -> AbstractContextManager[TableWriter]:
        """Open a table for writing.

        Args:
            owner: The table.
            run_id: The run to name in the ledger.
            append: Keep the rows of earlier versions of an object.
            refresh: Replace the whole table: one transaction lasts until the context ends, and
                starts from an empty table and ledger. Keys replace the rows and entries of these
                objects alone: it starts from the table and ledger without them.

        Raises:
            DestinationError: As :meth:`state`, or another writer kept its lock too long.
        """
        ...

    def read(
        self, table: str, columns: Sequence[str] | None, wanted: ChooseKeys | None = None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Stream the rows of a table.

        Args:
            table: Its name.
            columns: The columns to read; ``None`` reads all.
            wanted: Chooses the objects whose rows are read; ``None`` reads all. A destination that
                cannot tell rows apart before it reads them gives those of other objects, too.

        Raises:
            DestinationError: The table, or a column, does not exist.
        """
        ...
