"""A change of a table's ledger: the entries that come, and those that go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.ledger_rows import loaded_already, marks
from s3pq_dagster.destinations.table_errors import loaded_meanwhile
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.drift.changes import schema_changes
from s3pq_dagster.ledger import FORMAT_VERSION, Status

_LOADED = pl.col("status") == Status.LOADED


@dataclass(frozen=True, slots=True)
class Change:
    """New ledger entries of a table, and what they replace."""

    entries: pl.DataFrame
    """New rows of ``_s3pq_objects``."""
    row: dict[str, Any]
    """The new row of ``_s3pq_tables``, and the ``run_id``."""
    append: bool = False
    """Whether the rows and entries of an object's versions with other e_tags stay."""
    refresh: bool = False
    """Whether all earlier entries go, and all rows."""
    removed: Sequence[str] = ()
    """Keys whose entries are marked removed, and whose rows go."""
    undone: str | None = None
    """Why those entries are marked quarantined instead."""
    again: Sequence[str] = ()
    """Keys whose entries and rows go, whatever becomes of their objects."""
    versions: Sequence[dict[str, Any]] = ()
    """New rows of ``_s3pq_schemas``."""

    @property
    def loaded_keys(self) -> list[str]:
        """Keys of the objects that the change enters as loaded."""
        return list(self.entries.filter(_LOADED)["key"].unique())

    def replaced(self, before: pl.DataFrame) -> set[str]:
        """Return the keys whose rows go, given the entries before."""
        gone = set(self.removed) | set(before.filter(_LOADED & self._is_again())["key"])
        if self.append:
            new = self.entries.filter(_LOADED)
            again = before.filter(_LOADED).join(new, on=["key", "e_tag"], how="semi")
            return gone | set(again["key"])
        return gone | (set(before.filter(_LOADED)["key"]) & set(self.loaded_keys))

    def gone(self, before: pl.DataFrame) -> pl.Series:
        """Return for each entry before whether it goes."""
        if self.refresh:
            return pl.repeat(value=True, n=before.height, dtype=pl.Boolean, eager=True)
        new = self.entries.select(
            "key",
            pl.col("e_tag").alias("new_e_tag"),
            pl.col("status").alias("new_status"),
            pl.lit(value=True).alias("is_new"),
        )
        if self.append:
            is_same = pl.col("e_tag") == pl.col("new_e_tag")
            is_loaded_again = is_same & (pl.col("new_status") == Status.LOADED)
            superseded = is_loaded_again.fill_null(value=False) | (
                ~_LOADED & pl.col("e_tag").eq_missing(pl.col("new_e_tag"))
            )
        else:
            superseded = ~_LOADED | (pl.col("new_status") == Status.LOADED)
        return (
            before.with_row_index("row")
            .join(new, on="key", how="left")
            .with_columns(gone=(pl.col("is_new").is_not_null() & superseded) | self._is_marked())
            .with_columns(pl.col("gone") | self._is_again())
            .group_by("row")
            .agg(pl.col("gone").any())
            .sort("row")["gone"]
        )

    def added(self, before: pl.DataFrame) -> pl.DataFrame:
        """Return the entries that come, with those that are marked as removed."""
        if self.refresh:
            return self.entries
        said = marks(self.row["run_id"], self.row["updated_at"], self.undone)
        marked = before.filter(self._is_marked()).with_columns(**said)
        return pl.concat([self.entries, marked.select(self.entries.columns)])

    def applied(self, before: pl.DataFrame) -> pl.DataFrame:
        """Return all entries after the change."""
        return pl.concat([before.filter(~self.gone(before)), self.added(before)])

    def check(self, owner: Owner, before: pl.DataFrame) -> None:
        """Raise if an object that is to be entered is loaded already.

        Raises:
            DestinationError: Another run loaded it since this run read the ledger.
        """
        before = before.filter(~self._is_again())
        if not self.refresh and (again := loaded_already(before, self.entries)):
            raise loaded_meanwhile(owner.table, again)

    def _is_again(self) -> pl.Expr:
        return pl.col("key").is_in(list(self.again))

    def _is_marked(self) -> pl.Expr:
        return pl.col("key").is_in(list(self.removed)) & _LOADED


def new_row(
    owner: Owner,
    before: dict[str, Any] | None,
    sealed: Commit,
    schema: pa.Schema | None,
    schema_key: str | None,
    *,
    run_id: str,
) -> dict[str, Any]:
    """Build the row of ``_s3pq_tables``; what has no new value stays.

    Args:
        owner: The table.
        before: Its row until now, of whatever format.
        sealed: The commit.
        schema: The table's schema after it, if the commit has rows.
        schema_key: Key of the object that this schema comes from.
        run_id: The run.
    """
    old = before or {"arrow_schema": None, "schema_key": None, "fingerprint": None}
    if schema is not None and _is_new(schema, old["arrow_schema"]):
        plain = schemas.to_bytes(schema.remove_metadata())
        old = old | {"arrow_schema": plain, "schema_key": schema_key}
    return {
        "table_name": owner.table,
        "bucket": owner.bucket,
        "prefix": owner.prefix,
        "arrow_schema": old["arrow_schema"],
        "schema_key": old["schema_key"],
        "fingerprint": sealed.fingerprint or old["fingerprint"],
        "cursor": sealed.cursor,
        "updated_at": datetime.now(UTC),
        "format_version": FORMAT_VERSION,
        "layout": owner.layout or old.get("layout"),
        "run_id": run_id,
    }


def _is_new(schema: pa.Schema, stored: bytes | None) -> bool:
    """Return whether a schema has other columns than the stored one, in whatever order."""
    if stored is None:
        return True
    return bool(schema_changes(schemas.from_bytes(stored), schema.remove_metadata()))
