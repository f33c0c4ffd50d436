"""What a destination holds of one table, and what a load hands over to be committed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa

from s3pq_dagster.errors import TableOwnedElsewhereError
from s3pq_dagster.ledger import Entry, Ledger, Status


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
