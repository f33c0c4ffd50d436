"""A table and its ledger at one moment, with what is committed but not in the ledger's tables yet.

The number that the commit of a table carries says which intent was committed last; the number that
the ledger's tables carry says which was brought in last. Where the two differ, the intent is read.
"""

from dataclasses import dataclass, replace
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
from s3pq_dagster.destinations.delta.log import Log, OutdatedError, Version
from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES, as_ledger
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_errors import check_version, not_managed
from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.errors import DestinationError, TableNotManagedError
from s3pq_dagster.ledger import Status

_LOOKS = 8
_APPLIES = 200


class _MovingError(Exception):
    """The table was written between two looks."""


@dataclass(frozen=True)
class Look:
    """What was found."""

    storage: Storage
    version: Version | None
    """Of the Delta table; ``None`` if there is none."""
    number: int | None
    """Of what was committed last."""
    pending: Intent | None
    """What is committed, but not in both of the ledger's tables."""
    stored: pl.DataFrame
    """Entries in ``_s3pq_objects``, those of ``pending`` perhaps among them."""
    stored_row: dict[str, Any] | None
    is_entered: bool
    """Whether ``pending`` is in ``_s3pq_objects``."""
    table: str

    @cached_property
    def entries(self) -> pl.DataFrame:
        """All entries, as :data:`OBJECT_COLUMNS` has them."""
        if self.pending is None or self.is_entered:
            return self.stored
        return self.pending.change.applied(self.stored)

    @property
    def row(self) -> dict[str, Any] | None:
        """The row of ``_s3pq_tables``."""
        return self.stored_row if self.pending is None else self.pending.change.row

    @property
    def schema(self) -> pa.Schema | None:
        """The Arrow schema the table was made with."""
        data = None if self.row is None else self.row["arrow_schema"]
        return None if data is None else schemas.from_bytes(data)

    @cached_property
    def rows(self) -> int:
        """Rows in the table."""
        if self.version is None:
            return 0
        reading = DataFiles(self.storage, self.table)
        return sum(map(reading.rows, self.version.files))

    def state(self) -> TableState:
        """Say it as the protocol does.

        A table that was emptied by a refresh without objects is as good as not there: Delta Lake
        has no table without columns.
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
        """See that table and ledger are ours and belong together.

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
        owner.check(self.row["bucket"], self.row["prefix"])
        if self.version is None and self.row["arrow_schema"] is not None:
            raise _not_managed(self.table, f"its row in {TABLES} is there but the table is not")
        loaded = self.entries.filter(pl.col("status") == Status.LOADED)
        if self.version is None and loaded.height:
            raise _not_managed(self.table, f"its objects are in {OBJECTS} but the table is not")


