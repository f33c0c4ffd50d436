"""Writing a stream of rows to one staged file for each object, encoded in threads."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster import schemas
from s3pq_dagster.destinations.parquet.paths import new_id, staged_path
from s3pq_dagster.destinations.parquet.rows_file import Mark, RowsFile
from s3pq_dagster.destinations.parquet.types import as_written, written_schema
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.errors import DestinationError

_WORKERS = 4
_GROUP_ROWS = 131_072
_GROUP_BYTES = 64 * 1024 * 1024
_BYTES_UNDER_WAY = 2 * _GROUP_BYTES
_TASKS_UNDER_WAY = 64


@dataclass(slots=True)
class _Object:
    """An object whose rows are arriving."""

    file: RowsFile
    rows: int = 0
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0
    last: Future[None] | None = None
    """The write that must end before the next one begins."""

    def add(self, batch: pa.RecordBatch) -> bool:
        """Keep rows to be written; return whether they are enough for a row group."""
        self.waiting.append(batch)
        self.rows += batch.num_rows
        self.waiting_rows += batch.num_rows
        self.waiting_bytes += batch.nbytes
        return self.waiting_rows >= _GROUP_ROWS or self.waiting_bytes >= _GROUP_BYTES


class _EncodingQueue:
    """Row groups that other threads encode, within a bound of bytes and of tasks."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._tasks: deque[tuple[Future[None], int]] = deque()
        self._bytes = 0

    def send(self, found: _Object, *, ends: bool) -> None:
        """Write the waiting rows of an object in another thread, after its earlier ones."""
        size = found.waiting_bytes
        write = _write_last if ends else _write
        found.last = self._pool.submit(write, found.last, found.file, found.waiting)
        found.waiting, found.waiting_rows, found.waiting_bytes = [], 0, 0
        self._tasks.append((found.last, size))
        self._bytes += size
        while self._bytes > _BYTES_UNDER_WAY or len(self._tasks) > _TASKS_UNDER_WAY:
            self._wait_for_first()

    def wait(self) -> None:
        """Wait until all is written; raise the first error."""
        while self._tasks:
            self._wait_for_first()

    def _wait_for_first(self) -> None:
        task, size = self._tasks.popleft()
        task.result()
        self._bytes -= size


class Staging:
    """The files of one checkpoint until it is committed; no table's glob finds them."""

    def __init__(self, storage: Storage, table: str, schema: pa.Schema, compression: str) -> None:
        self._storage, self._table, self._compression = storage, table, compression
        self._schema = written_schema(schema)
        self._objects: dict[str, _Object] = {}

    def drain(self, batches: pa.RecordBatchReader) -> None:
        """Write all rows of a stream, whose objects come one after the other.

        Raises:
            DestinationError: The rows of an object are not together, or have no key.
            RefusedRowsError: Parquet cannot hold a value unchanged.
        """
        with ThreadPoolExecutor(_WORKERS, "s3pq-encode") as pool:
            queue = _EncodingQueue(pool)
            found: _Object | None = None
            for batch in batches:
                for key, rows in _by_key(as_written(batch, self._schema)):
                    if found is None or found.file.mark.key != key:
                        if found is not None:
                            queue.send(found, ends=True)
                        found = self._begin(key)
                    if found.add(rows):
                        queue.send(found, ends=False)
            if found is not None:
                queue.send(found, ends=True)
            queue.wait()

    def finish(self, rows: dict[str, int]) -> dict[str, str]:
        """Compare the rows written with those to be entered; objects without rows get a file.

        Args:
            rows: Number of rows by key, for each object to be entered as loaded.

        Returns:
            The id of each object's file, by key.

        Raises:
            DestinationError: The numbers differ.
        """
        for key in (key for key, count in rows.items() if not count):
            if key not in self._objects:
                self._begin(key).file.close()
        written = {key: found.rows for key, found in self._objects.items()}
        if written != rows:
            wrong = sorted(key for key in written | rows if written.get(key) != rows.get(key))
            msg = (
                f"{len(wrong)} objects do not have the rows in the stream that are to be entered, "
                f"{wrong[0]!r} among them: {written.get(wrong[0])} instead of "
                f"{rows.get(wrong[0])}. Nothing is written. Report this as a bug."
            )
            raise DestinationError(msg)
        return {key: found.file.mark.file_id for key, found in self._objects.items()}

    def discard(self) -> None:
        """Delete every file."""
        for found in self._objects.values():
            found.file.discard()
        self._storage.delete([found.file.path for found in self._objects.values()])

    def _begin(self, key: str) -> _Object:
        if key in self._objects:
            msg = f"the rows of object {key!r} did not come one after the other"
            raise DestinationError(msg)
        mark = Mark(self._table, key, new_id())
        path = staged_path(self._table, mark.file_id)
        file = RowsFile(self._storage, path, self._schema, mark, self._compression)
        self._objects[key] = _Object(file)
        return self._objects[key]


def _write(before: Future[None] | None, file: RowsFile, batches: list[pa.RecordBatch]) -> None:
    if before is not None:
        before.result()  # cannot block for ever: it was sent first, so a thread is at it
    if batches:
        file.write(batches)


def _write_last(before: Future[None] | None, file: RowsFile, batches: list[pa.RecordBatch]) -> None:
    _write(before, file, batches)
    file.close()


def _by_key(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Split a batch where the key of its rows changes; slices copy nothing."""
    runs = pc.run_end_encode(batch.column(schemas.KEY_COLUMN))
    start = 0
    for key, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        if key is None:
            msg = f"a row has no {schemas.KEY_COLUMN}"
            raise DestinationError(msg)
        yield key, batch.slice(start, end - start)
        start = end
