"""Errors of a destination, and of its IO manager."""

from s3pq_dagster.errors.base import S3ParquetError, one_line


class DestinationError(S3ParquetError):
    """The destination did not do as asked; the message says if something was committed."""

    retryable = True


class DestinationLockedError(DestinationError):
    """Another process holds the destination's lock."""


class DestinationConflictError(DestinationError):
    """Another run wrote the table meanwhile, in a destination without locks."""


class DestinationDeniedError(DestinationError):
    """The destination refuses the request until somebody changes a setting or a right."""

    retryable = False


class TableOwnedElsewhereError(DestinationError):
    """The table in the destination belongs to another bucket."""

    retryable = False
    lasting = True

    def __init__(self, table: str, *, owner: str, asked: str) -> None:
        self.table = table
        super().__init__(
            f"table {table!r} in the destination is loaded from {one_line(owner)}, not from "
            f"{one_line(asked)}. Use another namespace or database for one of them, or drop the "
            f"table and its rows in _s3pq_objects and _s3pq_tables to hand it over."
        )


class LayoutChangedError(DestinationError):
    """The table in the destination is loaded by another rule for keys of the same bucket."""

    retryable = False
    lasting = True

    def __init__(self, table: str, *, stored: str, asked: str, columns: bool = False) -> None:
        """Say what changed.

        Args:
            table: The table.
            stored: The pattern of keys that it was loaded from.
            asked: The pattern of keys that it is to be loaded from.
            columns: Whether not the keys are others, but the columns that they make.
        """
        self.table, self.stored, self.asked, self.columns = table, stored, asked, columns
        changed = (
            f"the layout gives it the keys {asked!r} as before, but makes other columns of them: "
            f"the captures, their `types` or `drop` changed since."
            if columns
            else f"the layout now gives it the keys {asked!r}."
        )
        super().__init__(
            f"table {table!r} in the destination is loaded from the keys {stored!r}; {changed} "
            f"Nothing is written. To load it anew, run the table with full_refresh: true, which "
            f"takes it over; else give the layout its earlier rule again."
        )


class TableNotManagedError(DestinationError):
    """A table exists without its ledger, or a ledger without its table."""

    retryable = False


class LedgerVersionError(DestinationError):
    """A newer release of this package wrote the ledger."""

    retryable = False
    lasting = True

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the ledger has format version {found}; this release knows up to {known}. Upgrade "
            f"s3pq-dagster, or use the release that wrote it."
        )


class UnsupportedValueError(S3ParquetError):
    """An IO manager got a value, or was asked for a type, that it does not support."""
