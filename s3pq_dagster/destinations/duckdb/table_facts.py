"""What the ledger in DuckDB has of one table as a whole: owner, schema, fingerprint and cursor."""

from datetime import UTC, datetime

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.duckdb.ledger_tables import LedgerTables
from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.ledger_rows import TableRow
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.ledger import FORMAT_VERSION


class TableFacts:
    """A table's row of ``_s3pq_tables``, and its rows of ``_s3pq_schemas``."""

    def __init__(self, sql: Statements, ledger: LedgerTables, owner: Owner) -> None:
        self._sql = sql
        self._tables, self._schemas = ledger.tables, ledger.schemas
        self._owner = owner
        self.stamp: datetime | None = None
        """The ``updated_at`` that was last written, whether it is committed or not."""

    def row(self) -> TableRow | None:
        """Read what the ledger has of the table as a whole; ``None`` if it does not have it."""
        # Without its times: making Python's of the first one costs 0.4 s.
        sql = f'SELECT * EXCLUDE ("cursor", updated_at) FROM {self._tables} WHERE table_name = ?'
        found = self._sql.arrow(sql, [self._owner.table]).to_pylist()
        return TableRow.of(found[0]) if found else None

    def stored_schema(self) -> tuple[pa.Schema | None, str | None]:
        """Read the table's schema and the key of the object that it comes from."""
        row = self.row()
        return (None, None) if row is None else (row.schema, row.schema_key)

    def has_stamp(self, stamp: datetime) -> bool:
        """Return whether the table's last commit is the one that wrote this ``updated_at``."""
        sql = f"SELECT 1 FROM {self._tables} WHERE table_name = ? AND updated_at = ?"
        return bool(self._sql.rows(sql, [self._owner.table, stamp]))

    def case_twin(self) -> str | None:
        """Return the name of another table that DuckDB takes for this one, if there is one."""
        name = self._owner.table
        found = self._sql.rows(f"SELECT table_name FROM {self._tables}")
        wanted = schemas.folded(name)
        others = (other for (other,) in found if schemas.folded(other) == wanted)
        return next((other for other in others if other != name), None)

    def write(self, sealed: Commit, schema: pa.Schema | None, schema_key: str | None) -> None:
        """Store a commit's cursor and fingerprint, and a schema if it is new.

        Args:
            sealed: The commit.
            schema: The table's schema, if it is new or changed.
            schema_key: Key of the object that it comes from.
        """
        owner, now = self._owner, datetime.now(UTC)
        self.stamp = now
        if not self._sql.rows(f"SELECT 1 FROM {self._tables} WHERE table_name = ?", [owner.table]):
            self._sql.run(
                f"INSERT INTO {self._tables} VALUES (?, ?, ?, NULL, NULL, NULL, NULL, ?, ?, NULL)",
                [owner.table, owner.bucket, owner.prefix, now, FORMAT_VERSION],
            )
        self._sql.run(
            f'UPDATE {self._tables} SET "cursor" = ?, updated_at = ?, '
            "fingerprint = coalesce(?, fingerprint), layout = coalesce(?, layout) "
            "WHERE table_name = ?",
            [sealed.cursor, now, sealed.fingerprint, owner.layout, owner.table],
        )
        if schema is not None:
            self._write_schema(schema, schema_key, now)

    def _write_schema(self, schema: pa.Schema, schema_key: str | None, now: datetime) -> None:
        """Store the table's schema, as a version of its own if it is not the last one."""
        name, data = self._owner.table, schemas.to_bytes(schema.remove_metadata())
        self._sql.run(
            f"UPDATE {self._tables} SET arrow_schema = ?, schema_key = ? WHERE table_name = ?",
            [data, schema_key, name],
        )
        self._sql.run(
            f"INSERT INTO {self._schemas} SELECT ?, coalesce(max(version), 0) + 1, ?, ?, ? "
            f"FROM {self._schemas} WHERE table_name = ? "
            "HAVING arg_max(arrow_schema, version) IS DISTINCT FROM ?",
            [name, data, schema_key, now, name, data],
        )
