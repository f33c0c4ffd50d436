"""The errors where a table, its ledger and a load contradict each other."""

from collections.abc import Sequence

from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES
from s3pq_dagster.errors import DestinationError, LedgerVersionError, TableNotManagedError
from s3pq_dagster.ledger import FORMAT_VERSION


def check_version(found: int | None) -> None:
    """Compare the ledger's format with ours; ``None`` is a ledger that holds nothing.

    Raises:
        LedgerVersionError: A newer release wrote it.
    """
    if found is not None and found > FORMAT_VERSION:
        raise LedgerVersionError(found, FORMAT_VERSION)


def not_managed(
    table: str,
    found: str,
    remedy: str = f"drop the table and its rows in {OBJECTS} and {TABLES}",
) -> TableNotManagedError:
    """Make the error for a table whose rows and ledger contradict each other."""
    return TableNotManagedError(
        f"table {table!r} and its ledger do not belong together: {found}. Loading it now could "
        f"duplicate or lose rows. Put back what was dropped or, to load it anew, {remedy}."
    )


def has_strays(table: str, strays: Sequence[tuple[str, int, int]]) -> TableNotManagedError:
    """Make the error for objects that have more rows in the table than the ledger says.

    Args:
        table: Its name.
        strays: Key, rows in the table and rows in the ledger; at least one.
    """
    key, rows, said = strays[0]
    more = f", and {len(strays) - 1} other objects likewise" if len(strays) > 1 else ""
    return not_managed(
        table,
        f"{key!r} has {rows} rows in the table and {said} in {OBJECTS}{more}",
        "run it with full_refresh: true",
    )


def loaded_meanwhile(table: str, keys: Sequence[str]) -> DestinationError:
    """Make the error for objects that another writer loaded since the ledger was asked."""
    return DestinationError(
        f"{len(keys)} objects of table {table!r} were loaded by another run meanwhile, "
        f"{keys[0]!r} among them; nothing of this checkpoint is written. Run again: they will "
        f"not be read."
    )
