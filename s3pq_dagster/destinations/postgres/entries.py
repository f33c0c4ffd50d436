"""The ledger's two tables in PostgreSQL, as far as they concern one table."""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES, as_ledger, entry_rows
from s3pq_dagster.destinations.postgres.names import lock_key, quoted
from s3pq_dagster.destinations.postgres.statements import Copy, Statements
from s3pq_dagster.destinations.table_errors import check_version, loaded_meanwhile
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.errors import UnsupportedSchemaError
from s3pq_dagster.ledger import ENTRY_COLUMNS, FORMAT_VERSION, Entry, Ledger

_OBJECTS_DDL = """
    table_name text NOT NULL, bucket text NOT NULL, key text NOT NULL, e_tag text,
    size bigint NOT NULL, last_modified timestamptz NOT NULL, "rows" bigint NOT NULL,
    status text NOT NULL, reason text, run_id text NOT NULL, loaded_at timestamptz NOT NULL
"""
_TABLES_DDL = """
    table_name text PRIMARY KEY, bucket text NOT NULL, prefix text NOT NULL,
    arrow_schema bytea, schema_key text, fingerprint text, "cursor" timestamptz,
    updated_at timestamptz NOT NULL, format_version integer NOT NULL
"""
_ONCE = "table_name, key, status, coalesce(e_tag, ''), size, last_modified"
"""Columns of a unique index: no entry is stored twice, even if two writers got past the locks.

Lookups use the first columns."""
_JOINED = (
    "JOIN unnest($2::text[], $3::text[], $4::bigint[]) AS e (key, e_tag, size) USING (key, e_tag)"
)
"""Joins old entries ``o`` with what :func:`_loaded` returns, as ``e``."""


class Entries:
    """The ledger entries of one table."""

    def __init__(self, connection: Statements, namespace: str, owner: Owner) -> None:
        self._connection = connection
        self._namespace = namespace
        self._owner = owner
        self._objects = f"{quoted(namespace)}.{OBJECTS}"
        self._tables = f"{quoted(namespace)}.{TABLES}"

    def found(self) -> set[str]:
        """Return the names of the ledger's tables that exist."""
        found = self._connection.rows(
            "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
            f"WHERE nspname = $1 AND relname IN ('{OBJECTS}', '{TABLES}')",
            self._namespace,
        )
        return {name for (name,) in found}

    def exist(self) -> bool:
        """Return whether both of the ledger's tables exist."""
        return self.found() == {OBJECTS, TABLES}

    def create(self) -> None:
        """Create the namespace and the ledger's tables; called in a transaction."""
        # IF NOT EXISTS is no protection: two transactions may both find nothing, and the second
        # fails. The lock makes one wait for the other; it ends with the transaction.
        self._connection.run("SELECT pg_advisory_xact_lock($1)", lock_key(self._namespace, ""))
        if self.exist():
            return
        there = self._connection.rows(
            "SELECT 1 FROM pg_namespace WHERE nspname = $1", self._namespace
        )
        if not there:
            self._connection.run(f"CREATE SCHEMA {quoted(self._namespace)}")
        self._connection.run(f"CREATE TABLE {self._objects} ({_OBJECTS_DDL})")
        self._connection.run(f"CREATE UNIQUE INDEX _s3pq_objects_once ON {self._objects} ({_ONCE})")
        self._connection.run(f"CREATE TABLE {self._tables} ({_TABLES_DDL})")

    def delete(self) -> None:
        """Delete everything the ledger has about the table."""
        for table in (self._objects, self._tables):
            self._connection.run(f"DELETE FROM {table} WHERE table_name = $1", self._owner.table)

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

    def table_row_if_exists(self) -> tuple[str, str, pa.Schema | None, str | None] | None:
        """Return :meth:`table_row`, or ``None`` if there is no ledger at all."""
        return self.table_row() if TABLES in self.found() else None

    def table_row(self) -> tuple[str, str, pa.Schema | None, str | None] | None:
        """Read the table's bucket, prefix, Arrow schema and the key the schema comes from.

        Returns:
            ``None`` if the ledger does not have the table.
        """
        found = self._connection.rows(
            f"SELECT bucket, prefix, arrow_schema, schema_key FROM {self._tables} "
            "WHERE table_name = $1",
            self._owner.table,
        )
        if not found:
            return None
        bucket, prefix, data, schema_key = found[0]
        return bucket, prefix, None if data is None else schemas.from_bytes(data), schema_key

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
        """Store a commit's cursor and fingerprint; the first schema and its key stay."""
        owner = self._owner
        self._connection.run(
            f"INSERT INTO {self._tables} AS t VALUES ($1, $2, $3, $4::bytea, $5::text, $6::text, "
            f"$7::timestamptz, $8::timestamptz, {FORMAT_VERSION}) "
            'ON CONFLICT (table_name) DO UPDATE SET "cursor" = excluded."cursor", '
            "updated_at = excluded.updated_at, "
            "fingerprint = coalesce(excluded.fingerprint, t.fingerprint), "
            "arrow_schema = coalesce(t.arrow_schema, excluded.arrow_schema), "
            "schema_key = coalesce(t.schema_key, excluded.schema_key)",
            owner.table,
            owner.bucket,
            owner.prefix,
            None if schema is None else schemas.to_bytes(schema.remove_metadata()),
            None if schema is None else schema_key,
            sealed.fingerprint,
            sealed.cursor.isoformat() if sealed.cursor else None,
            datetime.now(UTC).isoformat(),
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
