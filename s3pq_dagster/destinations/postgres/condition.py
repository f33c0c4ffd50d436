"""Whether PostgreSQL could be written now, and who writes which table."""

from collections.abc import Sequence

from s3pq_dagster.destinations.condition import Condition
from s3pq_dagster.destinations.postgres.lock import holder_of
from s3pq_dagster.destinations.postgres.names import lock_key
from s3pq_dagster.destinations.postgres.statements import Statements


def condition_of(connection: Statements, namespace: str, tables: Sequence[str]) -> Condition:
    """Look at privileges and locks; nothing is locked.

    Args:
        connection: Runs the statements.
        namespace: The schema of the tables and the ledger.
        tables: Names of tables.
    """
    holders = {name: holder_of(connection, lock_key(namespace, name)) for name in tables}
    known = {name: who for name, who in holders.items() if who is not None}
    return Condition(_refusal(connection, namespace), holders=known)


def _refusal(connection: Statements, namespace: str) -> str | None:
    if connection.one("SELECT pg_is_in_recovery()"):
        return "the server is a standby, which takes no writes: name the primary"
    if connection.one("SELECT current_setting('default_transaction_read_only')") == "on":
        return "transactions are read-only: set default_transaction_read_only off for this role"
    there = connection.rows("SELECT 1 FROM pg_namespace WHERE nspname = $1", namespace)
    if not there:
        may = "SELECT has_database_privilege(current_database(), 'CREATE')"
        if connection.one(may):
            return None
        return f"schema {namespace!r} is not there, and this role may not create it: create it"
    may = "SELECT has_schema_privilege($1::text, $2::text)"
    if all(connection.one(may, namespace, privilege) for privilege in ("USAGE", "CREATE")):
        return None
    return f"this role may not create tables in schema {namespace!r}: grant it USAGE and CREATE"
