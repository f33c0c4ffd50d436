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

    def __init__(self, table: str, *, owner: str, asked: str) -> None:
        self.table = table
        super().__init__(
            f"table {table!r} in the destination is loaded from {one_line(owner)}, not from "
            f"{one_line(asked)}. Use another namespace or database for one of them, or drop the "
            f"table and its rows in _s3pq_objects and _s3pq_tables to hand it over."
        )


class LayoutChangedError(DestinationError):
    """The table in the destination is loaded from keys of another pattern of the same bucket."""

    retryable = False

    def __init__(self, table: str, *, stored: str, asked: str) -> None:
        self.table, self.stored, self.asked = table, stored, asked
        super().__init__(
            f"table {table!r} in the destination is loaded from the keys {stored!r}; the layout "
            f"now gives it the keys {asked!r}. Nothing is written. To load it anew from those, run "
            f"the table with full_refresh: true; else give the layout its earlier rule again."
        )


class TableNotManagedError(DestinationError):
    """A table exists without its ledger, or a ledger without its table."""

    retryable = False


class LedgerVersionError(DestinationError):
    """A newer release of this package wrote the ledger."""

    retryable = False

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the ledger has format version {found}; this release knows up to {known}. Upgrade "
            f"s3pq-dagster, or use the release that wrote it."
        )


class UnsupportedValueError(S3ParquetError):
    """An IO manager got a value, or was asked for a type, that it does not support."""
