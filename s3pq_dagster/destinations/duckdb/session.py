"""One table over one open connection: its rows and its ledger."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.batches import cut_to
from s3pq_dagster.destinations.duckdb.failures import translated
from s3pq_dagster.destinations.duckdb.names import quoted
from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.duckdb.types import check_schema
from s3pq_dagster.destinations.ledger_rows import as_ledger, entry_rows
from s3pq_dagster.destinations.table_errors import (
    check_version,
    has_strays,
    loaded_meanwhile,
    not_managed,
)
from s3pq_dagster.destinations.table_state import Commit, Owner, TableAudit, TableState
from s3pq_dagster.errors import TableNotManagedError
from s3pq_dagster.ledger import ENTRY_COLUMNS, FORMAT_VERSION, Entry, Ledger, Status

_ROW_GROUP_ROWS = 122_880
"""DuckDB stores so many rows together. What comes in other pieces it puts together anew, which
takes an object of a million rows twice as long: one thread does that."""
_STAGED = "temp.main._s3pq_staged"
"""In full: a namespace of the file may be named ``temp`` as well."""
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


class Session:
    """One table over one open connection."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        namespace: str,
        owner: Owner,
        *,
        run_id: str = "",
        append: bool = False,
    ) -> None:
        self._connection = connection
        self._sql = Statements(connection)
        self._path = path
        self._namespace = namespace
        self._owner = owner
        self._run_id = run_id
        self._append = append
        self._has_strays = False
        self._state: TableState | None = None
        """What was found, while this holds the file alone and has not written since."""
        self._known: set[str] | None = None
        """What of ours is there, once asked: DuckDB looks at every table of the file for it."""
        database = self._sql.rows("SELECT current_database()")[0][0]
        space = f"{quoted(database)}.{quoted(namespace)}"  # one word may name both
        self._space = space
        self.table = f"{space}.{quoted(owner.table)}"
        self._objects = f"{space}._s3pq_objects"
        self._tables = f"{space}._s3pq_tables"

    def create_ledger(self) -> None:
        """Create namespace and ledger if they are not there."""
        with self.transaction():
            self._sql.run(f"CREATE SCHEMA IF NOT EXISTS {self._space}")
            self._sql.run(f"CREATE TABLE IF NOT EXISTS {self._objects} ({_OBJECTS_DDL})")
            self._sql.run(f"CREATE TABLE IF NOT EXISTS {self._tables} ({_TABLES_DDL})")
        self._known = None

    def start_over(self) -> None:
        """Drop the table and its entries; visible to nobody until the transaction commits."""
        self._state = None
        name = [self._owner.table]
        self._sql.run(f"DROP TABLE IF EXISTS {self.table}")
        self._known = None
        self._sql.run(f"DELETE FROM {self._objects} WHERE table_name = ?", name)
        self._sql.run(f"DELETE FROM {self._tables} WHERE table_name = ?", name)

    def state(self) -> TableState:
        """Read ledger and schema; check that they are ours and belong together."""
        if self._state is None:
            self._state = self._read_state()
        return self._state

    def _read_state(self) -> TableState:
        found = self._found()
        exists = self._owner.table in found
        if not {"_s3pq_objects", "_s3pq_tables"} & found and not exists:
            return TableState.nothing()
        if not {"_s3pq_objects", "_s3pq_tables"} <= found:
            missing = sorted({"_s3pq_objects", "_s3pq_tables"} - found)
            left = sorted({"_s3pq_objects", "_s3pq_tables"} & found)
            raise self._not_managed(
                f"{' and '.join(missing)} is not there",
                f"drop {' and '.join([*left, 'every table'])} that was loaded with it",
            )
        check_version(self._sql.rows(f"SELECT max(format_version) FROM {self._tables}")[0][0])
        schema, schema_key = self._check_owner(exists=exists)
        rows = self._sql.rows(f"SELECT count(*) FROM {self.table}")[0][0] if exists else 0
        ledger = self._ledger()
        self._has_strays = rows > ledger.rows
        if not exists and ledger.count(Status.LOADED):
            raise self._not_managed("its objects are in _s3pq_objects but the table is not there")
        return TableState(ledger, exists, schema, schema_key, rows)

    def audit(self) -> TableAudit:
        """See :meth:`Destination.audit`."""
        with self.transaction():  # one snapshot for both looks
            state = self.state()
            count = f"SELECT _s3_key, count(*) FROM {self.table} GROUP BY ALL"
            return TableAudit.of(state, self._sql.rows(count) if state.exists else [])

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """See :meth:`TableWriter.commit`."""
        if batches is not None:
            check_schema(batches.schema, schema_key)
        self._state = None
        with translated(self._path), self.transaction():
            if batches is None:
                sealed = seal()
            else:
                self._create_table(batches.schema)
                sealed = self._replace(batches, seal)
            self._write_entries(sealed.entries)
            schema = None if batches is None else batches.schema
            self._write_table(sealed, schema, schema_key)

    def remove(self, keys: Sequence[str], *, seal: Callable[[], Commit]) -> int:
        """See :meth:`TableWriter.remove`."""
        self._state = None
        with translated(self._path), self.transaction():
            gone = self._sql.rows(
                f"DELETE FROM {self.table} WHERE _s3_key IN (SELECT unnest(?::VARCHAR[]))",
                [list(keys)],
            )[0][0]
            self._sql.run(
                f"UPDATE {self._objects} SET status = 'removed', run_id = ?, loaded_at = ? "
                "WHERE table_name = ? AND status = 'loaded' "
                "AND key IN (SELECT unnest(?::VARCHAR[]))",
                [self._run_id, datetime.now(UTC), self._owner.table, list(keys)],
            )
            self._write_table(seal(), None, None)
        return int(gone)

    def stored_schema(self) -> pa.Schema | None:
        """The Arrow schema the table was made with."""
        if "_s3pq_tables" not in self._found():
            return None
        found = self._sql.rows(
            f"SELECT arrow_schema FROM {self._tables} WHERE table_name = ?", [self._owner.table]
        )
        return schemas.from_bytes(found[0][0]) if found and found[0][0] is not None else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; inside another, a part of that."""
        try:
            with self._sql.transaction():
                yield
        except BaseException:
            self._known = None  # a table that was made is gone, one that was dropped is there
            raise

    def _create_table(self, schema: pa.Schema) -> None:
        if self._owner.table in self._found():
            return
        with self._sql.registered("_s3pq_new", schema.empty_table()):
            self._sql.run(f"CREATE TABLE {self.table} AS SELECT * FROM _s3pq_new")
        self._known = None

    def _insert(self, into: str, batches: pa.RecordBatchReader) -> None:
        groups = pa.RecordBatchReader.from_batches(batches.schema, cut_to(batches, _ROW_GROUP_ROWS))
        with self._sql.registered("_s3pq_batches", groups):
            self._sql.run(f"INSERT INTO {into} BY NAME SELECT * FROM _s3pq_batches")

    def _replace(self, batches: pa.RecordBatchReader, seal: Callable[[], Commit]) -> Commit:
        """Insert, then delete the rows of earlier versions: those that were there before.

        Which objects those are is known only once the batches are drained.
        """
        if any(schemas.folded(name) == b"rowid" for name in batches.schema.names):
            return self._replace_staged(batches, seal)
        mark = self._sql.rows(f"SELECT max(rowid) FROM {self.table}")[0][0]
        self._insert(self.table, batches)
        sealed = seal()
        if mark is not None:
            self._refuse_strays(sealed, f"rowid <= {int(mark)}")
        if mark is not None and not self._append:
            self._delete_replaced(sealed, f"rowid <= {int(mark)}")
        return sealed

    def _replace_staged(self, batches: pa.RecordBatchReader, seal: Callable[[], Commit]) -> Commit:
        """Do so where a column hides DuckDB's own ``rowid``, by way of a temporary table."""
        self._sql.run(
            f"CREATE OR REPLACE TEMP TABLE {_STAGED} AS SELECT * FROM {self.table} LIMIT 0"
        )
        self._insert(_STAGED, batches)
        sealed = seal()
        self._refuse_strays(sealed, "TRUE")
        if not self._append:
            self._delete_replaced(sealed, "TRUE")
        self._sql.run(f"INSERT INTO {self.table} BY NAME SELECT * FROM {_STAGED}")
        self._sql.run(f"DROP TABLE {_STAGED}")
        return sealed

    def _delete_replaced(self, sealed: Commit, before: str) -> None:
        keys = sealed.loaded_keys
        replaced = self._sql.rows(
            f"SELECT DISTINCT key FROM {self._objects} WHERE table_name = ? AND status = 'loaded' "
            "AND key IN (SELECT unnest(?::VARCHAR[]))",
            [self._owner.table, keys],
        )
        if replaced:
            self._sql.run(
                f"DELETE FROM {self.table} WHERE {before} "
                "AND _s3_key IN (SELECT unnest(?::VARCHAR[]))",
                [[key for (key,) in replaced]],
            )

    def _refuse_strays(self, sealed: Commit, before: str) -> None:
        """Stop if the table has rows of these objects already that no entry accounts for.

        Somebody deleted the entry: the rows would be there twice. That takes a look at the whole
        column, so only where the table has more rows than the ledger says.
        """
        if not self._has_strays:
            return
        keys = sealed.loaded_keys
        strays = self._sql.rows(
            f"SELECT _s3_key, count(*), any_value(coalesce(said, 0)) FROM {self.table} LEFT JOIN "
            f'(SELECT key, sum("rows") AS said FROM {self._objects} '
            "WHERE table_name = ? AND status = 'loaded' GROUP BY key) ON key = _s3_key "
            f"WHERE {before} AND _s3_key IN (SELECT unnest(?::VARCHAR[])) "
            "GROUP BY _s3_key HAVING count(*) > any_value(coalesce(said, 0)) ORDER BY _s3_key",
            [self._owner.table, keys],
        )
        if strays:
            raise has_strays(self._owner.table, strays)

    def _write_entries(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        frame = entry_rows(entries, self._owner, self._run_id)
        same = "o.table_name = e.table_name AND o.key = e.key"
        gone = "o.e_tag IS NOT DISTINCT FROM e.e_tag AND o.status <> 'loaded'"
        if not self._append:
            gone = "e.status = 'loaded' OR o.status <> 'loaded'"
        with self._sql.registered("_s3pq_entries", frame.to_arrow()):
            self._refuse_loaded_again(same)
            self._sql.run(
                f"DELETE FROM {self._objects} AS o USING _s3pq_entries AS e "
                f"WHERE {same} AND ({gone})"
            )
            self._sql.run(f"INSERT INTO {self._objects} BY NAME SELECT * FROM _s3pq_entries")

    def _refuse_loaded_again(self, same: str) -> None:
        """Stop if another writer loaded one of these since the ledger was asked."""
        again = self._sql.rows(
            f"SELECT o.key FROM {self._objects} AS o JOIN _s3pq_entries AS e ON {same} "
            "WHERE o.status = 'loaded' AND e.status = 'loaded' AND o.e_tag = e.e_tag"
        )
        if again:
            raise loaded_meanwhile(self._owner.table, [key for (key,) in again])

    def _write_table(
        self, sealed: Commit, schema: pa.Schema | None, schema_key: str | None
    ) -> None:
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

    def _check_owner(self, *, exists: bool) -> tuple[pa.Schema | None, str | None]:
        owner = self._owner
        found = self._sql.rows(
            f"SELECT bucket, prefix, arrow_schema, schema_key FROM {self._tables} "
            "WHERE table_name = ?",
            [owner.table],
        )
        if not found:
            if exists:
                raise self._not_managed("it has no row in _s3pq_tables")
            return None, None
        bucket, prefix, data, schema_key = found[0]
        owner.check(bucket, prefix)
        if data is not None and not exists:
            raise self._not_managed("its row in _s3pq_tables is there but the table is not")
        return (None if data is None else schemas.from_bytes(data)), schema_key

    def _not_managed(self, found: str, *remedy: str) -> TableNotManagedError:
        return not_managed(self._owner.table, found, *remedy)

    def _ledger(self) -> Ledger:
        names = ", ".join(f'"{name}"' for name in ENTRY_COLUMNS)
        relation = self._connection.sql(
            f"SELECT {names} FROM {self._objects} WHERE table_name = ?",
            params=[self._owner.table],
        )
        return as_ledger(pl.DataFrame(relation.to_arrow_table()))

    def _found(self) -> set[str]:
        if self._known is None:
            self._known = self._looked_up()
        return self._known

    def _looked_up(self) -> set[str]:
        found = self._sql.rows(
            "SELECT schema_name, table_name FROM duckdb_tables() "
            "WHERE database_name = current_database() "
            "AND lower(table_name) IN ('_s3pq_objects', '_s3pq_tables', lower(?))",
            [self._owner.table],
        )
        # SQL's lower() folds all letters; DuckDB takes names for the same by ASCII alone.
        here = schemas.folded(self._namespace)
        there = {schemas.folded(name) for space, name in found if schemas.folded(space) == here}
        names = ("_s3pq_objects", "_s3pq_tables", self._owner.table)
        return {name for name in names if schemas.folded(name) in there}
