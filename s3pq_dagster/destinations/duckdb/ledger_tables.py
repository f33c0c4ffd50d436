"""The ledger's three tables in DuckDB: how they are made, and which format they have."""

from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.ledger_rows import OBJECTS, SCHEMAS, TABLES
from s3pq_dagster.destinations.table_errors import check_version
from s3pq_dagster.ledger import FORMAT_VERSION

_OBJECTS_DDL = """
    table_name VARCHAR NOT NULL, bucket VARCHAR NOT NULL, key VARCHAR NOT NULL, e_tag VARCHAR,
    size BIGINT NOT NULL, last_modified TIMESTAMPTZ NOT NULL, "rows" BIGINT NOT NULL,
    status VARCHAR NOT NULL, reason VARCHAR, run_id VARCHAR NOT NULL,
    loaded_at TIMESTAMPTZ NOT NULL, refreshed BOOLEAN
"""
_TABLES_DDL = """
    table_name VARCHAR NOT NULL, bucket VARCHAR NOT NULL, prefix VARCHAR NOT NULL,
    arrow_schema BLOB, schema_key VARCHAR, fingerprint VARCHAR, "cursor" TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL, format_version INTEGER NOT NULL, layout VARCHAR
"""
_SCHEMAS_DDL = """
    table_name VARCHAR NOT NULL, version INTEGER NOT NULL, arrow_schema BLOB NOT NULL,
    since_key VARCHAR, changed_at TIMESTAMPTZ NOT NULL
"""


class LedgerTables:
    """The ledger's tables in a namespace."""

    def __init__(self, sql: Statements, namespace: str) -> None:
        """Name them, as SQL; nothing is looked up yet."""
        self._sql = sql
        self.objects, self.tables, self.schemas = (
            f"{namespace}.{name}" for name in (OBJECTS, TABLES, SCHEMAS)
        )

    def create(self) -> None:
        """Create the ledger's tables if they do not exist; bring older formats to this one."""
        self._sql.run(f"CREATE TABLE IF NOT EXISTS {self.objects} ({_OBJECTS_DDL})")
        self._sql.run(f"ALTER TABLE {self.objects} ADD COLUMN IF NOT EXISTS refreshed BOOLEAN")
        self._sql.run(f"CREATE TABLE IF NOT EXISTS {self.tables} ({_TABLES_DDL})")
        self._sql.run(f"ALTER TABLE {self.tables} ADD COLUMN IF NOT EXISTS layout VARCHAR")
        self._sql.run(f"CREATE TABLE IF NOT EXISTS {self.schemas} ({_SCHEMAS_DDL})")
        self._adopt()

    def _adopt(self) -> None:
        """Write the first version of each schema that has none."""
        self._sql.run(
            f"INSERT INTO {self.schemas} SELECT table_name, 1, arrow_schema, schema_key, "
            f"updated_at FROM {self.tables} AS t WHERE arrow_schema IS NOT NULL "
            f"AND NOT EXISTS (SELECT 1 FROM {self.schemas} AS s "
            "WHERE s.table_name = t.table_name)"
        )
        self._sql.run(
            f"UPDATE {self.tables} SET format_version = {FORMAT_VERSION} "
            f"WHERE format_version < {FORMAT_VERSION}"
        )

    def are_current(self) -> bool:
        """Return whether the ledger's tables, which exist, are of this format."""
        older = f"SELECT 1 FROM {self.tables} WHERE format_version < {FORMAT_VERSION} LIMIT 1"
        objects = self._sql.arrow(f"SELECT * FROM {self.objects} LIMIT 0")
        return "refreshed" in objects.column_names and not self._sql.rows(older)

    def check_version(self) -> None:
        """Check the format of the ledger.

        Raises:
            LedgerVersionError: A newer release wrote it.
        """
        check_version(self._sql.rows(f"SELECT max(format_version) FROM {self.tables}")[0][0])
