"""The ledger as two Delta tables, with a partition for each loaded table."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.intents import Intent
from s3pq_dagster.destinations.delta.log import ConcurrentCommitError, Log
from s3pq_dagster.destinations.delta.stage import Stage
from s3pq_dagster.destinations.delta.version import DataFile, Version
from s3pq_dagster.destinations.ledger_rows import OBJECT_COLUMNS, OBJECTS, TABLE_COLUMNS, TABLES
from s3pq_dagster.destinations.storage.protocol import Storage

_PARTITION_BY = ["table_name"]
_FILE_BYTES = 128 * 1024 * 1024
_GROWTH = 2
"""Files of at most so many times the rows that are written anyway are rewritten with them. Thus a
ledger of any size is in few files, and each entry is rewritten few times."""
Columns = Mapping[str, pl.DataType | type[pl.DataType]]


@dataclass(frozen=True)
class LedgerTable:
    """The rows of one loaded table in ``_s3pq_objects`` or ``_s3pq_tables``."""

    storage: Storage
    name: str
    columns: Columns
    table: str
    """Name of the loaded table."""

    @cached_property
    def log(self) -> Log:
        """Log of the ledger's table."""
        return Log(self.storage, self.name)

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of the ledger's table."""
        frame = pl.DataFrame(schema=dict(self.columns))
        large = frame.to_arrow().schema
        plain = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
        return pa.schema([(field.name, plain.get(field.type, field.type)) for field in large])

    @property
    def app(self) -> str:
        """The application under which commits carry the number of the intent they apply."""
        return f"s3pq/{self.table}"

    def number_in(self, version: Version | None) -> int | None:
        """Return the number of the intent that was applied last; ``None`` without any."""
        return None if version is None else version.transaction(self.app)

    def create(self) -> None:
        """Create the ledger's table if it does not exist."""
        if self.log.open() is None:
            with suppress(ConcurrentCommitError):
                self.log.create(number=0, added=[], schema=self.schema, partition_by=_PARTITION_BY)

    def read(self, version: Version | None) -> pl.DataFrame:
        """Read the rows of the loaded table."""
        return self._concat([frame for _, frame in self._frames(version)])

    def apply(self, version: Version, intent: Intent) -> None:
        """Commit the entries of an intent, if ``version`` still is the latest.

        Raises:
            ConcurrentCommitError: Another run committed since, perhaps for another table.
        """
        if self.name == TABLES:
            row = {name: intent.change.row[name] for name in self.columns}
            new = pl.DataFrame([row], schema=dict(self.columns))
            self._commit(version, intent.number, self._files(version), new)
            return
        frames = list(self._frames(version))
        before = self._concat([frame for _, frame in frames])
        new = intent.change.added(before)
        old: list[DataFile] = []
        untouched: list[tuple[DataFile, pl.DataFrame]] = []
        for file, frame in frames:
            left = frame.filter(~intent.change.gone(frame))
            if left.height < frame.height:
                old.append(file)
                new = pl.concat([new, left])
            else:
                untouched.append((file, frame))
        for file, frame in sorted(untouched, key=lambda each: each[1].height):
            if frame.height <= _GROWTH * new.height:
                old.append(file)
                new = pl.concat([new, frame])
        self._commit(version, intent.number, old, new)

    def _commit(
        self, version: Version, number: int, old: list[DataFile], new: pl.DataFrame
    ) -> None:
        stage = Stage(self.storage, self.name, self.schema, _PARTITION_BY, _FILE_BYTES)
        try:
            stage.write(new.to_arrow().cast(self.schema).to_batches())
            files = stage.finish()
        except BaseException:
            stage.discard()
            raise
        try:
            self.log.commit(
                version, number=number, added=files, removed=old, schema=self.schema, app=self.app
            )
        except ConcurrentCommitError:
            stage.discard()  # after any other error it may be committed all the same
            raise

    def _files(self, version: Version) -> list[DataFile]:
        return [file for file in version.files if file.partition == {"table_name": self.table}]

    def _frames(self, version: Version | None) -> Iterator[tuple[DataFile, pl.DataFrame]]:
        if version is None:
            return
        reading = DataFiles(self.storage, self.name)
        for file in self._files(version):
            read = pa.Table.from_batches(reading.batches(file, self.schema), self.schema)
            yield file, pl.DataFrame(read, schema=pl.Schema(self.columns))

    def _concat(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=dict(self.columns)), *frames])


@dataclass(frozen=True, slots=True)
class LedgerTables:
    """Both of the ledger's tables."""

    objects: LedgerTable
    tables: LedgerTable

    @classmethod
    def of(cls, storage: Storage, table: str) -> "LedgerTables":
        """Name the tables; nothing is opened yet."""
        return cls(
            LedgerTable(storage, OBJECTS, OBJECT_COLUMNS, table),
            LedgerTable(storage, TABLES, TABLE_COLUMNS, table),
        )

    def create(self) -> None:
        """Create the tables that do not exist."""
        self.objects.create()
        self.tables.create()


def row_of(frame: pl.DataFrame) -> dict[str, Any] | None:
    """Return the only row of a frame; ``None`` if it is empty."""
    return frame.row(0, named=True) if frame.height else None
