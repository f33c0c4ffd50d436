"""What every destination promises.

A destination is one package with one class that fits :class:`Destination`; none knows another.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from s3pq_dagster.destinations.table_state import Commit, Owner, TableAudit, TableState


class CheckpointWriter(Protocol):
    """Something that takes checkpoints: what it commits is there whole or not at all."""

    def state(self) -> TableState:
        """Look at what is there."""
        ...

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """Write rows and ledger entries in one transaction.

        The table is created if it is not there. Unless the write mode is ``append``, rows of
        earlier versions of the loaded entries' keys go in the same transaction.

        Args:
            batches: The rows; drained once. ``None`` writes entries only.
            schema_key: The object the batches' schema comes from.
            seal: Called once the batches are drained, before anything is committed.

        Raises:
            DestinationError: It failed; nothing of it is there.
            UnsupportedSchemaError: A column cannot be held unchanged; nothing is written.
        """
        ...


class TableWriter(CheckpointWriter, Protocol):
    """A table opened for writing: nobody else can write it now."""

    def remove(self, keys: Sequence[str], *, seal: Callable[[], Commit]) -> int:
        """Delete the rows of some keys and mark their entries removed, in one transaction.

        Returns:
            The number of rows deleted.
        """
        ...


class Destination(Protocol):
    """A place tables and their ledger are kept."""

    def state(self, owner: Owner) -> TableState:
        """Look at a table without locking anybody out.

        Raises:
            TableOwnedElsewhereError: The table belongs to another bucket or prefix.
            TableNotManagedError: Table and ledger are there one without the other.
            LedgerVersionError: A newer release wrote the ledger.
            DestinationError: The destination cannot be read.
        """
        ...

    def audit(self, owner: Owner) -> TableAudit:
        """Look at a table and count its rows by object, in one snapshot.

        It costs a pass over one column of the table.

        Raises:
            DestinationError: As :meth:`state`.
        """
        ...

    def write(
        self, owner: Owner, *, run_id: str, append: bool, refresh: bool
    ) -> AbstractContextManager[TableWriter]:
        """Open a table for writing.

        Args:
            owner: Which table.
            run_id: For the ledger.
            append: Keep the rows of earlier versions of an object.
            refresh: Replace the whole table: everything until the context ends is one
                transaction, which starts from an empty table and ledger.

        Raises:
            DestinationError: As :meth:`state`, or the lock could not be had.
        """
        ...

    def read(
        self, table: str, columns: Sequence[str] | None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Stream a table's rows.

        Args:
            table: Its name.
            columns: Which columns; ``None`` is all of them.

        Raises:
            DestinationError: The table, or a column, is not there.
        """
        ...
