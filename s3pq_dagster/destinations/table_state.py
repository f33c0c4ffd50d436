"""What a destination holds of one table, and what a load hands over to be committed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
import pyarrow as pa

from s3pq_dagster.errors import LayoutChangedError, TableOwnedElsewhereError
from s3pq_dagster.layout.presets import is_same_folder
from s3pq_dagster.ledger import Entry, Ledger, Status

ChooseKeys = Callable[[Sequence[str]], Sequence[str]]
"""Returns some of the keys that it is given, which are those of the objects that a table, or a part
of it, has rows of."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A table, and the bucket and the pattern of keys it is loaded from. A table has one owner."""

    table: str
    bucket: str
    prefix: str
    """The pattern of its objects' keys; that of a folder is most often the folder alone."""
    takes_over: bool = field(default=False, compare=False)
    """Whether the table is loaded anew, and may have been of another pattern before."""
    layout: str | None = field(default=None, compare=False)
    """Hash of what the layout makes of a key beside the table's name; ``None`` if not known."""

    def check(self, bucket: str, prefix: str, layout: str | None = None) -> None:
        """Compare with what the destination has stored for the table.

        Args:
            bucket: The stored bucket.
            prefix: The stored pattern.
            layout: The stored hash of the layout; ``None`` in tables of format 1.

        Raises:
            TableOwnedElsewhereError: The buckets differ.
            LayoutChangedError: The patterns or the hashes differ, and the table is not loaded anew.
        """
        if bucket != self.bucket:
            raise TableOwnedElsewhereError(
                self.table,
                owner=f"s3://{bucket}/{prefix}",
                asked=f"s3://{self.bucket}/{self.prefix}",
            )
        if not self.takes_over and not is_same_folder(prefix, self.prefix):
            raise LayoutChangedError(self.table, stored=prefix, asked=self.prefix)
        if not self.takes_over and None not in (layout, self.layout) and layout != self.layout:
            raise LayoutChangedError(self.table, stored=prefix, asked=self.prefix, columns=True)


@dataclass(frozen=True, slots=True)
class TableState:
    """A table in the destination, at one moment."""

    ledger: Ledger
    exists: bool
    """Whether the table exists. A ledger without a table can be right: all objects quarantined."""
    schema: pa.Schema | None
    """Schema of the stored columns, the added ones included; ``None`` before the first rows."""
    schema_key: str | None
    """Key of the object that the schema comes from."""
    rows: int
    """Number of rows in the table."""

    @classmethod
    def empty(cls) -> "TableState":
        """Return the state of a table that was never loaded."""
        return cls(Ledger.empty(), exists=False, schema=None, schema_key=None, rows=0)


@dataclass(frozen=True, slots=True)
class TableAudit:
    """The ledger and the row counts of a table at one moment, for comparing the two."""

    state: TableState
    rows_by_key: pl.DataFrame
    """Number of ``rows`` in the table for each ``key`` (the column ``_s3_key``)."""

    @classmethod
    def of(cls, state: TableState, counts: Sequence[tuple[str | None, int]]) -> "TableAudit":
        """Build an audit from pairs of key and row count."""
        columns = {"key": pl.String, "rows": pl.Int64}
        return cls(state, pl.DataFrame(counts, schema=columns, orient="row"))


@dataclass(frozen=True, slots=True)
class Commit:
    """What a checkpoint writes to the ledger, together with its rows."""

    entries: Sequence[Entry]
    cursor: datetime | None
    """The table's cursor after this commit."""
    fingerprint: str | None
    """The table's fingerprint after this commit; ``None`` keeps the stored one."""

    @property
    def loaded_keys(self) -> list[str]:
        """Keys of the objects whose rows are committed."""
        return [entry.object.key for entry in self.entries if entry.status is Status.LOADED]
