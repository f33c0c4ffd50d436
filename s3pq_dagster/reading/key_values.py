"""The columns that objects' keys make, held against what the table can hold."""

from collections.abc import Sequence

import pyarrow as pa

from s3pq_dagster.errors import MalformedObjectError
from s3pq_dagster.layout.key_columns import KeyColumn, KeyColumnError
from s3pq_dagster.layout.key_reader import KeyReader
from s3pq_dagster.reading.added_columns import OUR_COLUMNS
from s3pq_dagster.reading.open_object import CheckRows, OpenObject


class KeyValues:
    """Gives objects the columns that their keys make."""

    def __init__(self, keys: KeyReader, check_rows: CheckRows) -> None:
        """Read nothing yet.

        Args:
            keys: Reads a key's columns.
            check_rows: Raises for values that the table cannot hold.
        """
        self._keys = keys
        self._check_rows = check_rows
        self._checked: tuple[Sequence[KeyColumn], pa.Schema | None] | None = None
        """The last columns that the table, as it was then, can hold."""

    def of(self, key: str) -> list[KeyColumn]:
        """Return the columns that a key makes.

        Raises:
            MalformedObjectError: The key has no value for one of them.
        """
        try:
            return self._keys.columns(key, OUR_COLUMNS)
        except KeyColumnError as error:
            raise MalformedObjectError(key, str(error)) from None

    def add_to(
        self, opened: OpenObject, columns: Sequence[KeyColumn], table: pa.Schema | None
    ) -> None:
        """Add an object's key columns, and check them unless they are the last one's.

        Args:
            opened: The object; closed if its columns are refused.
            columns: What its key makes.
            table: The table's schema, if it is known.

        Raises:
            RefusedObjectError: The table cannot hold one of their values.
        """
        opened.add_key_columns(columns)
        found = opened.key_columns
        if not found or self._checked == (found, table):  # a partition has many objects
            return
        row = {column.name: pa.array([column.value], column.type) for column in found}
        try:
            self._check_rows(pa.record_batch(row), opened.object.key)
        except BaseException:
            opened.close()
            raise
        self._checked = found, table
