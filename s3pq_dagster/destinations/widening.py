"""What a table has to become before rows of another schema are written, and whether it can."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import pyarrow as pa

from s3pq_dagster.drift.casts import InexactError, exact, may_be_inexact
from s3pq_dagster.drift.changes import SchemaChanges, schema_changes
from s3pq_dagster.drift.fitting import EVOLVE, inexact
from s3pq_dagster.errors import SchemaMismatchError

ReadColumn = Callable[[pa.Field], AbstractContextManager[Iterable[pa.RecordBatch]]]
"""Streams one column of the rows that are stored, in the Arrow type that it was written with."""


def changes_to(
    table: str, stored: tuple[pa.Schema | None, str | None], coming: tuple[pa.Schema, str | None]
) -> SchemaChanges:
    """Compare a table's schema with that of rows that are written into it.

    Args:
        table: Its name.
        stored: The stored schema and the key of the object it comes from; ``None`` for a new table.
        coming: The schema of the rows, and the key of the object by which the table changes.

    Raises:
        SchemaMismatchError: The rows lack a column that the table has: whoever writes them has to
            give it nulls.
    """
    if stored[0] is None:
        return SchemaChanges()
    if missing := [name for name in stored[0].names if name not in set(coming[0].names)]:
        raise SchemaMismatchError(
            table,
            expected_key=str(stored[1]),
            found_key=str(coming[1]),
            differences=[f"column {name!r} is not in the rows" for name in missing],
        )
    return schema_changes(stored[0], coming[0].remove_metadata())


def check_stored_values(
    table: str, changes: SchemaChanges, keys: tuple[str | None, str | None], read: ReadColumn
) -> None:
    """Check that the stored values of columns that change their type have equals in the new one.

    Only columns for which that is in question are read: 64-bit integers that become floating-point
    numbers, and timestamps that become finer.

    Args:
        table: Its name.
        changes: The columns.
        keys: Keys of the objects that the stored schema and the new one come from.
        read: Streams one column of what is stored.

    Raises:
        SchemaMismatchError: A value has none; the error names column and value.
    """
    for old, new in changes.retyped:
        if not may_be_inexact(old.type, new.type):
            continue
        with read(old) as batches:
            for batch in batches:
                try:
                    exact(batch.column(0), new.type)
                except InexactError as error:
                    raise SchemaMismatchError(
                        table,
                        expected_key=str(keys[0]),
                        found_key=str(keys[1]),
                        differences=[f"{inexact(new, str(error))}, and it is stored already"],
                        mode=EVOLVE,
                    ) from error
