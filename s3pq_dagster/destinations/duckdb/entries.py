"""The ledger's two tables in DuckDB, as far as they concern one table."""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES, as_ledger, entry_rows
from s3pq_dagster.destinations.table_errors import check_version, loaded_meanwhile
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.ledger import ENTRY_COLUMNS, FORMAT_VERSION, Entry, Ledger

_OBJECTS_DDL = """
    table_name VARCHAR NOT NULL, bucket VARCHAR NOT NULL, key VARCHAR NOT NULL, e_tag VARCHAR,
    size BIGINT NOT NULL, last_modified TIMESTAMPTZ NOT NULL, "rows" BIGINT NOT NULL,
    status VARCHAR NOT NULL, reason VARCHAR, run_id VARCHAR NOT NULL, loaded_at TIMESTAMPTZ NOT NULL
"""
_TABLES_DDL = """
    table_name VARCHAR NOT NULL, bucket VARCHAR NOT NULL, prefix VARCHAR NOT NULL,
    arrow_schema BLOB, schema_key VARCHAR, fingerprint VARCHAR, "cursor" TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL, format_version INTEGER NOT NULL
"""


class Entries:
    """The ledger entries of one table."""

    def __init__(self, sql: Statements, namespace: str, owner: Owner) -> None:
        """Name the ledger; nothing is looked up yet.

        Args:
            sql: Runs the statements.
            namespace: Where the ledger is, as SQL.
            owner: The table, and the bucket and prefix it comes from.
        """
        self._sql = sql
        self._owner = owner
        self.objects = f"{namespace}.{OBJECTS}"
        self._tables = f"{namespace}.{TABLES}"

    def create(self) -> None:
        """Create the ledger's tables if they do not exist."""
        self._sql.run(f"CREATE TABLE IF NOT EXISTS {self.objects} ({_OBJECTS_DDL})")
        self._sql.run(f"CREATE TABLE IF NOT EXISTS {self._tables} ({_TABLES_DDL})")

    def delete(self) -> None:
        """Delete everything the ledger has about the table."""
        for ledger_table in (self.objects, self._tables):
            self._sql.run(f"DELETE FROM {ledger_table} WHERE table_name = ?", [self._owner.table])

    def ledger(self) -> Ledger:
        """Read the table's entries."""
        names = ", ".join(f'"{name}"' for name in ENTRY_COLUMNS)
        found = self._sql.arrow(
            f"SELECT {names} FROM {self.objects} WHERE table_name = ?", [self._owner.table]
        )
        return as_ledger(pl.DataFrame(found))

    def check_version(self) -> None:
        """Check the format of the ledger.

        Raises:
            LedgerVersionError: A newer release wrote it.
        """
        check_version(self._sql.rows(f"SELECT max(format_version) FROM {self._tables}")[0][0])

    def table_row(self) -> tuple[str, str, pa.Schema | None, str | None] | None:
        """Read the table's bucket, prefix, Arrow schema and the key the schema comes from.

        Returns:
            ``None`` if the ledger does not have the table.
        """
        found = self._sql.rows(
            f"SELECT bucket, prefix, arrow_schema, schema_key FROM {self._tables} "
            "WHERE table_name = ?",
            [self._owner.table],
        )
        if not found:
            return None
        bucket, prefix, data, schema_key = found[0]
        return bucket, prefix, None if data is None else schemas.from_bytes(data), schema_key

    def loaded_among(self, keys: Sequence[str]) -> list[str]:
        """Return those of the keys that have a loaded entry."""
        found = self._sql.rows(
            f"SELECT DISTINCT key FROM {self.objects} WHERE table_name = ? AND status = 'loaded' "
            "AND key IN (SELECT unnest(?::VARCHAR[]))",
            [self._owner.table, list(keys)],
        )
        return [key for (key,) in found]

    def write(self, entries: Sequence[Entry], *, run_id: str, append: bool) -> None:
        """Insert entries and delete those they replace.

        Raises:
            DestinationError: Another writer loaded one of the objects meanwhile.
        """
        if not entries:
            return
        frame = entry_rows(entries, self._owner, run_id)
        same = "o.table_name = e.table_name AND o.key = e.key"
        replaced = "o.e_tag IS NOT DISTINCT FROM e.e_tag AND o.status <> 'loaded'"
        if not append:
            replaced = "e.status = 'loaded' OR o.status <> 'loaded'"
        with self._sql.registered("_s3pq_entries", frame.to_arrow()):
            self._refuse_loaded_meanwhile(same)
            self._sql.run(
                f"DELETE FROM {self.objects} AS o USING _s3pq_entries AS e "
                f"WHERE {same} AND ({replaced})"
            )
            self._sql.run(f"INSERT INTO {self.objects} BY NAME SELECT * FROM _s3pq_entries")

    def mark_removed(self, keys: Sequence[str], *, run_id: str) -> None:
        """Mark the loaded entries of some keys as removed."""
        self._sql.run(
            f"UPDATE {self.objects} SET status = 'removed', run_id = ?, loaded_at = ? "
            "WHERE table_name = ? AND status = 'loaded' "
            "AND key IN (SELECT unnest(?::VARCHAR[]))",
            [run_id, datetime.now(UTC), self._owner.table, list(keys)],
        )

    def write_table_row(
        self, sealed: Commit, schema: pa.Schema | None, schema_key: str | None
    ) -> None:
        """Store a commit's cursor and fingerprint; the first schema and its key stay."""
        owner, now = self._owner, datetime.now(UTC)
        if not self._sql.rows(f"SELECT 1 FROM {self._tables} WHERE table_name = ?", [owner.table]):
            self._sql.run(
                f"INSERT INTO {self._tables} VALUES (?, ?, ?, NULL, NULL, NULL, NULL, ?, ?)",
                [owner.table, owner.bucket, owner.prefix, now, FORMAT_VERSION],
            )
        self._sql.run(
            f'UPDATE {self._tables} SET "cursor" = ?, updated_at = ?, '
            "fingerprint = coalesce(?, fingerprint), arrow_schema = coalesce(arrow_schema, ?), "
            "schema_key = coalesce(schema_key, ?) WHERE table_name = ?",
            [
                sealed.cursor,
                now,
                sealed.fingerprint,
                None if schema is None else schemas.to_bytes(schema.remove_metadata()),
                None if schema is None else schema_key,
                owner.table,
            ],
        )

    def _refuse_loaded_meanwhile(self, same: str) -> None:
        """Raise if another writer loaded one of the new entries since the ledger was read."""
        found = self._sql.rows(
            f"SELECT o.key FROM {self.objects} AS o JOIN _s3pq_entries AS e ON {same} "
            "WHERE o.status = 'loaded' AND e.status = 'loaded' AND o.e_tag = e.e_tag"
        )
        if found:
            raise loaded_meanwhile(self._owner.table, [key for (key,) in found])
