"""What people want to know of a table: its state, the runs that loaded it, its schemas so far."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.table_state import TableState

RUN_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "run_id": pl.String,
    "status": pl.String,
    "objects": pl.Int64,
    "rows": pl.Int64,
    "at": pl.Datetime("us", "UTC"),
}
"""The columns of :attr:`TableLook.runs`, and their types."""


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """A schema of a table, since some commit. Version 1 is the table's first."""

    version: int
    schema: pa.Schema
    since_key: str | None
    """Key of the object that it came with."""
    changed_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Build it from a row of ``_s3pq_schemas``."""
        schema = schemas.from_bytes(row["arrow_schema"])
        changed_at = row["changed_at"].astimezone(UTC)
        return cls(row["version"], schema, row["since_key"], changed_at)


@dataclass(frozen=True, slots=True)
class TableLook:
    """A table, its ledger, and what the ledger says of how it came about, at one moment."""

    state: TableState
    runs: pl.DataFrame
    """For each run and status, how many entries are of it, their ``rows`` in the table, and the
    latest time ``at`` which one was written."""
    versions: Sequence[SchemaVersion]
    """The schemas that the table has had, the current one last; none where a ledger of format 1
    has them not."""

    @classmethod
    def of(
        cls, state: TableState, runs: pl.DataFrame, versions: Iterable[Mapping[str, Any]]
    ) -> Self:
        """Build it from runs in whatever types an engine has, and rows of ``_s3pq_schemas``."""
        found = runs.select(
            pl.col(name).dt.convert_time_zone("UTC").cast(kind)
            if name == "at"
            else pl.col(name).cast(kind)
            for name, kind in RUN_COLUMNS.items()
        )
        known = sorted(map(SchemaVersion.of, versions), key=lambda each: each.version)
        return cls(state, found, known)

    @classmethod
    def empty(cls) -> Self:
        """Return the look at a table that was never loaded."""
        return cls(TableState.empty(), pl.DataFrame(schema=RUN_COLUMNS), [])


def runs_of(entries: pl.DataFrame) -> pl.DataFrame:
    """Return :attr:`TableLook.runs` of the rows that ``_s3pq_objects`` has of a table."""
    counted = entries.group_by("run_id", "status").agg(
        objects=pl.len(), rows=pl.col("rows").sum(), at=pl.col("loaded_at").max()
    )
    return counted.select(pl.col(name).cast(kind) for name, kind in RUN_COLUMNS.items())
