"""The rows of one table in DuckDB."""

from collections.abc import Sequence

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.batches import regrouped
from s3pq_dagster.destinations.duckdb.failures import refusals_told
from s3pq_dagster.destinations.duckdb.names import quoted
from s3pq_dagster.destinations.duckdb.statements import Statements

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
        self.sql = f"{namespace}.{quoted(name)}"
        self._has_staged_rows = False

    def create(self, schema: pa.Schema) -> None:
        """Create the table, without rows."""
        with self._sql.registered("_s3pq_new", schemas.empty_table(schema)):
            self._sql.run(f"CREATE TABLE {self.sql} AS SELECT * FROM _s3pq_new")

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
