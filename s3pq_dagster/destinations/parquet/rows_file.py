"""A Parquet file with the rows of one object, and a mark inside that no other file has."""

import json
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.errors import RefusedRowsError, UnsupportedSchemaError

_KEY = "s3pq"


@dataclass(frozen=True, slots=True)
class Mark:
    """Metadata that identifies a file, whatever its name."""

    table: str
    key: str
    file_id: str


class _DiscardedError(Exception):
    """Ends the context in which a storage writes a file, so that it deletes the file."""


class RowsFile:
    """A file that is being written: by one thread at a time, but not always the same."""

    def __init__(
        self, storage: Storage, path: str, schema: pa.Schema, mark: Mark, compression: str
    ) -> None:
        self.path, self.mark = path, mark
        self._storage, self._schema, self._compression = storage, schema, compression
        self._open = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def write(self, batches: list[pa.RecordBatch]) -> None:
        """Write batches as one row group.

        Raises:
            RefusedRowsError: Parquet cannot hold a value unchanged.
            UnsupportedSchemaError: pyarrow cannot write a column's type.
        """
        writer = self._writer or self._start()
        rows = pa.Table.from_batches(batches, self._schema)
        if not rows.num_rows:
            return
        try:
            writer.write_table(rows, row_group_size=rows.num_rows)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            key = self.mark.key
            reason = f"Parquet cannot hold the rows of object {key!r} unchanged: {error}"
            msg = (
                f"{reason}. Convert them in every object of the table, or leave the table out with "
                f"`skip_tables`."
            )
            if isinstance(error, pa.ArrowNotImplementedError):  # of the type, whatever the values
                raise UnsupportedSchemaError(msg) from error
            raise RefusedRowsError(msg, reason=reason, key=key) from error

    def close(self) -> None:
        """Finish the file: its content is durable afterwards."""
        writer = self._writer or self._start()
        writer.add_key_value_metadata({_KEY: json.dumps(asdict(self.mark))})
        writer.close()
        self._writer = None  # frees memory: a checkpoint may have many files
        self._open.close()

    def discard(self) -> None:
        """Stop writing the file, and delete it."""
        if self._writer is not None:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()  # or the garbage collector closes it at any time
        with suppress(_DiscardedError), self._open:
            raise _DiscardedError

    def _start(self) -> pq.ParquetWriter:
        sink = self._open.enter_context(self._storage.create(self.path))
        self._writer = pq.ParquetWriter(
            sink, self._schema, compression=self._compression, write_page_checksum=True
        )
        return self._writer


def open_parquet(storage: Storage, path: str) -> pq.ParquetFile:
    """Open a file for reading, with its checksums verified.

    Raises:
        FileNotFoundError: It does not exist.
        OSError: It is damaged, or no Parquet file.
        pa.ArrowException: Likewise.
    """
    source = storage.open(path)
    try:
        return pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
    except BaseException:
        source.close()
        raise


def read_mark(file: pq.ParquetFile) -> Mark | None:
    """Return a file's mark; ``None`` if it has none."""
    found: bytes | None = (file.metadata.metadata or {}).get(_KEY.encode())
    if found is None:
        return None
    try:
        return Mark(**json.loads(found))
    except (ValueError, TypeError):
        return None


def rows_by_key(file: pq.ParquetFile) -> dict[str | None, int]:
    """Count a file's rows by key, from its footer if that says enough, as it does in our files."""
    names = [file.schema.column(leaf).path for leaf in range(len(file.schema))]
    if schemas.KEY_COLUMN not in names:
        return {None: file.metadata.num_rows}
    counts: dict[str | None, int] = {}
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        known = group.column(names.index(schemas.KEY_COLUMN)).statistics
        if known is not None and known.null_count == 0 and known.min == known.max is not None:
            counts[known.max] = counts.get(known.max, 0) + group.num_rows
            continue
        keys = file.read_row_group(number, columns=[schemas.KEY_COLUMN]).column(0)
        for found in pc.value_counts(keys).to_pylist():
            counts[found["values"]] = counts.get(found["values"], 0) + found["counts"]
    return counts
