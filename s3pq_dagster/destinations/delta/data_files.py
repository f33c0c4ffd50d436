"""Reading the data files of a Delta table, whatever wrote them."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s3pq_dagster.destinations.delta.version import DataFile
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_state import ChooseKeys
from s3pq_dagster.schemas import KEY_COLUMN

READ_ROWS = 65_536


class DataFiles:
    """Reads the data files of one Delta table."""

    def __init__(self, storage: Storage, table: str) -> None:
        self._storage = storage
        self._table = table

    def batches(self, file: DataFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Read columns of a file, in the order of its rows and in bounded memory.

        A column that is not in the file has the partition's value or is null, as Delta defines.
        """
        with self._opened(file) as opened:
            there = set(opened.schema_arrow.names)
            names = [name for name in schema.names if name in there]
            for batch in opened.iter_batches(READ_ROWS, columns=names, use_threads=False):
                columns = [self._column(batch, field, file) for field in schema]
                yield pa.record_batch(columns, schema=schema)

    def rows(self, file: DataFile) -> int:
        """Count a file's rows."""
        if file.rows is not None:
            return file.rows
        with self._opened(file) as opened:
            return int(opened.metadata.num_rows)

    def rows_by_key(
        self, files: Sequence[DataFile], keys: Sequence[str] | None = None
    ) -> list[tuple[str | None, int]]:
        """Count the rows of each object, in a pass over one column.

        Args:
            files: The files to read.
            keys: The objects to count; ``None`` counts all.

        Returns:
            Key and number of rows, for each object that has rows.
        """
        sought = None if keys is None else sorted(keys)
        wanted = pa.array(sought or [], pa.string())
        schema = pa.schema([(KEY_COLUMN, pa.string())])
        counted: dict[str | None, int] = {}
        for file in files:
            if sought is not None and not file.may_hold(sought):
                continue
            for batch in self.batches(file, schema):
                column = batch.column(0)
                if sought is not None:
                    column = column.filter(pc.is_in(column, wanted))
                for each in pc.value_counts(column).to_pylist():
                    counted[each["values"]] = counted.get(each["values"], 0) + each["counts"]
        return list(counted.items())

    def has_rows_of(self, file: DataFile, choose: ChooseKeys) -> bool:
        """Return whether a file has rows of an object that is chosen, in a pass over one column."""
        return bool(choose([key for key, _ in self.rows_by_key([file]) if key is not None]))

    def _opened(self, file: DataFile) -> pq.ParquetFile:
        opened = self._storage.open(f"{self._table}/{file.path}")
        return pq.ParquetFile(opened, pre_buffer=False)

    @staticmethod
    def _column(batch: pa.RecordBatch, field: pa.Field, file: DataFile) -> pa.Array:
        if field.name in batch.schema.names:
            column = batch.column(field.name)
            return column if column.type == field.type else column.cast(field.type)
        value = file.partition.get(field.name)
        if value is None:
            return pa.nulls(batch.num_rows, field.type)
        return pa.repeat(pa.scalar(value, pa.string()).cast(field.type), batch.num_rows)
