"""What people want to know of a table in DuckDB, beside its state."""

import polars as pl

from s3pq_dagster.destinations.duckdb.statements import Statements
from s3pq_dagster.destinations.ledger_rows import OBJECTS, SCHEMAS
from s3pq_dagster.destinations.table_look import TableLook
from s3pq_dagster.destinations.table_state import TableState


def look_of(
    sql: Statements, namespace: str, table: str, state: TableState, there: set[str]
) -> TableLook:
    """Add to a table's state its runs and schemas; a transaction has to be open.

    Args:
        sql: Runs the statements.
        namespace: Where the ledger is, as SQL.
        table: The table.
        state: Its state in this transaction.
        there: Which of the ledger's tables exist.
    """
    if OBJECTS not in there:
        return TableLook.empty()
    runs = sql.arrow(
        'SELECT run_id, status, count(*) AS objects, sum("rows")::BIGINT AS "rows", '
        f"max(loaded_at) AS at FROM {namespace}.{OBJECTS} WHERE table_name = ? GROUP BY ALL",
        [table],
    )
    versions = pl.DataFrame()
    if SCHEMAS in there:
        found = f"SELECT * FROM {namespace}.{SCHEMAS} WHERE table_name = ?"
        versions = pl.DataFrame(sql.arrow(found, [table]))
    return TableLook.of(state, pl.DataFrame(runs), versions.to_dicts())
