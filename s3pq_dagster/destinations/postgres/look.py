"""What people want to know of a table in PostgreSQL, beside its state."""

import polars as pl

from s3pq_dagster.destinations.ledger_rows import OBJECTS, SCHEMAS
from s3pq_dagster.destinations.postgres.ledger_tables import LedgerTables
from s3pq_dagster.destinations.postgres.statements import Statements
from s3pq_dagster.destinations.table_look import RUN_COLUMNS, TableLook
from s3pq_dagster.destinations.table_state import TableState

_VERSION = ("version", "arrow_schema", "since_key", "changed_at")


def look_of(
    connection: Statements, ledger: LedgerTables, table: str, state: TableState
) -> TableLook:
    """Add to a table's state its runs and schemas; a snapshot has to be open.

    Args:
        connection: Runs the statements.
        ledger: The ledger's tables.
        table: The table.
        state: Its state in this snapshot.
    """
    there = ledger.found()
    if OBJECTS not in there:
        return TableLook.empty()
    runs = connection.rows(
        'SELECT run_id, status, count(*), sum("rows")::bigint, max(loaded_at) '
        f"FROM {ledger.objects} WHERE table_name = $1 GROUP BY run_id, status",
        table,
    )
    versions = list[tuple[object, ...]]()
    if SCHEMAS in there:  # not in a ledger of format 1
        versions = connection.rows(
            f"SELECT {', '.join(_VERSION)} FROM {ledger.schemas} WHERE table_name = $1", table
        )
    return TableLook.of(
        state,
        pl.DataFrame(runs, schema=RUN_COLUMNS, orient="row"),
        [dict(zip(_VERSION, row, strict=True)) for row in versions],
    )
