"""The ledger as Delta tables, with a partition for each loaded table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from s3pq_dagster.destinations.delta.versions import Row, first_version, versions_added
from s3pq_dagster.destinations.ledger_rows import (
    OBJECT_COLUMNS,
    OBJECTS,
    SCHEMA_COLUMNS,
    SCHEMAS,
    TABLE_COLUMNS,
    TABLES,
)
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.ledger import FORMAT_VERSION

_PARTITION_BY = ["table_name"]
_FILE_BYTES = 128 * 1024 * 1024
_GROWTH = 2
"""Files of at most so many times the rows that are written anyway are rewritten with them. Thus a
ledger of any size is in few files, and each entry is rewritten few times."""
_ATTEMPTS = 20
"""How often columns are added again because another run committed first."""
Columns = Mapping[str, pl.DataType | type[pl.DataType]]


@dataclass(frozen=True)
class LedgerTable:
    """The rows of one loaded table in one of the ledger's tables."""

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

    def create(self, first: Callable[[], pl.DataFrame] | None = None) -> None:
        """Create the ledger's table if it does not exist; give it the columns of this release.

        Args:
            first: Returns the rows that it begins with, those of any loaded table.
        """
        version = self.log.open()
        if version is None:
            with suppress(ConcurrentCommitError):
                self._create(pl.DataFrame(schema=dict(self.columns)) if first is None else first())
            return
        for _ in range(_ATTEMPTS):
            there = set() if version is None else set(version.schema.names)
            missing = [each for each in self.schema if each.name not in there]
            if version is None or not missing:
                return
            with suppress(ConcurrentCommitError):
                self.log.add_columns(version, pa.schema(missing))
            version = self.log.open()

    def read(self, version: Version | None) -> pl.DataFrame:
        """Read the rows of the loaded table."""
        return self._concat([frame for _, frame in self._frames(version)])

    def read_all(self) -> pl.DataFrame:
        """Read the rows of every loaded table."""
        version = self.log.open()
        files = [] if version is None else version.files
        return self._concat([self._frame(file) for file in files])

    def apply(self, version: Version, intent: Intent) -> None:
        """Commit the entries of an intent, if ``version`` still is the latest.

        Raises:
            ConcurrentCommitError: Another run committed since, perhaps for another table.
        """
        if self.name == SCHEMAS:
            self._apply_versions(version, intent)
            return
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

    def _apply_versions(self, version: Version, intent: Intent) -> None:
        """Commit the versions of a schema that are not there yet.

        They only become more, so an intent that others have applied adds none, whatever came later.
        """
        last = self.read(version)["version"].max() or 0
        new = [each for each in intent.change.versions if each["version"] > last]
        if new:
            frame = pl.DataFrame(new, schema=dict(self.columns))
            self._commit(version, intent.number, [], frame)

    def _commit(
        self, version: Version, number: int, old: list[DataFile], new: pl.DataFrame
    ) -> None:
        there = set(version.schema.names)  # in format 1, without some columns
        schema = pa.schema([each for each in self.schema if each.name in there])
        stage = self._staged(new, schema)
        try:
            self.log.commit(
                version, number=number, added=stage.files, removed=old, schema=schema, app=self.app
            )
        except ConcurrentCommitError:
            stage.discard()  # after any other error it may be committed all the same
            raise

    def _create(self, rows: pl.DataFrame) -> None:
        stage = self._staged(rows, self.schema)
        try:
            self.log.create(
                number=0, added=stage.files, schema=self.schema, partition_by=_PARTITION_BY
            )
        except ConcurrentCommitError:
            stage.discard()
            raise

    def _staged(self, rows: pl.DataFrame, schema: pa.Schema) -> Stage:
        """Write rows to data files."""
        stage = Stage(self.storage, self.name, schema, _PARTITION_BY, _FILE_BYTES)
        try:
            stage.write(rows.select(schema.names).to_arrow().cast(schema).to_batches())
            stage.finish()
        except BaseException:
            stage.discard()
            raise
        return stage

    def _files(self, version: Version) -> list[DataFile]:
        return [file for file in version.files if file.partition == {"table_name": self.table}]

    def _frames(self, version: Version | None) -> Iterator[tuple[DataFile, pl.DataFrame]]:
        if version is None:
            return
        for file in self._files(version):
            yield file, self._frame(file)

    def _frame(self, file: DataFile) -> pl.DataFrame:
        batches = DataFiles(self.storage, self.name).batches(file, self.schema)
        read = pa.Table.from_batches(batches, self.schema)
        return pl.DataFrame(read, schema=pl.Schema(self.columns))

    def _concat(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=dict(self.columns)), *frames])


@dataclass(frozen=True, slots=True)
class LedgerTables:
    """All of the ledger's tables."""

    objects: LedgerTable
    tables: LedgerTable
    schemas: LedgerTable

    @classmethod
    def of(cls, storage: Storage, table: str) -> "LedgerTables":
        """Name the tables; nothing is opened yet."""
        return cls(
            LedgerTable(storage, OBJECTS, OBJECT_COLUMNS, table),
            LedgerTable(storage, TABLES, TABLE_COLUMNS, table),
            LedgerTable(storage, SCHEMAS, SCHEMA_COLUMNS, table),
        )

    def create(self) -> None:
        """Create the tables that do not exist, and bring those of older formats to this one."""
        self.objects.create()
        self.tables.create()
        self.schemas.create(self._first_versions)

    def versions_added(self, before: Row | None, row: Row, also: Sequence[Row] = ()) -> list[Row]:
        """Return the rows of ``_s3pq_schemas`` that come with a row of ``_s3pq_tables``.

        Args:
            before: The table's row of ``_s3pq_tables`` until now.
            row: What it will be.
            also: Rows of ``_s3pq_schemas`` that come with the same change.
        """
        same = FORMAT_VERSION, row["arrow_schema"]
        if before and not also and (before["format_version"], before["arrow_schema"]) == same:
            return []
        known = self.schemas.read(self.schemas.log.open()).to_dicts()
        return versions_added([*known, *also], [before, row])

    def _first_versions(self) -> pl.DataFrame:
        """Return the version of each table that a release loaded which wrote no versions."""
        rows = self.tables.read_all().filter(pl.col("arrow_schema").is_not_null())
        found = [first_version(row) for row in rows.iter_rows(named=True)]
        return pl.DataFrame(found, schema=dict(SCHEMA_COLUMNS))


def row_of(frame: pl.DataFrame) -> dict[str, Any] | None:
    """Return the only row of a frame; ``None`` if it is empty."""
    return frame.row(0, named=True) if frame.height else None
