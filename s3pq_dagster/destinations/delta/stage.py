"""Writing new data files: they are in the table's directory, and part of it once committed."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.destinations.delta.partitions import Partition, directory, parts
from s3pq_dagster.destinations.delta.stats import stats
from s3pq_dagster.destinations.delta.version import DataFile
from s3pq_dagster.destinations.storage.protocol import Storage

OURS = "s3pq-"
"""Beginning of the name of each data file of ours."""
ROW_GROUP_ROWS = 131_072
_ROW_GROUP_BYTES = 64 * 1024 * 1024
_WAITING_BYTES = 256 * 1024 * 1024
_MOST_OPEN = 64


class _Writer(pq.ParquetWriter):  # type: ignore[misc]  # pyarrow has no types
    """A writer that writes nothing when it is garbage-collected, since the disk may be full."""

    def __del__(self) -> None:
        """Leave the file as it is: whoever opened the writer closes it, or gives it up."""


@dataclass(slots=True)
class _Open:
    """A file that is being written."""

    path: str
    opened: AbstractContextManager[pa.NativeFile]
    sink: pa.NativeFile
    writer: Any
    footers: list[pq.FileMetaData]


@dataclass(slots=True)
class _Waiting:
    """Rows that wait until they are enough for a row group."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    size: int = 0


class Stage:
    """Data files of one table that are not committed yet.

    Rows come in any number of batches, in the columns as they are stored. A new file begins once
    one has the target size; in a partitioned table each partition has files of its own.
    """

    def __init__(
        self,
        storage: Storage,
        table: str,
        schema: pa.Schema,
        partition_by: Sequence[str],
        target_bytes: int,
    ) -> None:
        self._storage = storage
        self._table = table
        kept = [each for each in schema if each.name not in partition_by]
        self._schema = pa.schema(kept)
        self._partition_by = list(partition_by)
        self._target_bytes = target_bytes
        self._name = uuid4().hex
        self._open: dict[Partition, _Open] = {}
        self._waiting: dict[Partition, _Waiting] = {}
        self._begun: list[str] = []
        self.files: list[DataFile] = []
        """The files that are complete."""

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Add rows."""
        for batch in batches:
            for partition, part in parts(batch, self._partition_by):
                self._add(partition, part)

    def finish(self) -> list[DataFile]:
        """Complete every file, durably; return all of them."""
        for partition in list(self._waiting):
            self._flush(partition)
        for partition in list(self._open):
            self._close(partition)
        self._storage.flush_files(f"{self._table}/{file.path}" for file in self.files)
        return self.files

    def discard(self) -> None:
        """Delete every file; only for files that are not committed."""
        for file in self._open.values():
            _give_up(file, _DiscardedError())
        self._open.clear()
        self._waiting.clear()
        self._storage.delete(f"{self._table}/{file.path}" for file in self.files)
        self.files = []

    def _add(self, partition: Partition, part: pa.RecordBatch) -> None:
        waiting = self._waiting.setdefault(partition, _Waiting())
        waiting.batches.append(part)
        waiting.rows += part.num_rows
        waiting.size += part.nbytes
        if waiting.rows >= ROW_GROUP_ROWS or waiting.size >= _ROW_GROUP_BYTES:
            self._flush(partition)
        elif sum(each.size for each in self._waiting.values()) >= _WAITING_BYTES:
            self._flush(max(self._waiting, key=lambda each: self._waiting[each].size))

    def _flush(self, partition: Partition) -> None:
        """Write the rows that wait as a row group."""
        waiting = self._waiting.pop(partition)
        rows = pa.Table.from_batches(waiting.batches, self._schema)
        if not rows.num_rows:
            return
        file = self._open.pop(partition, None) or self._begin(partition)
        self._open[partition] = file  # the first is the least recently used
        file.writer.write_table(rows, row_group_size=len(rows))
        if file.sink.tell() >= self._target_bytes:
            self._close(partition)
        elif len(self._open) > _MOST_OPEN:
            self._close(next(iter(self._open)))

    def _begin(self, partition: Partition) -> _Open:
        name = f"{OURS}{self._name}-{len(self._begun):05}.parquet"
        path = directory(self._partition_by, partition) + name
        self._begun.append(path)
        opened = self._storage.create(f"{self._table}/{path}")
        sink = opened.__enter__()
        footers: list[pq.FileMetaData] = []
        try:
            writer = _Writer(
                sink,
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=_worth_a_dictionary(self._schema),
                metadata_collector=footers,
            )
        except BaseException as error:
            opened.__exit__(type(error), error, None)
            raise
        return _Open(path, opened, sink, writer, footers)

    def _close(self, partition: Partition) -> None:
        file = self._open.pop(partition)
        try:
            file.writer.close()
            said, (lowest, highest) = stats(self._schema, file.footers[0])
            size = file.sink.tell()
        except BaseException as error:
            _give_up(file, error)
            raise
        file.opened.__exit__(None, None, None)
        self.files.append(
            DataFile(
                path=file.path,
                size=size,
                rows=file.footers[0].num_rows,
                partition=dict(zip(self._partition_by, partition, strict=True)),
                lowest_key=lowest,
                highest_key=highest,
                stats=said,
            )
        )


class _DiscardedError(Exception):
    """Ends the context in which a storage writes a file, so that it deletes the file."""


def _give_up(file: _Open, why: BaseException) -> None:
    """Stop writing a file and delete it, even if the disk is full."""
    with suppress(OSError, pa.ArrowException, RuntimeError):
        file.writer.close()
    file.writer.is_open = False  # or pyarrow closes it again when it is collected
    with suppress(OSError):
        file.opened.__exit__(type(why), why, None)


def _worth_a_dictionary(schema: pa.Schema) -> list[str]:
    """Return columns whose values may repeat: for others, a dictionary costs half the time."""
    types = pa.types
    return [
        each.name
        for each in schema
        if types.is_string(each.type)
        or types.is_binary(each.type)
        or types.is_date32(each.type)
        or (types.is_integer(each.type) and each.type.bit_width < 64)  # noqa: PLR2004
    ]
