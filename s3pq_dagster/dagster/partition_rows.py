"""The rows of some partitions of a table, for the assets downstream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa

from s3pq_dagster.dagster.metadata import PARTITIONED_BY
from s3pq_dagster.layout.key_partitions import partitions_of
from s3pq_dagster.layout.rules import Rule
from s3pq_dagster.schemas import KEY_COLUMN


@dataclass(frozen=True, slots=True)
class PartitionRows:
    """Which rows of a table an input gets."""

    rule: Rule
    names: pl.Series
    """The partitions that the input asks for."""
    columns: list[str] | None
    """The columns that it asks for; ``None`` for all."""

    @classmethod
    def of(cls, context: dg.InputContext, columns: list[str] | None) -> "PartitionRows | None":
        """Return what an input asks for; ``None`` if it gets every row."""
        upstream = context.upstream_output
        known: Any = {} if upstream is None else upstream.definition_metadata or {}
        declared = known.get(PARTITIONED_BY)
        if declared is None or not context.has_asset_partitions:
            return None
        names = context.asset_partition_keys
        if set(names) >= set(context.asset_partitions_def.get_partition_keys()):
            return None
        return cls(Rule(**declared), pl.Series(names, dtype=pl.String), columns)

    @property
    def read_columns(self) -> list[str] | None:
        """The columns to read: a row's object says which partition it is of."""
        if self.columns is None or KEY_COLUMN in self.columns:
            return self.columns
        return [*self.columns, KEY_COLUMN]

    def wanted(self, keys: Sequence[str]) -> list[str]:
        """Choose the objects that are of these partitions."""
        return list(self._asked(pl.Series("key", keys, pl.String)))

    def chosen(self, reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """Stream the rows of these partitions, in the columns that the input asks for.

        A destination may give rows of other objects, too: see :meth:`Destination.read`.
        """
        wanted = reader.schema.names if self.columns is None else self.columns
        schema = pa.schema([reader.schema.field(name) for name in wanted], reader.schema.metadata)
        return pa.RecordBatchReader.from_batches(schema, self._batches(reader, wanted))

    def _batches(self, reader: pa.RecordBatchReader, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            keys = pl.Series("key", batch.column(KEY_COLUMN).cast(pa.string()))
            ours = self._asked(keys.unique())
            yield batch.select(wanted).filter(keys.is_in(ours.implode()).to_arrow())

    def _asked(self, keys: pl.Series) -> pl.Series:
        is_asked = partitions_of(self.rule, keys).is_in(self.names.implode())
        return keys.filter(is_asked.fill_null(value=False))
