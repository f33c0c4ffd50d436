"""The rows of one table."""

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
_BEFORE = "(t.xmin <> pg_current_xact_id()::xid OR t.cmin::text::bigint < {mark})"
"""Rows that other transactions inserted, or this one before it came to a mark."""


class Table:
    """A table by its name in the database, be it there or not."""

    def __init__(self, connection: Statements, namespace: str, name: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._name = name
        self.sql = f"{quoted(namespace)}.{quoted(name)}"

    def exists(self) -> bool:
        """Tell whether it is there, or anything else of its name."""
        return bool(
            self._connection.rows(
                "SELECT 1 FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
                "WHERE nspname = $1 AND relname = $2",
                self._namespace,
                self._name,
            )
        )

    def keep(self) -> None:
        """Let nobody put another table in its place before this transaction ends.

        Before its first look: a snapshot does not show the rows of a table that came later.
        """
        self._connection.run(f"LOCK TABLE {self.sql} IN ACCESS SHARE MODE")

    def columns(self) -> dict[str, str]:
        """Give names and types of the columns, in their order."""
        found = self._connection.rows(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped "
            "ORDER BY attnum",
            self.sql,
        )
        return dict(found)

    def count(self) -> int:
        """Count its rows, which takes a pass over it."""
        return int(self._connection.one(f"SELECT count(*) FROM {self.sql}"))

    def count_by_key(self) -> list[tuple[str | None, int]]:
        """Count its rows by object."""
        found = self._connection.rows(f"SELECT {KEY_COLUMN}, count(*) FROM {self.sql} GROUP BY 1")
        return [(key, rows) for key, rows in found]

    def create(self, schema: pa.Schema) -> None:
        """Make it."""
        columns = ", ".join(f"{quoted(n)} {kind}" for n, kind in _columns(schema).items())
        self._connection.run(f"CREATE TABLE {self.sql} ({columns})")

    def check(self, schema: pa.Schema) -> None:
        """See that it still has the columns that it was made with.

        COPY's binary format has no types: what is written for a bigint, a numeric takes for
        something else, and that without an error.

        Raises:
            UnsupportedSchemaError: Somebody altered it.
        """
        there = self.columns()
        found = [
            f"{name!r} is {there.get(name, 'not there')}, not {kind}"
            for name, kind in _columns(schema).items()
            if not _takes(there.get(name, ""), kind)
        ]
        if found:
            msg = (
                f"table {self._name!r} in PostgreSQL was altered: {'; '.join(found)}. Values "
                f"would be changed, so nothing is written. Alter it back, or run the table with "
                f"full_refresh, which makes it anew."
            )
            raise UnsupportedSchemaError(msg)

    def fits(self, schema: pa.Schema) -> bool:
        """Tell whether it has the columns that it would be made with."""
        return self.columns() == _columns(schema)

    def empty(self) -> int:
        """Delete all rows, which others see until the transaction ends."""
        return self._deleted("TRUE")

    def drop(self) -> None:
        """Drop it; waits for everybody who reads it."""
        self._connection.run(f"DROP TABLE {self.sql}")

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._connection.run(f"ALTER TABLE {self.sql} RENAME TO {quoted(name)}")

    def insert(self, batches: pa.RecordBatchReader, copy: Copy) -> int:
        """Append rows; give their number.

        Raises:
            UnsupportedSchemaError: A value cannot be held unchanged.
        """
        return sum(copy(self.sql, schema, rows) for schema, rows in sendable(batches, _JOIN_ROWS))

    def delete(self, keys: Sequence[str]) -> int:
        """Delete the rows of some objects; give their number."""
        return self._deleted(f"t.{KEY_COLUMN} = ANY($1)", list(keys))

    def delete_before(self, said: Mapping[str, int], now: Mapping[str, int], mark: int) -> int:
        """Delete those rows of some objects that were there before the last insert.

        ``xmin`` says so, with 32 of the 64 bits of a transaction's number: one in four milliards
        meets a row whose number it has. Then rows of two versions are left, and that is counted.

        Args:
            said: By key, the rows that the ledger says were there.
            now: By key, the rows that were inserted.
            mark: The command of this transaction before which everything is old.

        Returns:
            The number of rows deleted.
        """
        keys = list(said)
        gone = self._deleted(f"{_BEFORE.format(mark=int(mark))} AND t.{KEY_COLUMN} = ANY($1)", keys)
        if gone == sum(said.values()):
            return gone
        left = self._connection.one(
            f"SELECT count(*) FROM {self.sql} AS t WHERE t.{KEY_COLUMN} = ANY($1)", keys
        )
        if left != (expected := sum(now.get(key, 0) for key in keys)):
            msg = (
                f"table {self._name!r} would have {left} rows of {len(keys)} replaced objects "
                f"instead of {expected}, {keys[0]!r} among them. Nothing of this checkpoint is "
                f"written; run again."
            )
            raise DestinationError(msg)
        return gone

    def strays(self, owner: str, keys: Sequence[str], mark: int) -> list[tuple[str, int, int]]:
        """Find those of some objects that had more rows than the ledger says, and both numbers.

        Args:
            owner: The table's name in the ledger.
            keys: Of the objects.
            mark: As :meth:`delete_before`.
        """
        return [
            (key, int(rows), int(said))
            for key, rows, said in self._connection.rows(
                f"SELECT t.{KEY_COLUMN}, count(*), coalesce(max(o.said), 0) FROM {self.sql} AS t "
                f'LEFT JOIN (SELECT key, sum("rows")::bigint AS said FROM '
                f"{quoted(self._namespace)}.{OBJECTS} "
                "WHERE table_name = $1 AND status = 'loaded' GROUP BY key) AS o "
                f"ON o.key = t.{KEY_COLUMN} "
                f"WHERE {_BEFORE.format(mark=int(mark))} AND t.{KEY_COLUMN} = ANY($2) "
                "GROUP BY 1 HAVING count(*) > coalesce(max(o.said), 0) ORDER BY 1",
                owner,
                list(keys),
            )
        ]

    def _deleted(self, which: str, *parameters: list[str]) -> int:
        return int(
            self._connection.one(
                f"WITH gone AS (DELETE FROM {self.sql} AS t WHERE {which} RETURNING 1) "
                "SELECT count(*) FROM gone",
                *parameters,
            )
        )


def _takes(there: str, kind: str) -> bool:
    """Tell whether a column takes values of a type unchanged, or with an error."""
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
