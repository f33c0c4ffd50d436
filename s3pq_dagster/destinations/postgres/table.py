"""The rows of one table in PostgreSQL."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from s3pq_dagster.destinations.ledger_rows import OBJECTS
from s3pq_dagster.destinations.postgres.names import quoted
from s3pq_dagster.destinations.postgres.statements import Copy, Statements
from s3pq_dagster.destinations.postgres.types import form_of
from s3pq_dagster.destinations.postgres.values import sendable
from s3pq_dagster.errors import DestinationError, UnsupportedSchemaError
from s3pq_dagster.schemas import KEY_COLUMN

_JOIN_ROWS = 32_768
_OLD_ROWS = "(t.xmin <> pg_current_xact_id()::xid OR t.cmin::text::bigint < {mark})"
"""Condition for rows that other transactions inserted, or this one by a command before ``mark``."""


class Table:
    """A table by its name in the database, whether it exists or not."""

    def __init__(self, connection: Statements, namespace: str, name: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self.name = name
        self.sql = self.beside(name)

    def beside(self, name: str) -> str:
        """Return a name in the same namespace, as SQL."""
        return f"{quoted(self._namespace)}.{quoted(name)}"

    def exists(self) -> bool:
        """Return whether a table, or anything else of that name, exists."""
        return bool(
            self._connection.rows(
                "SELECT 1 FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
                "WHERE nspname = $1 AND relname = $2",
                self._namespace,
                self.name,
            )
        )

    def lock_against_replacement(self) -> None:
        """Keep others from dropping or renaming the table until this transaction ends.

        Rows can still be written. Call this before the first query of the transaction.
        """
        # The first query of a REPEATABLE READ transaction takes its snapshot. If a refresh then put
        # a new table in place of this one, a query would find the new table by name, and no row in
        # it: they are all younger than the snapshot. LOCK TABLE itself takes no snapshot.
        self._connection.run(f"LOCK TABLE {self.sql} IN ACCESS SHARE MODE")

    def columns(self) -> dict[str, str]:
        """Return names and types of the columns, in their order."""
        found = self._connection.rows(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped "
            "ORDER BY attnum",
            self.sql,
        )
        return dict(found)

    def count(self) -> int:
        """Count the rows, which reads the whole table."""
        return int(self._connection.one(f"SELECT count(*) FROM {self.sql}"))

    def count_by_key(self) -> list[tuple[str | None, int]]:
        """Count the rows of each object."""
        found = self._connection.rows(f"SELECT {KEY_COLUMN}, count(*) FROM {self.sql} GROUP BY 1")
        return [(key, rows) for key, rows in found]

    def create(self, schema: pa.Schema) -> None:
        """Create the table."""
        columns = ", ".join(f"{quoted(n)} {kind}" for n, kind in _columns(schema).items())
        self._connection.run(f"CREATE TABLE {self.sql} ({columns})")

    def check(self, schema: pa.Schema) -> None:
        """Check that the table still has the columns it was created with.

        Raises:
            UnsupportedSchemaError: Somebody altered the table.
        """
        # Values in COPY's binary format carry no type. A numeric column would read the bytes of a
        # bigint as some other number, without an error.
        there = self.columns()
        found = [
            f"{name!r} is {there.get(name, 'not there')}, not {kind}"
            for name, kind in _columns(schema).items()
            if not takes(there.get(name, ""), kind)
        ]
        if found:
            msg = (
                f"table {self.name!r} in PostgreSQL was altered: {'; '.join(found)}. Values "
                f"would be changed, so nothing is written. Alter it back, or run the table with "
                f"full_refresh, which creates it again."
            )
            raise UnsupportedSchemaError(msg)

    def fits(self, schema: pa.Schema) -> bool:
        """Return whether the table has exactly the columns it would be created with."""
        return self.columns() == _columns(schema)

    def empty(self) -> int:
        """Delete all rows; others see them until the transaction commits."""
        return self._deleted("TRUE")

    def drop(self) -> None:
        """Drop the table, after waiting for everybody who reads it."""
        self._connection.run(f"DROP TABLE {self.sql}")

    def rename(self, name: str) -> None:
        """Rename the table."""
        self._connection.run(f"ALTER TABLE {self.sql} RENAME TO {quoted(name)}")

    def insert(self, batches: pa.RecordBatchReader, copy: Copy, piece_bytes: int) -> int:
        """Append rows.

        Returns:
            The number of rows.

        Raises:
            RefusedRowsError: A value cannot be stored unchanged.
        """
        sent = sendable(batches, _JOIN_ROWS, piece_bytes)
        return sum(copy(self.sql, schema, rows) for schema, rows in sent)

    def delete(self, keys: Sequence[str]) -> int:
        """Delete the rows of some objects and return how many they were."""
        return self._deleted(f"t.{KEY_COLUMN} = ANY($1)", list(keys))

    def delete_old(self, before: Mapping[str, int], inserted: Mapping[str, int], mark: int) -> int:
        """Delete the rows of some objects that existed before the last insert.

        Args:
            before: Rows of each key before the insert, by the ledger.
            inserted: Rows of each key that were inserted.
            mark: Rows inserted by commands of this transaction before this one are old.

        Returns:
            The number of rows deleted.

        Raises:
            DestinationError: Old rows would be left.
        """
        # A row's xmin is the lower 32 of the 64 bits of the number of the transaction that inserted
        # it. A row from exactly 2**32 transactions ago passes for one of this transaction, and
        # would stay. So the rows are counted: a duplicate ends in an error, never in a commit.
        keys = list(before)
        old_rows = _OLD_ROWS.format(mark=int(mark))
        deleted = self._deleted(f"{old_rows} AND t.{KEY_COLUMN} = ANY($1)", keys)
        if deleted == sum(before.values()):
            return deleted
        left = self._connection.one(
            f"SELECT count(*) FROM {self.sql} AS t WHERE t.{KEY_COLUMN} = ANY($1)", keys
        )
        if left != (expected := sum(inserted.get(key, 0) for key in keys)):
            msg = (
                f"table {self.name!r} would have {left} rows of {len(keys)} replaced objects "
                f"instead of {expected}, {keys[0]!r} among them. Nothing of this checkpoint is "
                f"written; run again."
            )
            raise DestinationError(msg)
        return deleted

    def unaccounted(self, owner: str, keys: Sequence[str], mark: int) -> list[tuple[str, int, int]]:
        """Find objects that had more rows in the table than the ledger says.

        Args:
            owner: The table's name in the ledger.
            keys: Keys of the objects to check.
            mark: As in :meth:`delete_old`; newer rows are not counted.

        Returns:
            Key, rows in the table and rows by the ledger.
        """
        return [
            (key, int(rows), int(said))
            for key, rows, said in self._connection.rows(
                f"SELECT t.{KEY_COLUMN}, count(*), coalesce(max(o.said), 0) FROM {self.sql} AS t "
                f'LEFT JOIN (SELECT key, sum("rows")::bigint AS said FROM '
                f"{quoted(self._namespace)}.{OBJECTS} "
                "WHERE table_name = $1 AND status = 'loaded' GROUP BY key) AS o "
                f"ON o.key = t.{KEY_COLUMN} "
                f"WHERE {_OLD_ROWS.format(mark=int(mark))} AND t.{KEY_COLUMN} = ANY($2) "
                "GROUP BY 1 HAVING count(*) > coalesce(max(o.said), 0) ORDER BY 1",
                owner,
                list(keys),
            )
        ]

    def _deleted(self, which: str, *parameters: list[str]) -> int:
        gone = f"DELETE FROM {self.sql} AS t WHERE {which} RETURNING 1"
        counted = f"WITH gone AS ({gone}) SELECT count(*) FROM gone"
        return int(self._connection.one(counted, *parameters))


def takes(there: str, kind: str) -> bool:
    """Return whether a column of one type stores values of another unchanged, or refuses them."""
    return (
        there == kind
        or (kind == "text" and there.startswith("character varying"))
        or (kind.startswith("numeric(") and there == "numeric")
    )


def _columns(schema: pa.Schema) -> dict[str, str]:
    found = {field.name: form_of(field.type).sql for field in schema}
    if len(found) != len(schema):
        msg = "two columns have one name"
        raise UnsupportedSchemaError(msg)
    return found
