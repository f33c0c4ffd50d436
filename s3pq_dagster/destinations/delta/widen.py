"""The rows that a table has, and what becomes of them when its columns change.

A column that the table gains is in the log alone: whoever reads finds it in none of the earlier
files, and takes it for null. A type that changes is in every file, so all of them are rewritten.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from s3pq_dagster.destinations.batches import as_stored
from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.types import stored, stored_type
from s3pq_dagster.destinations.delta.version import DataFile
from s3pq_dagster.destinations.leaf_values import plain, restored
from s3pq_dagster.destinations.widening import changes_to, check_stored_values
from s3pq_dagster.drift.casts import InexactError, exact
from s3pq_dagster.drift.changes import SchemaChanges, schema_changes
from s3pq_dagster.drift.fitting import inexact
from s3pq_dagster.errors import DestinationError

Retyped = tuple[pa.Field, pa.Field]


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Data files of one table, and the columns that they were written with."""

    table: str
    schema: pa.Schema | None
    """The Arrow schema they were written with; ``None`` if there are none."""
    schema_key: str | None
    """Key of the object that it comes from."""
    there: pa.Schema
    """All columns as they are stored, those that somebody else added included."""
    partition_by: Sequence[str]
    files: Sequence[DataFile]
    reading: DataFiles

    def changes_to(self, schema: pa.Schema, schema_key: str | None) -> SchemaChanges:
        """Compare the columns with those that the table is to have, and hold the rows against them.

        Raises:
            SchemaMismatchError: A column is missing, or a stored value has no equal in its new
                type.
            DestinationError: The table cannot change like that.
        """
        coming = (schema.remove_metadata(), schema_key)
        changes = changes_to(self.table, (self.schema, self.schema_key), coming)
        self._check_partitions(rewriting(changes))
        self._check_added(changes.added)
        check_stored_values(self.table, changes, (self.schema_key, schema_key), self._column)
        return changes

    def changes_for(self, schema: pa.Schema | None) -> SchemaChanges:
        """Compare the columns with a schema that :meth:`changes_to` has let through."""
        if schema is None or self.schema is None:
            return SchemaChanges()
        return schema_changes(self.schema, schema.remove_metadata())

    def columns_after(self, changes: SchemaChanges) -> pa.Schema:
        """Return all columns as they are stored after changes, in the order they have now."""
        types = {new.name: stored_type(new.type) for _, new in rewriting(changes)}
        kept = [pa.field(each.name, types.get(each.name, each.type)) for each in self.there]
        known = set(self.there.names)
        return pa.schema(
            kept + [each for each in stored(pa.schema(changes.added)) if each.name not in known]
        )

    def rewritten(
        self, file: DataFile, changes: SchemaChanges, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Read a file's rows in the columns that the table has after changes.

        Args:
            file: The file.
            changes: The changes.
            schema: What :meth:`columns_after` returned.

        Raises:
            DestinationError: A value has no equal in its column's new type.
        """
        retyped = {new.name: (old, new) for old, new in rewriting(changes)}
        for batch in self.reading.batches(file, self._known(schema)):
            columns = []
            for field in schema:
                if field.name not in batch.schema.names:
                    columns.append(pa.nulls(batch.num_rows, field.type))
                    continue
                column = batch.column(field.name)
                if field.name in retyped:
                    column = _retyped(column, retyped[field.name], field.type)
                columns.append(column)
            yield pa.record_batch(columns, schema=schema)

    def _known(self, schema: pa.Schema) -> pa.Schema:
        known = set(self.there.names)
        return pa.schema([self.there.field(name) for name in schema.names if name in known])

    @contextmanager
    def _column(self, column: pa.Field) -> Iterator[Iterable[pa.RecordBatch]]:
        """Stream one column of the rows; see :data:`ReadColumn`."""
        there = pa.schema([self.there.field(column.name)])
        batches = (batch for file in self.files for batch in self.reading.batches(file, there))
        yield as_stored(pa.RecordBatchReader.from_batches(there, batches), pa.schema([column]))

    def _check_partitions(self, retyped: Sequence[Retyped]) -> None:
        """Refuse to change the type of a column whose values are in no file."""
        for old, new in retyped:
            if new.name in self.partition_by:
                msg = (
                    f"table {self.table!r} is partitioned by {new.name!r}, whose type would have "
                    f"to change from {old.type} to {new.type}; the type of a partition column "
                    f"stays. Nothing is written. Repair the objects with the other type, or load "
                    f"the table again without that column in `partition_by`: delete its directory "
                    f"and its rows in _s3pq_objects and _s3pq_tables."
                )
                raise DestinationError(msg)

    def _check_added(self, added: Sequence[pa.Field]) -> None:
        """Refuse a column that the Delta table has already, with another type or spelling."""
        others = {each.name.lower(): each for each in self.there}
        for field in stored(pa.schema(added)):
            found = others.get(field.name.lower())
            if found is not None and found != field:
                msg = (
                    f"table {self.table!r} has to gain the column {field.name!r} of type "
                    f"{field.type}, and somebody has given it {found.name!r} of type {found.type}. "
                    f"Nothing is written. Drop or rename that column, or run the table with "
                    f"full_refresh: true."
                )
                raise DestinationError(msg)


def rewriting(changes: SchemaChanges) -> list[Retyped]:
    """Return the columns whose type changes in Delta Lake too, for which files are rewritten."""
    return [
        (old, new) for old, new in changes.retyped if stored_type(old.type) != stored_type(new.type)
    ]


def _retyped(column: pa.Array, change: Retyped, kind: pa.DataType) -> pa.Array:
    """Convert a column from what Delta Lake holds of its old type to that of its new one."""
    old, new = change
    try:
        return plain(exact(restored(column, old.type), new.type)).cast(kind)
    except InexactError as error:
        msg = f"{inexact(new, str(error))}. Somebody else wrote it. Nothing of ours is written."
        raise DestinationError(msg) from error
