"""The ledger in PostgreSQL, as far as it concerns one table."""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.ledger_rows import TABLES, TableRow, as_ledger, entry_rows
from s3pq_dagster.destinations.postgres.ledger_tables import LedgerTables
from s3pq_dagster.destinations.postgres.names import quoted
from s3pq_dagster.destinations.postgres.statements import Copy, Statements
from s3pq_dagster.destinations.table_errors import check_version, loaded_meanwhile
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.errors import UnsupportedSchemaError
from s3pq_dagster.ledger import ENTRY_COLUMNS, FORMAT_VERSION, Entry, Ledger

_JOINED = (
    "JOIN unnest($2::text[], $3::text[], $4::bigint[]) AS e (key, e_tag, size) USING (key, e_tag)"
)
"""Joins old entries ``o`` with what :func:`_loaded` returns, as ``e``."""


class Entries:
    """The ledger entries of one table."""

    def __init__(self, connection: Statements, namespace: str, owner: Owner) -> None:
        self._connection = connection
        self._owner = owner
        self.in_database = LedgerTables(connection, namespace)
        self._objects = self.in_database.objects
        self._tables = self.in_database.tables
        self._schemas = self.in_database.schemas

    def delete(self) -> None:
        """Delete everything the ledger has about the table, but for the history of its schema."""
        for table in (self._objects, self._tables):
            self._connection.run(f"DELETE FROM {table} WHERE table_name = $1", self._owner.table)

    def forget(self, keys: Sequence[str]) -> None:
        """Delete the entries of some keys."""
        self._connection.run(
            f"DELETE FROM {self._objects} WHERE table_name = $1 AND key = ANY($2)",
            self._owner.table,
            list(keys),
        )

    def ledger(self) -> Ledger:
        """Read the table's entries.

        Raises:
            LedgerVersionError: A newer release wrote the ledger.
        """
        check_version(self._connection.one(f"SELECT max(format_version) FROM {self._tables}"))
        names = ", ".join(quoted(name) for name in ENTRY_COLUMNS)
        found = self._connection.rows(
            f"SELECT {names} FROM {self._objects} WHERE table_name = $1", self._owner.table
        )
        return as_ledger(pl.DataFrame(found, schema=ENTRY_COLUMNS, orient="row"))

    def table_row_if_exists(self) -> TableRow | None:
        """Return :meth:`table_row`, or ``None`` if there is no ledger at all."""
        return self.table_row() if TABLES in self.in_database.found() else None

    def table_row(self) -> TableRow | None:
        """Read what the ledger has of the table as a whole; ``None`` if it does not have it."""
        names = ("bucket", "prefix", "arrow_schema", "schema_key", "layout")
        # Through JSON, because tables of format 1 have no column of that name.
        found = self._connection.rows(
            "SELECT bucket, prefix, arrow_schema, schema_key, to_jsonb(t) ->> 'layout' "
            f"FROM {self._tables} AS t WHERE table_name = $1",
            self._owner.table,
        )
        return TableRow.of(dict(zip(names, found[0], strict=True))) if found else None

    def rows_of(self, keys: Sequence[str]) -> dict[str, int]:
        """Return the number of rows, by the ledger, of those of the keys that are loaded."""
        found = self._connection.rows(
            f'SELECT key, sum("rows")::bigint FROM {self._objects} '
            "WHERE table_name = $1 AND status = 'loaded' AND key = ANY($2) GROUP BY key",
            self._owner.table,
            list(keys),
        )
        return dict(found)

    def rows_of_resized(self, entries: Sequence[Entry]) -> dict[str, int]:
        """Return the number of rows, by the ledger, of objects that come with another size.

        Those are the objects of new loaded entries whose e_tag is loaded already.
        """
        found = self._connection.rows(
            f'SELECT o.key, sum(o."rows")::bigint FROM {self._objects} AS o {_JOINED} '
            "WHERE o.table_name = $1 AND o.status = 'loaded' AND o.size <> e.size GROUP BY o.key",
            self._owner.table,
            *_loaded(entries),
        )
        return dict(found)

    def last_command(self) -> int:
        """Return the number of this transaction's last command that wrote entries; 0 if none did.

        Entries are written after their rows, so every row inserted by a command of a lower number
        belongs to an earlier checkpoint.
        """
        # A transaction numbers its commands; cmin of a row is the command that inserted it. The
        # number means something only in the transaction itself, which xmin picks out.
        return int(
            self._connection.one(
                f"SELECT coalesce(max(cmin::text::bigint), 0) FROM {self._objects} "
                "WHERE table_name = $1 AND xmin = pg_current_xact_id()::xid",
                self._owner.table,
            )
        )

    def write(self, entries: Sequence[Entry], copy: Copy, *, run_id: str, append: bool) -> None:
        """Insert entries and delete those they replace.

        Raises:
            DestinationError: Another writer loaded one of the objects meanwhile.
            UnsupportedSchemaError: A key has NUL in it.
        """
        if not entries:
            return
        rows = _sendable(entry_rows(entries, self._owner, run_id))
        self._refuse_loaded_meanwhile(entries)
        replaced = (
            "(o.e_tag IS NOT DISTINCT FROM e.e_tag AND o.status <> 'loaded') "
            "OR (o.e_tag = e.e_tag AND e.status = 'loaded')"
        )
        if not append:
            replaced = "e.status = 'loaded' OR o.status <> 'loaded'"
        self._connection.run(
            f"DELETE FROM {self._objects} AS o USING "
            "unnest($2::text[], $3::text[], $4::text[]) AS e (key, e_tag, status) "
            f"WHERE o.table_name = $1 AND o.key = e.key AND ({replaced})",
            self._owner.table,
            [entry.object.key for entry in entries],
            [entry.object.e_tag for entry in entries],
            [str(entry.status) for entry in entries],
        )
        copy(self._objects, rows.schema, rows.to_batches())

    def mark_removed(self, keys: Sequence[str], *, run_id: str) -> None:
        """Mark the loaded entries of some keys as removed."""
        self._connection.run(
            f"UPDATE {self._objects} SET status = 'removed', run_id = $2, loaded_at = now() "
            "WHERE table_name = $1 AND status = 'loaded' AND key = ANY($3)",
            self._owner.table,
            run_id,
            list(keys),
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

    def _refuse_loaded_meanwhile(self, entries: Sequence[Entry]) -> None:
        """Raise if another writer loaded one of the new entries since the ledger was read."""
        found = self._connection.rows(
            f"SELECT o.key FROM {self._objects} AS o {_JOINED} "
            "WHERE o.table_name = $1 AND o.status = 'loaded' AND o.size = e.size",
            self._owner.table,
            *_loaded(entries),
        )
        if found:
            raise loaded_meanwhile(self._owner.table, [key for (key,) in found])


def _loaded(entries: Sequence[Entry]) -> tuple[list[str], list[str | None], list[int]]:
    """Return keys, e_tags and sizes of the loaded entries, as parameters of a query."""
    found = [entry.object for entry in entries if entry.status == "loaded"]
    return [o.key for o in found], [o.e_tag for o in found], [o.size for o in found]


def _sendable(frame: pl.DataFrame) -> pa.Table:
    """Convert ledger rows to what PostgreSQL stores: text without NUL.

    Raises:
        UnsupportedSchemaError: A key or e_tag has NUL in it.
    """
    for name in ("key", "e_tag"):
        found = frame.filter(pl.col(name).str.contains("\x00", literal=True))
        if not found.is_empty():
            msg = (
                f"the ledger in PostgreSQL cannot hold the {name} {found[name][0]!r} of an object "
                f"of table {frame['table_name'][0]!r}: it has NUL in it. Rename the object, or "
                f"leave the table out with `skip_tables`."
            )
            raise UnsupportedSchemaError(msg)
    shown = frame.with_columns(pl.col("reason").str.replace_all("\x00", "\\x00", literal=True))
    table = shown.to_arrow()
    target = pa.schema([(f.name, schemas.canonical_type(f.type)) for f in table.schema])
    return table.cast(target)
