"""The entries of one table in ``_s3pq_objects`` in PostgreSQL."""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.ledger_rows import (
    OBJECT_COLUMNS,
    as_ledger,
    entry_rows,
)
from s3pq_dagster.destinations.postgres.ledger_tables import LedgerTables
from s3pq_dagster.destinations.postgres.names import quoted
from s3pq_dagster.destinations.postgres.statements import Copy, Statements
from s3pq_dagster.destinations.table_errors import check_version, loaded_meanwhile
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import UnsupportedSchemaError
from s3pq_dagster.ledger import ENTRY_COLUMNS, Entry, Ledger

_JOINED = (
    "JOIN unnest($2::text[], $3::text[], $4::bigint[]) AS e (key, e_tag, size) USING (key, e_tag)"
)
"""Joins old entries ``o`` with what :func:`_loaded` returns, as ``e``."""


class Entries:
    """The ledger entries of one table."""

    def __init__(self, connection: Statements, ledger: LedgerTables, owner: Owner) -> None:
        self._connection = connection
        self._owner = owner
        self._objects = ledger.objects
        self._tables = ledger.tables

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

    def rows(self) -> pl.DataFrame:
        """Read the table's rows of ``_s3pq_objects``, in the columns of this format."""
        *names, last = OBJECT_COLUMNS
        # Through JSON, because older formats have no column of that name.
        found = self._connection.rows(
            f"SELECT {', '.join(map(quoted, names))}, (to_jsonb(t) ->> '{last}')::boolean "
            f"FROM {self._objects} AS t WHERE table_name = $1",
            self._owner.table,
        )
        return pl.DataFrame(found, schema=OBJECT_COLUMNS, orient="row")

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

    def write(
        self,
        entries: Sequence[Entry],
        copy: Copy,
        *,
        run_id: str,
        append: bool,
        refreshed: bool,
    ) -> None:
        """Insert entries and delete those they replace.

        Raises:
            DestinationError: Another writer loaded one of the objects meanwhile.
            UnsupportedSchemaError: A key has NUL in it.
        """
        if not entries:
            return
        rows = _sendable(entry_rows(entries, self._owner, run_id, refreshed=refreshed))
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

    def mark_removed(self, keys: Sequence[str], *, run_id: str, undone: str | None) -> None:
        """Mark the loaded entries of some keys as removed, or as quarantined if undone."""
        changes = "status = 'removed'"
        if undone is not None:
            changes = "status = 'quarantined', \"rows\" = 0, reason = $4::text"
        self._connection.run(
            f"UPDATE {self._objects} SET {changes}, run_id = $2, loaded_at = now() "
            "WHERE table_name = $1 AND status = 'loaded' AND key = ANY($3)",
            self._owner.table,
            run_id,
            list(keys),
            *([] if undone is None else [undone]),
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