class Looking:
    """Looks at one table, and finishes what somebody left unfinished."""

    def __init__(self, storage: Storage, table: str) -> None:
        self._storage = storage
        self._table = table
        self.log = Log(storage, table)
        self.ledger = LedgerTables.of(storage, table)
        self.intents = Intents(storage, table)

    def look(self) -> Look:
        """Look, without writing anything.

        Raises:
            TableNotManagedError: Table and ledger are of different moments, and nothing says what
                is between them.
            DestinationError: Something cannot be read.
        """
        with translated(self.log.shown):
            try:
                return Retrying(
                    retry=retry_if_exception_type(_MovingError),
                    stop=stop_after_attempt(_LOOKS),
                    wait=wait_random_exponential(multiplier=0.02, max=0.5),
                    reraise=True,
                )(self._once)
            except _MovingError as error:
                raise _not_managed(self._table, str(error)) from error

    def _once(self) -> Look:
        objects, tables = self.ledger.objects.log.open(), self.ledger.tables.log.open()
        version = self.log.open()
        entered = self.ledger.objects.number_in(objects)
        listed = self.ledger.tables.number_in(tables)
        if version is not None and version.transaction() is None:
            found = "no commit of it is ours"
            raise not_managed(self._table, found, f"move {self.log.shown} away")
        is_known = entered is not None or listed is not None or version is not None
        if is_known and (objects is None or tables is None):
            missing = [n for n, found in ((OBJECTS, objects), (TABLES, tables)) if found is None]
            raise _not_managed(self._table, f"{' and '.join(missing)} not there")
        number = entered if version is None else version.transaction()
        stored = self.ledger.objects.read(objects)
        row = row_of(self.ledger.tables.read(tables))
        pending = None
        if (entered, listed) != (number, number):
            pending = self.intents.read(number) if number is not None else None
            if pending is None:
                msg = f"it is at {number}, {OBJECTS} at {entered} and {TABLES} at {listed}"
                raise _MovingError(msg)
        return Look(
            self._storage,
            version,
            number,
            pending,
            stored,
            row,
            is_entered=entered == number,
            table=self._table,
        )

    def after(self, before: Look, intent: Intent) -> Look:
        """Give what is there once an intent is brought in, without reading all of it again."""
        version = self.log.open()
        if version is not None and version.transaction() != intent.number:
            return self.look()  # others have gone on
        return replace(
            before,
            version=version,
            number=intent.number,
            pending=None,
            stored=intent.change.applied(before.entries),
            stored_row=intent.change.row,
        )

    def finish(self, found: Look, *, alone: bool) -> Look:
        """Bring what is committed into the ledger's tables, and forget what never will be.

        Whoever else does so at the same time is not in the way.

        Args:
            found: What :meth:`look` gave.
            alone: Nobody else writes the table now, so that no intent is somebody's who is about
                to commit.
        """
        with translated(self.log.shown):
            if found.pending is not None:
                self.apply(found.pending)
                self.intents.delete(found.pending.number)
                found = self.look()
            for number in self.intents.numbers():
                intent = None if alone else self.intents.read(number)
                if alone or intent is None or self._is_over(intent, found):
                    self.intents.delete(number)
        return found

    def apply(self, intent: Intent) -> None:
        """Bring a committed intent into both tables, unless somebody else has done so.

        Raises:
            DestinationError: The tables could not be written.
        """
        try:
            Retrying(
                retry=retry_if_exception_type(OutdatedError),
                stop=stop_after_attempt(_APPLIES),
                wait=wait_random_exponential(multiplier=0.01, max=0.5),
                reraise=True,
            )(self._apply, intent)
        except OutdatedError as error:
            msg = (
                f"the ledger of table {self._table!r} could not be written, because others wrote "
                f"it all the time: {error}. Its rows are committed; the next run enters them."
            )
            raise DestinationError(msg) from error

    def enter(self, intent: Intent) -> None:
        """Commit an intent without rows: the ledger's own commit is what counts.

        Raises:
            OutdatedError: The ledger has gone on, or somebody committed to it since.
        """
        objects = self.ledger.objects.log.open()
        if objects is None or self.ledger.objects.number_in(objects) != intent.after:
            raise OutdatedError
        try:
            self.ledger.objects.apply(objects, intent)
        except OutdatedError:  # perhaps by ourselves, if the answer got lost
            if self.ledger.objects.number_in(self.ledger.objects.log.open()) != intent.number:
                raise

    def _apply(self, intent: Intent) -> None:
        objects = self.ledger.objects.log.open()
        entered = self.ledger.objects.number_in(objects)
        if entered != intent.number:
            if entered != intent.after and not self._is_last(intent, entered):
                return  # somebody has entered it, and has gone on
            assert objects is not None  # noqa: S101 - made before anything is committed
            self.ledger.objects.apply(objects, intent)
        tables = self.ledger.tables.log.open()
        listed = self.ledger.tables.number_in(tables)
        if tables is None or listed == intent.number:
            return
        if listed != intent.after:  # perhaps somebody has gone on, and its row is there
            now = self.ledger.objects.number_in(self.ledger.objects.log.open())
            if now != intent.number:
                return
        self.ledger.tables.apply(tables, intent)

    def _is_last(self, intent: Intent, entered: int | None) -> bool:
        """Tell whether nothing was committed after an intent that is not entered."""
        if not intent.in_table:
            return entered == intent.number
        version = self.log.open()
        return version is not None and version.transaction() == intent.number

    def _is_over(self, intent: Intent, found: Look) -> bool:
        """Tell whether an intent cannot be committed any more: another commit is in its place.

        One that still can is somebody's who is about to; it is left alone.
        """
        if intent.number == found.number:
            return True  # and entered: see finish()
        if not intent.in_table:
            return intent.after != found.number or found.version is not None
        at = -1 if found.version is None else found.version.number
        return at > (-1 if intent.upon is None else intent.upon)


def _not_managed(table: str, found: str) -> TableNotManagedError:
    return not_managed(
        table,
        found,
        f"delete the directory {table!r} and the table's rows in {OBJECTS} and {TABLES}",
    )
