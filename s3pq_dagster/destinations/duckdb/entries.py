"""The entries of one table in ``_s3pq_objects`` in DuckDB."""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.duckdb.ledger_tables import LedgerTables
from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.ledger_rows import as_entries, as_ledger, entry_rows
from s3pq_dagster.destinations.table_errors import loaded_meanwhile
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.ledger import ENTRY_COLUMNS, Entry, Ledger

_SAME_KEY = "o.table_name = e.table_name AND o.key = e.key"
_LOADED_AGAIN = "o.status = 'loaded' AND e.status = 'loaded' AND o.e_tag = e.e_tag"
"""Condition for an old entry ``o`` whose e_tag the new entry ``e`` loads again."""


class Entries:
    """The ledger entries of one table."""

    def __init__(self, sql: Statements, ledger: LedgerTables, owner: Owner) -> None:
        self._sql = sql
        self._ledger = ledger
        self._owner = owner

    def delete(self) -> None:
        """Delete everything the ledger has about the table, but for the history of its schema."""
        for ledger_table in (self._ledger.objects, self._ledger.tables):
            self._sql.run(f"DELETE FROM {ledger_table} WHERE table_name = ?", [self._owner.table])

    def forget(self, keys: Sequence[str]) -> None:
        """Delete the entries of some keys."""
        self._sql.run(
            f"DELETE FROM {self._ledger.objects} WHERE table_name = ? "
            "AND key IN (SELECT unnest(?::VARCHAR[]))",
            [self._owner.table, list(keys)],
        )

    def ledger(self) -> Ledger:
        """Read the table's entries."""
        names = ", ".join(f'"{name}"' for name in ENTRY_COLUMNS)
        found = self._sql.arrow(
            f"SELECT {names} FROM {self._ledger.objects} WHERE table_name = ?", [self._owner.table]
        )
        return as_ledger(pl.DataFrame(found))

    def rows(self) -> pl.DataFrame:
        """Read the table's rows of ``_s3pq_objects``, in the columns of this format."""
        sql = f"SELECT * FROM {self._ledger.objects} WHERE table_name = ?"
        return as_entries(pl.DataFrame(self._sql.arrow(sql, [self._owner.table])))

    def replaced_among(self, entries: Sequence[Entry], *, append: bool) -> list[str]:
        """Return the keys of new loaded entries whose earlier rows go.

        With ``append`` those are the objects that have the same e_tag, and another size.
        """
        is_replaced = _LOADED_AGAIN if append else "o.status = 'loaded' AND e.status = 'loaded'"
        with self._sql.registered("_s3pq_entries", self._frame(entries)):
            found = self._sql.rows(
                f"SELECT DISTINCT o.key FROM {self._ledger.objects} AS o JOIN _s3pq_entries AS e "
                f"ON {_SAME_KEY} WHERE {is_replaced}"
            )
        return [key for (key,) in found]

    def write(
        self, entries: Sequence[Entry], *, run_id: str, append: bool, refreshed: bool
    ) -> None:
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
        with self._sql.registered(
            "_s3pq_entries", self._frame(entries, run_id, refreshed=refreshed)
        ):
            self._refuse_loaded_meanwhile()
            self._sql.run(
                f"DELETE FROM {self._ledger.objects} AS o USING _s3pq_entries AS e "
                f"WHERE {_SAME_KEY} AND ({replaced})"
            )
            self._sql.run(f"INSERT INTO {self._ledger.objects} BY NAME SELECT * FROM _s3pq_entries")

    def mark_removed(self, keys: Sequence[str], *, run_id: str, undone: str | None) -> None:
        """Mark the loaded entries of some keys as removed, or as quarantined if undone."""
        changes = "status = 'removed'"
        if undone is not None:
            changes = "status = 'quarantined', \"rows\" = 0, reason = ?"
        self._sql.run(
            f"UPDATE {self._ledger.objects} SET {changes}, run_id = ?, loaded_at = ? "
            "WHERE table_name = ? AND status = 'loaded' "
            "AND key IN (SELECT unnest(?::VARCHAR[]))",
            [
                *([] if undone is None else [undone]),
                run_id,
                datetime.now(UTC),
                self._owner.table,
                list(keys),
            ],
        )

    def _frame(
        self, entries: Sequence[Entry], run_id: str = "", *, refreshed: bool = False
    ) -> pa.Table:
        return entry_rows(entries, self._owner, run_id, refreshed=refreshed).to_arrow()

    def _refuse_loaded_meanwhile(self) -> None:
        """Raise if another writer loaded one of the new entries since the ledger was read."""
        found = self._sql.rows(
            f"SELECT o.key FROM {self._ledger.objects} AS o JOIN _s3pq_entries AS e ON {_SAME_KEY} "
            f"WHERE {_LOADED_AGAIN} AND o.size = e.size"
        )
        if found:
            raise loaded_meanwhile(self._owner.table, [key for (key,) in found])
