"""One version of a Delta table: its columns, its data files, and the number of our last commit."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

import deltalake
import pyarrow as pa

from s3pq_dagster.schemas import KEY_COLUMN

APP = "s3pq"
"""The application under which our commits carry a number, as a Delta transaction identifier."""
_OLDEST_FIRST = [("modification_time", "ascending"), ("path", "ascending")]


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a Delta table."""

    path: str
    """Path relative to the table's directory, not URL-encoded."""
    size: int
    """Size in bytes."""
    rows: int | None
    """Number of rows; ``None`` if its writer did not record it."""
    partition: dict[str, str | None]
    """Values of the partition columns, as the log has them."""
    lowest_key: str | None = None
    """Lower bound of ``_s3_key``; ``None`` if unknown."""
    highest_key: str | None = None
    """Upper bound of ``_s3_key``; ``None`` if unknown."""
    stats: str = "{}"
    """Statistics for the log, as the Delta protocol has them; only set for files we write."""

    def may_hold(self, keys: Sequence[str]) -> bool:
        """Return whether the file may have rows of one of these objects; ``keys`` are sorted."""
        if self.lowest_key is None or self.highest_key is None:
            return True
        first = bisect_left(keys, self.lowest_key)
        return first < len(keys) and keys[first] <= self.highest_key


@dataclass(frozen=True)
class Version:
    """One version of a Delta table."""

    table: deltalake.DeltaTable

    @property
    def number(self) -> int:
        """The version's number."""
        return int(self.table.version())

    def transaction(self, app: str = APP) -> int | None:
        """Return the number in the latest commit of an application; ``None`` without one."""
        return self.table.transaction_version(app)

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of all columns, partition columns included."""
        return pa.schema(self.table.schema().to_arrow())

    @cached_property
    def partition_by(self) -> list[str]:
        """The partition columns, whose values are in the log and in no file."""
        return list(self.table.metadata().partition_columns)

    @cached_property
    def files(self) -> list[DataFile]:
        """The data files that have rows, oldest first."""
        actions = pa.table(self.table.get_add_actions(flatten=True))
        names = set(actions.column_names)
        low, high = (f"{end}.{KEY_COLUMN}" for end in ("min", "max"))
        found = [
            DataFile(
                path=unquote(row["path"]),
                size=row["size_bytes"],
                rows=row.get("num_records"),
                partition={name: _text(row[f"partition.{name}"]) for name in self.partition_by},
                lowest_key=row[low] if low in names else None,
                highest_key=row[high] if high in names else None,
            )
            for row in actions.sort_by(_OLDEST_FIRST).to_pylist()
        ]
        return [each for each in found if each.rows != 0]


def _text(value: object) -> str | None:
    """Write a partition value as the Delta protocol does."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)
