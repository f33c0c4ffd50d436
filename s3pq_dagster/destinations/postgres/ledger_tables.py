"""The ledger's three tables in PostgreSQL: whether they are there, and how they are made."""

from s3pq_dagster.destinations.ledger_rows import OBJECTS, SCHEMAS, TABLES
from s3pq_dagster.destinations.postgres.names import lock_key, quoted
from s3pq_dagster.destinations.postgres.statements import Statements
from s3pq_dagster.ledger import FORMAT_VERSION

_DDL = {
    OBJECTS: """
    table_name text NOT NULL, bucket text NOT NULL, key text NOT NULL, e_tag text,
    size bigint NOT NULL, last_modified timestamptz NOT NULL, "rows" bigint NOT NULL,
    status text NOT NULL, reason text, run_id text NOT NULL, loaded_at timestamptz NOT NULL,
    refreshed boolean
""",
    TABLES: """
    table_name text PRIMARY KEY, bucket text NOT NULL, prefix text NOT NULL,
    arrow_schema bytea, schema_key text, fingerprint text, "cursor" timestamptz,
    updated_at timestamptz NOT NULL, format_version integer NOT NULL, layout text
""",
    SCHEMAS: """
    table_name text NOT NULL, version integer NOT NULL, arrow_schema bytea NOT NULL,
    since_key text, changed_at timestamptz NOT NULL, UNIQUE (table_name, version)
""",
}
_ADDED = {TABLES: ("layout", "text"), OBJECTS: ("refreshed", "boolean")}
"""Columns that older formats do not have, and their types."""
_ONCE = "table_name, key, status, coalesce(e_tag, ''), size, last_modified"
"""Columns of a unique index: no entry is stored twice, even if two writers got past the locks.

Lookups use the first columns."""


class LedgerTables:
    """The ledger's tables in a namespace, whether they exist or not."""

    def __init__(self, connection: Statements, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self.objects, self.tables, self.schemas = (
            f"{quoted(namespace)}.{name}" for name in (OBJECTS, TABLES, SCHEMAS)
        )

    def found(self) -> set[str]:
        """Return the names of the ledger's tables that exist."""
        found = self._connection.rows(
            "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
            f"WHERE nspname = $1 AND relname IN ('{OBJECTS}', '{TABLES}', '{SCHEMAS}')",
            self._namespace,
        )
        return {name for (name,) in found}

    def are_current(self) -> bool:
        """Return whether all of the ledger's tables exist, and no row in them is older."""
        if len(self.found()) < len(_DDL) or not all(map(self._has_added, _ADDED)):
            return False
        # An older release may have written a table's first row meanwhile.
        return not self._connection.rows(
            f"SELECT 1 FROM {self.tables} WHERE format_version < {FORMAT_VERSION} LIMIT 1"
        )

    def create(self) -> None:
        """Create the namespace and the tables, or bring those of older formats to this one.

        Called in a transaction. What is there already is not touched: CREATE … IF NOT EXISTS and
        ALTER … IF NOT EXISTS take the permission even where nothing is done.
        """
        # IF NOT EXISTS is no protection either: two transactions may both find nothing, and the
        # second fails. The lock makes one wait for the other; it ends with the transaction.
        self._connection.run("SELECT pg_advisory_xact_lock($1)", lock_key(self._namespace, ""))
        self._create_namespace()
        found = self.found()
        for name in _DDL:
            if name not in found:
                self._create(name)
        for name, (column, kind) in _ADDED.items():
            if not self._has_added(name):
                table = f"{quoted(self._namespace)}.{name}"
                self._connection.run(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self._adopt()

    def _create_namespace(self) -> None:
        there = self._connection.rows(
            "SELECT 1 FROM pg_namespace WHERE nspname = $1", self._namespace
        )
        if not there:
            self._connection.run(f"CREATE SCHEMA {quoted(self._namespace)}")

    def _create(self, name: str) -> None:
        table = f"{quoted(self._namespace)}.{name}"
        self._connection.run(f"CREATE TABLE {table} ({_DDL[name]})")
        if name == OBJECTS:
            self._connection.run(f"CREATE UNIQUE INDEX _s3pq_objects_once ON {table} ({_ONCE})")

    def _has_added(self, name: str) -> bool:
        """Return whether one of the ledger's tables has the column that older formats lack."""
        return bool(
            self._connection.rows(
                "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1::text) "
                "AND attname = $2 AND NOT attisdropped",
                f"{quoted(self._namespace)}.{name}",
                _ADDED[name][0],
            )
        )

    def _adopt(self) -> None:
        """Take over what older formats have; format 1 lacks the first version of each schema."""
        self._connection.run(
            f"INSERT INTO {self.schemas} SELECT table_name, 1, arrow_schema, schema_key, "
            f"updated_at FROM {self.tables} AS t WHERE arrow_schema IS NOT NULL AND NOT EXISTS "
            f"(SELECT 1 FROM {self.schemas} AS s WHERE s.table_name = t.table_name)"
        )
        self._connection.run(
            f"UPDATE {self.tables} SET format_version = {FORMAT_VERSION} "
            f"WHERE format_version < {FORMAT_VERSION}"
        )
