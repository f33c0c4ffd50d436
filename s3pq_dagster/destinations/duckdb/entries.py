"""The ledger's two tables in DuckDB, as far as they concern one table."""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.ledger_rows import (
    OBJECTS,
    SCHEMAS,
    TABLES,
    TableRow,
    as_ledger,
    entry_rows,
)
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
    updated_at TIMESTAMPTZ NOT NULL, format_version INTEGER NOT NULL, layout VARCHAR
"""
_SCHEMAS_DDL = """
    table_name VARCHAR NOT NULL, version INTEGER NOT NULL, arrow_schema BLOB NOT NULL,
    since_key VARCHAR, changed_at TIMESTAMPTZ NOT NULL
"""
_SAME_KEY = "o.table_name = e.table_name AND o.key = e.key"
_LOADED_AGAIN = "o.status = 'loaded' AND e.status = 'loaded' AND o.e_tag = e.e_tag"
"""Condition for an old entry ``o`` whose e_tag the new entry ``e`` loads again."""


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
        self._schemas = f"{namespace}.{SCHEMAS}"
        self.stamp: datetime | None = None
        """The ``updated_at`` that was last written, whether it is committed or not."""

    def create(self) -> None:
        """Create the ledger's tables if they do not exist; bring those of format 1 to format 2."""
        self._sql.run(f"CREATE TABLE IF NOT EXISTS {self.objects} ({_OBJECTS_DDL})")
        self._sql.run(f"CREATE TABLE IF NOT EXISTS {self._tables} ({_TABLES_DDL})")
        self._sql.run(f"ALTER TABLE {self._tables} ADD COLUMN IF NOT EXISTS layout VARCHAR")
        self._sql.run(f"CREATE TABLE IF NOT EXISTS {self._schemas} ({_SCHEMAS_DDL})")
        self._adopt()

    def _adopt(self) -> None:
        """Write the first version of each schema that has none."""
        self._sql.run(
            f"INSERT INTO {self._schemas} SELECT table_name, 1, arrow_schema, schema_key, "
            f"updated_at FROM {self._tables} AS t WHERE arrow_schema IS NOT NULL "
            f"AND NOT EXISTS (SELECT 1 FROM {self._schemas} AS s "
            "WHERE s.table_name = t.table_name)"
        )
        self._sql.run(f"UPDATE {self._tables} SET format_version = 2 WHERE format_version < 2")

    def delete(self) -> None:
        """Delete everything the ledger has about the table."""
        for ledger_table in (self.objects, self._tables):
            self._sql.run(f"DELETE FROM {ledger_table} WHERE table_name = ?", [self._owner.table])

    def forget(self, keys: Sequence[str]) -> None:
        """Delete the entries of some keys."""
        self._sql.run(
            f"DELETE FROM {self.objects} WHERE table_name = ? "
            "AND key IN (SELECT unnest(?::VARCHAR[]))",
            [self._owner.table, list(keys)],
        )

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

    def table_row(self) -> TableRow | None:
        """Read what the ledger has of the table as a whole; ``None`` if it does not have it."""
        # Without its times: making Python's of the first one costs 0.4 s.
        sql = f'SELECT * EXCLUDE ("cursor", updated_at) FROM {self._tables} WHERE table_name = ?'
        found = self._sql.arrow(sql, [self._owner.table]).to_pylist()
        return TableRow.of(found[0]) if found else None

    def stored_schema(self) -> tuple[pa.Schema | None, str | None]:
        """Read the table's schema and the key of the object that it comes from."""
        row = self.table_row()
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

    def replaced_among(self, entries: Sequence[Entry], *, append: bool) -> list[str]:
        """Return the keys of new loaded entries whose earlier rows go.

        With ``append`` those are the objects that have the same e_tag, and another size.
        """
        is_replaced = _LOADED_AGAIN if append else "o.status = 'loaded' AND e.status = 'loaded'"
        with self._sql.registered("_s3pq_entries", self._frame(entries)):
            found = self._sql.rows(
                f"SELECT DISTINCT o.key FROM {self.objects} AS o JOIN _s3pq_entries AS e "
                f"ON {_SAME_KEY} WHERE {is_replaced}"
            )
        return [key for (key,) in found]

    def write(self, entries: Sequence[Entry], *, run_id: str, append: bool) -> None:
        """Insert entries and delete those they replace.

        Raises:
            DestinationError: Another writer loaded one of the objects meanwhile.
        """
        if not entries:
            return
        replaced = "o.e_tag IS NOT DISTINCT FROM e.e_tag AND o.status <> 'loaded'"
        replaced = f"({replaced}) OR ({_LOADED_AGAIN})"
        if not append:
            replaced = "e.status = 'loaded' OR o.status <> 'loaded'"
        with self._sql.registered("_s3pq_entries", self._frame(entries, run_id)):
            self._refuse_loaded_meanwhile()
            self._sql.run(
                f"DELETE FROM {self.objects} AS o USING _s3pq_entries AS e "
                f"WHERE {_SAME_KEY} AND ({replaced})"
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

    def _frame(self, entries: Sequence[Entry], run_id: str = "") -> pa.Table:
        return entry_rows(entries, self._owner, run_id).to_arrow()

    def _refuse_loaded_meanwhile(self) -> None:
        """Raise if another writer loaded one of the new entries since the ledger was read."""
        found = self._sql.rows(
            f"SELECT o.key FROM {self.objects} AS o JOIN _s3pq_entries AS e ON {_SAME_KEY} "
            f"WHERE {_LOADED_AGAIN} AND o.size = e.size"
        )
        if found:
            raise loaded_meanwhile(self._owner.table, [key for (key,) in found])
