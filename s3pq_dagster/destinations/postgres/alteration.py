"""Gives a table other columns; errors say what is in the way."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import psycopg
import pyarrow as pa

from s3pq_dagster.destinations.outcomes import ROLLED_BACK
from s3pq_dagster.destinations.postgres.connection import Connection
from s3pq_dagster.destinations.postgres.conversions import converted, json_function
from s3pq_dagster.destinations.postgres.failures import message, state_of
from s3pq_dagster.destinations.postgres.lock import OPEN_IN
from s3pq_dagster.destinations.postgres.names import quoted
from s3pq_dagster.destinations.postgres.stored_column import doubtful_values
from s3pq_dagster.destinations.postgres.table import Table, takes
from s3pq_dagster.destinations.postgres.types import form_of
from s3pq_dagster.destinations.postgres.url import PostgresUrl
from s3pq_dagster.destinations.widening import changes_to, check_stored_values
from s3pq_dagster.drift.changes import SchemaChanges
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationLockedError,
    S3ParquetError,
    UnsupportedSchemaError,
)

_LOCK_TIMEOUT, _NOT_SUPPORTED, _DENIED = "55P03", "0A", "42501"
_OF_SYNTAX = "42"
"""Beginning of the SQLSTATE where an index, a default or a constraint is not for the new type."""
_DEPENDENT = """
    SELECT DISTINCT coalesce(
        (SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view '
                ELSE 'a rule on ' END || c.oid::regclass
         FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class
         WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid),
        pg_describe_object(d.classid, d.objid, d.objsubid))
    FROM pg_depend AS d
    JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($1::text)
    AND a.attname = ANY($2::text[])
    AND (d.classid IN ('pg_class'::regclass, 'pg_constraint'::regclass)) <> $3::boolean
    ORDER BY 1
"""
"""What uses columns: views and the like, or else indexes and constraints."""


def change_table(
    connection: Connection,
    table: Table,
    owner: str,
    stored: tuple[pa.Schema | None, str | None],
    coming: tuple[pa.Schema, str | None],
) -> bool:
    """Add the columns that rows have and their table has not, and change types that differ.

    For that the table is locked against everybody, readers too, until the transaction ends.

    Args:
        connection: In a transaction.
        table: The table, as it was last written.
        owner: The table's name in the ledger.
        stored: The schema that it was written with, and the key of the object that it comes from.
        coming: The same of the rows.

    Returns:
        Whether anything differs.

    Raises:
        SchemaMismatchError: A stored value has no equal in the new type.
        DestinationLockedError: Somebody has the table open for too long.
        DestinationDeniedError: Something uses a column whose type is to change.
        UnsupportedSchemaError: Somebody added a column of the same name.
    """
    changes = changes_to(owner, stored, coming)
    if not changes:
        return False
    read = partial(doubtful_values, connection, table.sql)
    with _alone_with(connection, table, changes):
        check_stored_values(owner, changes, (stored[1], coming[1]), read)
        _alter(connection, table, changes)
    return True


@contextmanager
def _alone_with(connection: Connection, table: Table, changes: SchemaChanges) -> Iterator[None]:
    url = connection.url
    try:
        with connection.savepoint():
            connection.run(f"LOCK TABLE {table.sql} IN ACCESS EXCLUSIVE MODE")
            yield
    except psycopg.Error as error:
        state, said = state_of(error), url.masked(message(error))
        if state == _LOCK_TIMEOUT:
            who = dict(connection.rows(OPEN_IN, table.sql))
            raise _open_elsewhere(table.name, url, said, list(who.values())) from error
        columns = [new.name for _, new in changes.retyped]
        if columns and state.startswith((_NOT_SUPPORTED, _OF_SYNTAX)) and state != _DENIED:
            is_used = state.startswith(_NOT_SUPPORTED)
            users = [u for (u,) in connection.rows(_DEPENDENT, table.sql, columns, is_used)]
            raise _in_the_way(table.name, url, said, (columns, users)) from error
        raise


def _alter(connection: Connection, table: Table, changes: SchemaChanges) -> None:
    there = table.columns()
    if taken := [each.name for each in changes.added if each.name in there]:
        msg = (
            f"table {table.name!r} in PostgreSQL has a column {taken[0]!r} that somebody added, "
            f"and the objects now bring one of that name. Nothing of this checkpoint is written. "
            f"Rename or drop the column, and run again."
        )
        raise UnsupportedSchemaError(msg)
    steps = [f"ADD COLUMN {quoted(e.name)} {form_of(e.type).sql}" for e in changes.added]
    functions: list[str] = []
    for old, new in changes.retyped:
        name, form = quoted(new.name), form_of(new.type)
        how = converted(new.name, old.type, new.type)
        if definition := json_function(old.type, new.type):
            functions.append(table.beside(f"_s3pq_converted_{len(functions)}"))
            connection.run(f"CREATE FUNCTION {functions[-1]} {definition}")
            how = f"{functions[-1]}({name})"
        elif takes(there[new.name], form.sql):
            continue  # as it is stored, or a wider type that somebody gave it
        steps.append(f"ALTER COLUMN {name} TYPE {form.sql} USING {how}")
    if steps:  # in one statement, so that the rows are written anew only once
        connection.run(f"ALTER TABLE {table.sql} {', '.join(steps)}")
    for function in functions:
        connection.run(f"DROP FUNCTION {function}(json)")


def _open_elsewhere(
    name: str, url: PostgresUrl, said: str, who: Sequence[str]
) -> DestinationLockedError:
    return DestinationLockedError(
        f"the columns of table {name!r} in {url} have to change, and somebody reads the table, or "
        f"has it open in a transaction ({'; '.join(who) or 'gone by now'}): {said}. {ROLLED_BACK} "
        f"If it stays open, end that transaction or raise lock_timeout_seconds."
    )


def _in_the_way(
    name: str, url: PostgresUrl, said: str, found: tuple[Sequence[str], Sequence[str]]
) -> S3ParquetError:
    columns, users = (", ".join(each) for each in (map(repr, found[0]), found[1]))
    return DestinationDeniedError(
        f"the type of {columns} in table {name!r} in {url} has to change, and what uses the column "
        f"is in the way: {users or 'something'} ({said}). {ROLLED_BACK} Drop or change what is in "
        f"the way, run again, and make it anew."
    )
