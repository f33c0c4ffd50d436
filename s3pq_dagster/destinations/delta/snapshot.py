"""A table and its ledger at one moment, entries included that only an intent has so far.

The number in the table's last commit says which intent was committed last; the numbers in
``_s3pq_objects`` and ``_s3pq_tables`` say which was applied last. Where they differ, the entries
come from the intent. ``_s3pq_schemas`` is written between these two; only who changes it reads it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from s3pq_dagster import schemas
from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.failures import translated
from s3pq_dagster.destinations.delta.intents import Intent, Intents
from s3pq_dagster.destinations.delta.ledger_tables import LedgerTables, row_of
from s3pq_dagster.destinations.delta.log import Log
from s3pq_dagster.destinations.delta.version import Version
from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES, as_ledger
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_errors import check_version, not_managed
from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.errors import TableNotManagedError
from s3pq_dagster.ledger import Status

_READS = 8


class _InconsistentReadError(Exception):
    """The table and the ledger were read at different moments, or do not belong together."""


@dataclass(frozen=True)
class Snapshot:
    """A table and its ledger at one moment."""

    storage: Storage
    table: str
    version: Version | None
    """Latest version of the Delta table; ``None`` if there is none."""
    number: int | None
    """Number of the last committed change; ``None`` if nothing was ever committed."""
    pending: Intent | None
    """The last committed change, unless both tables of the ledger have it."""
    is_entered: bool
    """Whether ``_s3pq_objects`` has the last committed change."""
    stored: pl.DataFrame
    """The table's rows in ``_s3pq_objects``."""
    stored_row: dict[str, Any] | None
    """The table's row in ``_s3pq_tables``."""

    @cached_property
    def entries(self) -> pl.DataFrame:
        """All ledger entries, with the columns of :data:`OBJECT_COLUMNS`."""
        if self.pending is None or self.is_entered:
            return self.stored
        return self.pending.change.applied(self.stored)

    @property
    def row(self) -> dict[str, Any] | None:
        """The table's row of ``_s3pq_tables``, as the last committed change left it."""
        return self.stored_row if self.pending is None else self.pending.change.row

    @property
    def schema(self) -> pa.Schema | None:
        """The Arrow schema of the table's columns; ``None`` if it has none yet."""
        data = None if self.row is None else self.row["arrow_schema"]
        return None if data is None else schemas.from_bytes(data)

    @cached_property
    def rows(self) -> int:
        """The number of rows in the table."""
        if self.version is None:
            return 0
        reading = DataFiles(self.storage, self.table)
        return sum(map(reading.rows, self.version.files))

    def state(self) -> TableState:
        """Convert to the :class:`TableState` that :meth:`Destination.state` returns.

        A table that a refresh without objects emptied counts as not existing, although its
        directory does: Delta Lake has no table without columns.
        """
        if self.row is None:
            return TableState.empty()
        with translated(f"{self.storage.root}/{self.table}"):
            schema = self.schema
            return TableState(
                as_ledger(self.entries),
                exists=self.version is not None and schema is not None,
                schema=schema,
                schema_key=self.row["schema_key"],
                rows=self.rows,
            )

    def check(self, owner: Owner) -> None:
        """Raise unless table and ledger belong to the owner and to each other.

        Raises:
            DestinationError: As :meth:`Destination.state`.
        """
        if self.row is None:
            if self.version is not None:
                raise _not_managed(self.table, f"it has no row in {TABLES}")
            if self.entries.height:
                raise _not_managed(self.table, f"it has entries in {OBJECTS} but no row")
            return
        check_version(self.row["format_version"])
        owner.check(self.row["bucket"], self.row["prefix"], self.row["layout"])
        if self.version is None and self.row["arrow_schema"] is not None:
            raise _not_managed(self.table, f"its row in {TABLES} is there but the table is not")
        loaded = self.entries.filter(pl.col("status") == Status.LOADED)
        if self.version is None and loaded.height:
            raise _not_managed(self.table, f"its objects are in {OBJECTS} but the table is not")


class TableLogs:
    """The logs of a table and of the ledger, and the table's intents."""

    def __init__(self, storage: Storage, table: str) -> None:
        self._storage = storage
        self.table = table
        self.log = Log(storage, table)
        self.ledger = LedgerTables.of(storage, table)
        self.intents = Intents(storage, table)

    def snapshot(self) -> Snapshot:
        """Read a snapshot; nothing is written.

        Raises:
            TableNotManagedError: Table and ledger are of different moments, and no intent says
                what lies between them.
            DestinationError: Something cannot be read.
        """
        with translated(self.log.shown):
            try:
                return Retrying(
                    retry=retry_if_exception_type(_InconsistentReadError),
                    stop=stop_after_attempt(_READS),
                    wait=wait_random_exponential(multiplier=0.02, max=0.5),
                    reraise=True,
                )(self._read)
            except _InconsistentReadError as error:
                raise _not_managed(self.table, str(error)) from error

    def versions(self, found: Snapshot) -> list[dict[str, Any]]:
        """Read the rows of ``_s3pq_schemas``, with those that only an intent has so far."""
        rows = self.ledger.schemas.read(self.ledger.schemas.log.open()).to_dicts()
        last = max((row["version"] for row in rows), default=0)
        coming = [] if found.pending is None else found.pending.change.versions
        return [*rows, *(row for row in coming if row["version"] > last)]

    def _read(self) -> Snapshot:
        # A writer commits to the table first and to the ledger's tables after it. They are opened
        # in the opposite order, so the ledger is never ahead of the table; where it is behind, the
        # intent has what it lacks, or is deleted by now, and all is read again.
        objects, tables = self.ledger.objects.log.open(), self.ledger.tables.log.open()
        version = self.log.open()
        entered = self.ledger.objects.number_in(objects)
        listed = self.ledger.tables.number_in(tables)
        if version is not None and version.transaction() is None:
            found = "no commit of it is ours"
            raise not_managed(self.table, found, f"move {self.log.shown} away")
        is_known = entered is not None or listed is not None or version is not None
        if is_known and (objects is None or tables is None):
            # Missing, or created since they were opened: the next read tells.
            missing = [n for n, found in ((OBJECTS, objects), (TABLES, tables)) if found is None]
            raise _InconsistentReadError(f"{' and '.join(missing)} not there")
        number = entered if version is None else version.transaction()
        pending = None
        if (entered, listed) != (number, number):
            pending = self.intents.read(number) if number is not None else None
            if pending is None:
                msg = f"it is at {number}, {OBJECTS} at {entered} and {TABLES} at {listed}"
                raise _InconsistentReadError(msg)
        return Snapshot(
            self._storage,
            self.table,
            version,
            number,
            pending,
            is_entered=entered == number,
            stored=self.ledger.objects.read(objects),
            stored_row=row_of(self.ledger.tables.read(tables)),
        )


def _not_managed(table: str, found: str) -> TableNotManagedError:
    return not_managed(
        table,
        found,
        f"delete the directory {table!r} and the table's rows in {OBJECTS} and {TABLES}",
    )
