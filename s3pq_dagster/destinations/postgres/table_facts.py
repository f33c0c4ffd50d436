"""What the ledger in PostgreSQL has of a table as a whole: owner, schema, fingerprint, cursor."""

from datetime import UTC, datetime

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.ledger_rows import TABLES, TableRow
from s3pq_dagster.destinations.postgres.ledger_tables import LedgerTables
from s3pq_dagster.destinations.postgres.statements import Statements
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.ledger import FORMAT_VERSION


class TableFacts:
    """A table's row of ``_s3pq_tables``, and its rows of ``_s3pq_schemas``."""

    def __init__(self, connection: Statements, ledger: LedgerTables, owner: Owner) -> None:
        self._connection = connection
        self._ledger = ledger
        self._tables, self._schemas = ledger.tables, ledger.schemas
        self._owner = owner

    def row_if_exists(self) -> TableRow | None:
        """Return :meth:`row`, or ``None`` if there is no ledger at all."""
        return self.row() if TABLES in self._ledger.found() else None

    def row(self) -> TableRow | None:
        """Read what the ledger has of the table as a whole; ``None`` if it does not have it."""
        names = ("bucket", "prefix", "arrow_schema", "schema_key", "layout")
        # Through JSON, because tables of format 1 have no column of that name.
        found = self._connection.rows(
            "SELECT bucket, prefix, arrow_schema, schema_key, to_jsonb(t) ->> 'layout' "
            f"FROM {self._tables} AS t WHERE table_name = $1",
            self._owner.table,
        )
        return TableRow.of(dict(zip(names, found[0], strict=True))) if found else None

    def write(self, sealed: Commit, schema: pa.Schema | None, schema_key: str | None) -> None:
        """Store a commit's cursor and fingerprint, and a schema if it is new.

        Args:
            sealed: The commit.
            schema: The table's schema, if it is new or changed.
            schema_key: Key of the object that it comes from.
        """
        owner, now = self._owner, datetime.now(UTC).isoformat()
        self._connection.run(
            f"INSERT INTO {self._tables} AS t (table_name, bucket, prefix, fingerprint, "
            '"cursor", updated_at, layout, format_version) VALUES ($1, $2, $3, $4::text, '
            f"$5::timestamptz, $6::timestamptz, $7::text, {FORMAT_VERSION}) "
            'ON CONFLICT (table_name) DO UPDATE SET "cursor" = excluded."cursor", '
            "updated_at = excluded.updated_at, "
            "fingerprint = coalesce(excluded.fingerprint, t.fingerprint), "
            "layout = coalesce(excluded.layout, t.layout)",
            owner.table,
            owner.bucket,
            owner.prefix,
            sealed.fingerprint,
            sealed.cursor.isoformat() if sealed.cursor else None,
            now,
            owner.layout,
        )
        if schema is not None:
            self._write_schema(schemas.to_bytes(schema.remove_metadata()), schema_key, now)

    def _write_schema(self, data: bytes, schema_key: str | None, now: str) -> None:
        """Store the table's schema, as a version of its own if it is not the last one."""
        name = self._owner.table
        self._connection.run(
            f"UPDATE {self._tables} SET arrow_schema = $2, schema_key = $3 WHERE table_name = $1",
            name,
            data,
            schema_key,
        )
        self._connection.run(
            f"INSERT INTO {self._schemas} SELECT $1::text, coalesce(max(version), 0) + 1, "
            f"$2::bytea, $3::text, $4::timestamptz FROM {self._schemas} WHERE table_name = $1 "
            "HAVING (array_agg(arrow_schema ORDER BY version DESC))[1] IS DISTINCT FROM $2",
            name,
            data,
            schema_key,
            now,
        )
