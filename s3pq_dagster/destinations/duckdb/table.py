"""The rows of one table in DuckDB."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.batches import as_stored, regrouped
from s3pq_dagster.destinations.duckdb.failures import first_line, refusals_told
from s3pq_dagster.destinations.duckdb.names import quoted
from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.duckdb.types import as_type
from s3pq_dagster.destinations.widening import changes_to, check_stored_values
from s3pq_dagster.drift.changes import SchemaChanges
from s3pq_dagster.errors import DestinationError

_ROW_GROUP_ROWS = 122_880
"""Rows that DuckDB stores together. It regroups batches of any other size by itself, in one thread,
which doubles the time an object of a million rows takes."""
_STAGED = "temp.main._s3pq_staged"
"""The full name of the temporary table: a namespace of the file may be named ``temp`` as well."""
_ALL_ROWS = "TRUE"


class Table:
    """A table by its name in the file, whether it exists or not."""

    def __init__(self, sql: Statements, namespace: str, name: str) -> None:
        self._sql = sql
        self._name = name
        self.sql = f"{namespace}.{quoted(name)}"
        self._has_staged_rows = False

    def create(self, schema: pa.Schema) -> None:
        """Create the table, without rows."""
        with self._sql.registered("_s3pq_new", schemas.empty_table(schema)):
            self._sql.run(f"CREATE TABLE {self.sql} AS SELECT * FROM _s3pq_new")

    def become(
        self, stored: tuple[pa.Schema | None, str | None], coming: tuple[pa.Schema, str | None]
    ) -> bool:
        """Give the table columns that it has not, and columns other types.

        Args:
            stored: The stored schema, and the key of the object that it comes from.
            coming: The schema that the table is to have, and its object's key.

        Returns:
            Whether anything changed.

        Raises:
            SchemaMismatchError: A stored value has no equal in its column's new type.
            DestinationError: An index is in the way.
        """
        changes = changes_to(self._name, stored, coming)
        if changes:
            check_stored_values(self._name, changes, (stored[1], coming[1]), self._stored_column)
            self._alter(changes, coming[0])
        return bool(changes)

    def _alter(self, changes: SchemaChanges, schema: pa.Schema) -> None:
        before, after = self._types_of(self.sql), self._sql_types(schema)
        self._check_added(changes, before)
        for each in changes.added:
            self._sql.run(
                f"ALTER TABLE {self.sql} ADD COLUMN {quoted(each.name)} {after[each.name]}"
            )
        for old, new in changes.retyped:
            if before[new.name] == after[new.name]:
                continue
            name = quoted(new.name)
            with self._indexes_told(new.name):
                self._sql.run(
                    f"ALTER TABLE {self.sql} ALTER COLUMN {name} TYPE {after[new.name]} "
                    f"USING {as_type(name, old.type, after[new.name])}"
                )

    def _check_added(self, changes: SchemaChanges, there: Iterable[str]) -> None:
        known = {schemas.folded(name): name for name in there}
        if found := [each.name for each in changes.added if schemas.folded(each.name) in known]:
            raise DestinationError(
                f"table {self._name!r} is to get a column {found[0]!r} and has one of that name, "
                f"which no load has made. Nothing is written. Drop or rename it, then run again."
            )

    @contextmanager
    def _stored_column(self, column: pa.Field) -> Iterator[pa.RecordBatchReader]:
        """Stream a column of the rows that are stored; see :data:`ReadColumn`."""
        found = self._sql.reader(f"SELECT {quoted(column.name)} FROM {self.sql}")
        try:
            yield as_stored(found, pa.schema([column]))
        finally:
            found.close()

    def _types_of(self, table: str) -> dict[str, str]:
        return {row[0]: row[1] for row in self._sql.rows(f"DESCRIBE SELECT * FROM {table}")}

    def _sql_types(self, schema: pa.Schema) -> dict[str, str]:
        """Return DuckDB's types of a schema's columns."""
        with self._sql.registered("_s3pq_new", schemas.empty_table(schema)):
            return self._types_of("_s3pq_new")

    @contextmanager
    def _indexes_told(self, column: str) -> Iterator[None]:
        # They are looked up before: after an error the transaction answers no more.
        names = ", ".join(map(repr, self._indexes())) or "something"
        try:
            yield
        except (duckdb.DependencyException, duckdb.CatalogException) as error:
            raise DestinationError(
                f"the type of column {column!r} of table {self._name!r} has to change, and the "
                f"index {names} on it is in the way: {first_line(error)}. Nothing is "
                f"written. Drop the index, run again, and create it anew."
            ) from error

    def _indexes(self) -> list[str]:
        found = self._sql.rows(
            "SELECT index_name, database_name, schema_name, table_name FROM duckdb_indexes() "
            "ORDER BY ALL"
        )
        this = schemas.folded(self.sql)
        return [
            index for index, *name in found if schemas.folded(".".join(map(quoted, name))) == this
        ]

    def drop(self) -> None:
        """Drop the table if it exists."""
        self._sql.run(f"DROP TABLE IF EXISTS {self.sql}")

    def count(self) -> int:
        """Count the rows."""
        return int(self._sql.rows(f"SELECT count(*) FROM {self.sql}")[0][0])

    def count_by_key(self) -> list[tuple[str | None, int]]:
        """Count the rows of each object."""
        found = self._sql.rows(f"SELECT _s3_key, count(*) FROM {self.sql} GROUP BY ALL")
        return [(key, rows) for key, rows in found]

    def insert(self, batches: pa.RecordBatchReader) -> str | None:
        """Insert rows, or stage them until :meth:`insert_staged`.

        Returns:
            An SQL condition that holds for the rows that were in the table before, and for none
            of these; ``None`` if there were no rows before.
        """
        # DuckDB numbers rows in the order of insertion, so the largest rowid of now parts old rows
        # from new ones. A column of that name hides the number; new rows then wait in a temporary
        # table until the old ones are deleted.
        self._has_staged_rows = any(schemas.folded(n) == b"rowid" for n in batches.schema.names)
        if self._has_staged_rows:
            self._sql.run(
                f"CREATE OR REPLACE TEMP TABLE {_STAGED} AS SELECT * FROM {self.sql} LIMIT 0"
            )
            self._insert_into(_STAGED, batches)
            return _ALL_ROWS
        last = self._sql.rows(f"SELECT max(rowid) FROM {self.sql}")[0][0]
        self._insert_into(self.sql, batches)
        return None if last is None else f"rowid <= {int(last)}"

    def insert_staged(self) -> None:
        """Insert the rows that :meth:`insert` has staged, if any."""
        if not self._has_staged_rows:
            return
        self._sql.run(f"INSERT INTO {self.sql} BY NAME SELECT * FROM {_STAGED}")
        self._sql.run(f"DROP TABLE {_STAGED}")
        self._has_staged_rows = False

    def delete(self, keys: Sequence[str], among: str = _ALL_ROWS) -> int:
        """Delete the rows of some objects.

        Args:
            keys: Of the objects.
            among: Only rows for which this SQL condition holds.

        Returns:
            The number of rows deleted.
        """
        deleted = self._sql.rows(
            f"DELETE FROM {self.sql} WHERE {among} AND _s3_key IN (SELECT unnest(?::VARCHAR[]))",
            [list(keys)],
        )
        return int(deleted[0][0])

    def unaccounted(
        self, owner: str, objects: str, keys: Sequence[str], among: str
    ) -> list[tuple[str, int, int]]:
        """Find objects that have more rows in the table than the ledger says.

        Args:
            owner: The table's name in the ledger.
            objects: The ledger's table of objects, as SQL.
            keys: Which objects to look at.
            among: Only rows for which this SQL condition holds are counted.

        Returns:
            Key, rows in the table and rows in the ledger.
        """
        return [
            (key, rows, said)
            for key, rows, said in self._sql.rows(
                f"SELECT _s3_key, count(*), any_value(coalesce(said, 0)) FROM {self.sql} "
                f'LEFT JOIN (SELECT key, sum("rows") AS said FROM {objects} '
                "WHERE table_name = ? AND status = 'loaded' GROUP BY key) ON key = _s3_key "
                f"WHERE {among} AND _s3_key IN (SELECT unnest(?::VARCHAR[])) "
                "GROUP BY _s3_key HAVING count(*) > any_value(coalesce(said, 0)) ORDER BY _s3_key",
                [owner, list(keys)],
            )
        ]

    def _insert_into(self, table: str, batches: pa.RecordBatchReader) -> None:
        groups = pa.RecordBatchReader.from_batches(
            batches.schema, regrouped(batches, _ROW_GROUP_ROWS)
        )
        with refusals_told(), self._sql.registered("_s3pq_batches", groups):
            self._sql.run(f"INSERT INTO {table} BY NAME SELECT * FROM _s3pq_batches")
