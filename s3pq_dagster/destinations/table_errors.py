"""The errors where a table, its ledger and a load contradict each other."""

from collections.abc import Sequence

from s3pq_dagster.destinations.ledger_rows import OBJECTS, TABLES
from s3pq_dagster.errors import DestinationError, LedgerVersionError, TableNotManagedError
from s3pq_dagster.ledger import FORMAT_VERSION


def check_version(found: int | None) -> None:
    """Compare the ledger's format version with the one this release reads.

    Args:
        found: The highest version in the ledger; ``None`` if it has no table.

    Raises:
        LedgerVersionError: A newer release wrote the ledger.
    """
    if found is not None and found > FORMAT_VERSION:
        raise LedgerVersionError(found, FORMAT_VERSION)


def not_managed(
    table: str,
    found: str,
    remedy: str = f"drop the table and its rows in {OBJECTS} and {TABLES}",
) -> TableNotManagedError:
    """Build the error for a table and a ledger that contradict each other.

    Args:
        table: Its name.
        found: The contradiction.
        remedy: What to do to load the table again from the start.
    """
    return TableNotManagedError(
        f"table {table!r} and its ledger do not belong together: {found}. Loading it now could "
        f"duplicate or lose rows. Put back what was dropped or, to load it anew, {remedy}."
    )


def differ_by_case(table: str, other: str) -> TableNotManagedError:
    """Build the error for a table whose name another table has in other letters.

    Args:
        table: Its name.
        other: The name of the table that is loaded already.
    """
    return TableNotManagedError(
        f"table {table!r} cannot be loaded beside table {other!r}, which is in the destination: "
        f"the names differ only by case, and the destination folds case. Nothing is written. "
        f"Rename one of the two prefixes, leave the name out with `skip_tables`, or drop table "
        f"{other!r} and its rows in {OBJECTS} and {TABLES}."
    )


def unaccounted_rows(table: str, found: Sequence[tuple[str, int, int]]) -> TableNotManagedError:
    """Build the error for objects that have more rows in the table than the ledger says.

    Args:
        table: Its name.
        found: Key, rows in the table and rows by the ledger of each object; at least one.
    """
    key, rows, said = found[0]
    more = f", and {len(found) - 1} other objects likewise" if len(found) > 1 else ""
    return not_managed(
        table,
        f"{key!r} has {rows} rows in the table and {said} in {OBJECTS}{more}",
        "run it with full_refresh: true",
    )


def loaded_meanwhile(table: str, keys: Sequence[str]) -> DestinationError:
    """Build the error for objects that another run loaded after this one read the ledger.

    Args:
        table: Its name.
        keys: Keys of the objects; at least one.
    """
    return DestinationError(
        f"{len(keys)} objects of table {table!r} were loaded by another run meanwhile, "
        f"{keys[0]!r} among them; nothing of this checkpoint is written. Run again: they will "
        f"not be read."
    )
