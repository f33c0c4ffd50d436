"""The rows of the ledger's two tables: their columns, how they are made, read and replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.ledger import ENTRY_COLUMNS, Entry, Ledger, Status
from s3pq_dagster.objects import IDENTITY, Listing

OBJECTS = "_s3pq_objects"
"""Name of the ledger's table with a row for each entry; see :data:`OBJECT_COLUMNS`."""
TABLES = "_s3pq_tables"
"""Name of the ledger's table with a row for each loaded table; see :data:`TABLE_COLUMNS`."""
SCHEMAS = "_s3pq_schemas"
"""Name of the ledger's table with a row for each change of a table's schema; see
:data:`SCHEMA_COLUMNS`."""
_TIME = pl.Datetime("us", "UTC")
OBJECT_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "table_name": pl.String,
    "bucket": pl.String,
    **ENTRY_COLUMNS,
    "run_id": pl.String,
    "loaded_at": _TIME,
    "refreshed": pl.Boolean,
}
"""Columns of ``_s3pq_objects`` and their types. ``refreshed`` says whether the run replaced what
was loaded, whatever it was; null where it is not known, as in entries of formats 1 and 2."""
NO_ENTRIES = pl.DataFrame(schema=OBJECT_COLUMNS)
"""The rows of ``_s3pq_objects`` of a table that was never loaded."""
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
    "layout": pl.String,
}
"""Columns of ``_s3pq_tables`` and their types: owner, Arrow schema, fingerprint and cursor.
``layout`` is a hash of what the layout makes of a key beside the table's name; null where it is not
known, as in tables of format 1."""
SCHEMA_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "table_name": pl.String,
    "version": pl.Int32,
    "arrow_schema": pl.Binary,
    "since_key": pl.String,
    "changed_at": _TIME,
}
"""Columns of ``_s3pq_schemas`` and their types. Version 1 is the first schema of a table;
``since_key`` is the key of the object that a version came with."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """What the ledger has of a table as a whole."""

    bucket: str
    prefix: str
    schema: pa.Schema | None
    schema_key: str | None
    layout: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "TableRow":
        """Build it from a row of ``_s3pq_tables``, of whatever format."""
        data = row["arrow_schema"]
        schema = None if data is None else schemas.from_bytes(data)
        return cls(row["bucket"], row["prefix"], schema, row["schema_key"], row.get("layout"))


def entry_rows(
    entries: Sequence[Entry], owner: Owner, run_id: str, *, refreshed: bool = False
) -> pl.DataFrame:
    """Build rows of ``_s3pq_objects`` from entries; their ``loaded_at`` is the present.

    Args:
        entries: The entries.
        owner: The table.
        run_id: The run that loaded the objects.
        refreshed: Whether it replaced what was loaded before.
    """
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
        pl.lit(refreshed).alias("refreshed"),
    )


def as_ledger(frame: pl.DataFrame) -> Ledger:
    """Build a ledger from a table's rows of ``_s3pq_objects``, in whatever types an engine has."""
    return Ledger(frame.select(_typed(name, kind) for name, kind in ENTRY_COLUMNS.items()))


def as_entries(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows of ``_s3pq_objects``, of whatever format and types, as this release has them."""
    return frame.select(
        _typed(name, kind) if name in frame.columns else pl.lit(None).cast(kind).alias(name)
        for name, kind in OBJECT_COLUMNS.items()
    )


def _typed(name: str, kind: pl.DataType | type[pl.DataType]) -> pl.Expr:
    if kind == _TIME:
        return pl.col(name).dt.convert_time_zone("UTC").cast(kind)
    return pl.col(name).cast(kind)


def entries_after(before: pl.DataFrame, new: pl.DataFrame, *, append: bool) -> pl.DataFrame:
    """Merge new entries into those of a table, for destinations that rewrite its ledger.

    Args:
        before: Rows of ``_s3pq_objects``; a destination may have further columns.
        new: Rows of the entries that a commit adds, with the same columns.
        append: Whether loaded entries of earlier versions of an object stay.

    Returns:
        All rows of the table after the commit, new entries last. A loaded entry replaces every
        entry of its key; with ``append`` it replaces only entries of the same e_tag. A quarantined
        entry never replaces a loaded one.
    """
    is_loaded = pl.col("status") == Status.LOADED
    loaded, others = before.filter(is_loaded), before.filter(~is_loaded)
    if append:
        loaded = loaded.join(new.filter(is_loaded), on=["key", "e_tag"], how="anti")
        others = others.join(new, on=["key", "e_tag"], how="anti", nulls_equal=True)
    else:
        loaded = loaded.join(new.filter(is_loaded), on="key", how="anti")
        others = others.join(new, on="key", how="anti")
    return pl.concat([loaded, others, new.select(before.columns)])


def loaded_already(before: pl.DataFrame, new: pl.DataFrame) -> list[str]:
    """Return keys of new loaded entries whose version of the object another run has loaded."""
    is_loaded = pl.col("status") == Status.LOADED
    known = Listing(before.filter(is_loaded)).with_version()
    added = Listing(new.filter(is_loaded)).with_version()
    return added.join(known, on=IDENTITY, how="semi")["key"].to_list()


def entries_removed(
    before: pl.DataFrame, keys: Sequence[str], run_id: str, undone: str | None = None
) -> tuple[pl.DataFrame, int]:
    """Mark the loaded entries of some keys as removed, for destinations that rewrite the ledger.

    Args:
        before: The ledger's rows.
        keys: The keys.
        run_id: The run to name.
        undone: As for :func:`marks`.

    Returns:
        All rows of the ledger after that, and the number of table rows to delete.
    """
    is_removed = (pl.col("status") == Status.LOADED) & pl.col("key").is_in(list(keys))
    rows = int(before.filter(is_removed)["rows"].sum())
    said = marks(run_id, datetime.now(UTC), undone)
    changed = [
        pl.when(is_removed).then(mark).otherwise(pl.col(name)).alias(name)
        for name, mark in said.items()
    ]
    return before.with_columns(changed), rows


def marks(run_id: str, moment: datetime, undone: str | None) -> dict[str, pl.Expr]:
    """Return what the entries of objects get whose rows are deleted.

    Args:
        run_id: The run to name.
        moment: Their ``loaded_at``.
        undone: Why the objects are quarantined from then on; ``None`` if they are removed.

    Returns:
        New values by column of ``_s3pq_objects``; the other columns keep theirs.
    """
    found = {
        "status": pl.lit(str(Status.REMOVED if undone is None else Status.QUARANTINED)),
        "run_id": pl.lit(run_id),
        "loaded_at": pl.lit(moment).cast(_TIME),
    }
    if undone is None:
        return found
    return found | {"rows": pl.lit(0, pl.Int64), "reason": pl.lit(undone)}
