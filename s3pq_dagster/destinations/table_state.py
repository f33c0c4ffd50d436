"""What a destination holds of a table, and the rules of it that are the same everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from s3pq_dagster.errors import (
    DestinationError,
    LedgerVersionError,
    TableNotManagedError,
    TableOwnedElsewhereError,
)
from s3pq_dagster.ledger import ENTRY_COLUMNS, FORMAT_VERSION, Entry, Ledger, Status
from s3pq_dagster.objects import Listing

OBJECTS = "_s3pq_objects"
"""The ledger: one row an entry, with the columns of :data:`OBJECT_COLUMNS`."""
TABLES = "_s3pq_tables"
"""One row a table: whose it is, its Arrow schema, fingerprint and cursor."""
_TIME = pl.Datetime("us", "UTC")
OBJECT_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "table_name": pl.String,
    "bucket": pl.String,
    **ENTRY_COLUMNS,
    "run_id": pl.String,
    "loaded_at": _TIME,
}
"""The columns of ``_s3pq_objects``, and their types."""
TABLE_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "table_name": pl.String,
    "bucket": pl.String,
    "prefix": pl.String,
    "arrow_schema": pl.Binary,
    "schema_key": pl.String,
    "fingerprint": pl.String,
    "cursor": _TIME,
    "updated_at": _TIME,
    "format_version": pl.Int32,
}
"""The columns of ``_s3pq_tables``, and their types."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Where a table in the destination comes from; a table has one owner."""

    table: str
    bucket: str
    prefix: str

    def check(self, bucket: str, prefix: str) -> None:
        """Compare with what the destination says.

        Raises:
            TableOwnedElsewhereError: The table is another's.
        """
        if (bucket, prefix) != (self.bucket, self.prefix):
            raise TableOwnedElsewhereError(
                self.table,
                owner=f"s3://{bucket}/{prefix}",
                asked=f"s3://{self.bucket}/{self.prefix}",
            )


@dataclass(frozen=True, slots=True)
class TableState:
    """A table as the destination has it at one moment."""

    ledger: Ledger
    exists: bool
    """Whether the table itself is there; a ledger can be there first, all quarantined."""
    schema: pa.Schema | None
    """Of the stored columns, ours included; ``None`` as long as no object could be read."""
    schema_key: str | None
    """The object the schema comes from."""
    rows: int
    """Rows in the table."""

    @classmethod
    def nothing(cls) -> "TableState":
        """Be the state of a table that was never loaded."""
        return cls(Ledger.empty(), exists=False, schema=None, schema_key=None, rows=0)


@dataclass(frozen=True, slots=True)
class TableAudit:
    """A table's ledger and its rows, both of one moment, to be held against each other."""

    state: TableState
    rows_by_key: pl.DataFrame
    """Each ``key`` in the table's ``_s3_key`` and the number of its ``rows``."""

    @classmethod
    def of(cls, state: TableState, counts: Sequence[tuple[str | None, int]]) -> "TableAudit":
        """Put counts of rows into columns."""
        columns = {"key": pl.String, "rows": pl.Int64}
        return cls(state, pl.DataFrame(counts, schema=columns, orient="row"))


@dataclass(frozen=True, slots=True)
class Commit:
    """What goes into the ledger together with a checkpoint's rows."""

    entries: Sequence[Entry]
    cursor: datetime | None
    """Of the table once this is committed."""
    fingerprint: str | None
    """Of the table once this is committed; ``None`` leaves the stored one."""

    @property
    def loaded_keys(self) -> list[str]:
        """Keys of the objects whose rows are committed."""
        return [entry.object.key for entry in self.entries if entry.status is Status.LOADED]


def entry_rows(entries: Sequence[Entry], owner: Owner, run_id: str) -> pl.DataFrame:
    """Make rows of ``_s3pq_objects``, as :data:`OBJECT_COLUMNS` has them, loaded now."""
    frame = pl.DataFrame(
        {
            "key": [e.object.key for e in entries],
            "e_tag": [e.object.e_tag for e in entries],
            "size": [e.object.size for e in entries],
            "last_modified": [e.object.last_modified for e in entries],
            "rows": [e.rows for e in entries],
            "status": [str(e.status) for e in entries],
            "reason": [e.reason for e in entries],
        },
        schema=ENTRY_COLUMNS,
    )
    return frame.select(
        pl.lit(owner.table).alias("table_name"),
        pl.lit(owner.bucket).alias("bucket"),
        *ENTRY_COLUMNS,
        pl.lit(run_id).alias("run_id"),
        pl.lit(datetime.now(UTC)).cast(_TIME).alias("loaded_at"),
    )


def as_ledger(frame: pl.DataFrame) -> Ledger:
    """Read a table's rows of ``_s3pq_objects``, however an engine returned them."""
    return Ledger(
        frame.select(
            pl.col("last_modified").dt.convert_time_zone("UTC").cast(kind)
            if name == "last_modified"
            else pl.col(name).cast(kind)
            for name, kind in ENTRY_COLUMNS.items()
        )
    )


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


def entries_after(before: pl.DataFrame, new: pl.DataFrame, *, append: bool) -> pl.DataFrame:
    """Fold new entries into those of a table, for destinations that rewrite its ledger.

    Args:
        before: Rows of ``_s3pq_objects``; a destination may have columns of its own.
        new: Likewise; what a commit enters.
        append: Whether loaded entries of earlier versions stay.

    Returns:
        What the ledger is then: new entries last. A loaded one takes the place of all of its key,
        or in ``append`` of what else was said of its very e_tag; a quarantined one never takes
        that of a loaded one.
    """
    is_loaded = pl.col("status") == Status.LOADED
    loaded, others = before.filter(is_loaded), before.filter(~is_loaded)
    if append:
        others = others.join(new, on=["key", "e_tag"], how="anti", nulls_equal=True)
    else:
        loaded = loaded.join(new.filter(is_loaded), on="key", how="anti")
        others = others.join(new, on="key", how="anti")
    return pl.concat([loaded, others, new.select(before.columns)])


def loaded_again(before: pl.DataFrame, new: pl.DataFrame) -> list[str]:
    """Find what is to be entered as loaded and is so in this very version: another run's."""
    is_loaded = pl.col("status") == Status.LOADED
    known = Listing(before.filter(is_loaded)).with_version()
    anew = Listing(new.filter(is_loaded)).with_version()
    return anew.join(known, on=["key", "version"], how="semi")["key"].to_list()


def entries_removed(
    before: pl.DataFrame, keys: Sequence[str], run_id: str
) -> tuple[pl.DataFrame, int]:
    """Mark what is loaded of some keys as removed, for destinations that rewrite the ledger.

    Returns:
        What the ledger is then, and how many rows of the table go.
    """
    goes = (pl.col("status") == Status.LOADED) & pl.col("key").is_in(list(keys))
    rows = int(before.filter(goes)["rows"].sum())
    marks = {
        "status": pl.lit(str(Status.REMOVED)),
        "run_id": pl.lit(run_id),
        "loaded_at": pl.lit(datetime.now(UTC)).cast(_TIME),
    }
    changed = [
        pl.when(goes).then(mark).otherwise(pl.col(name)).alias(name) for name, mark in marks.items()
    ]
    return before.with_columns(changed), rows
