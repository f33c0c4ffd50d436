"""One table's objects as a bounded stream of Arrow batches, cut into checkpoints."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.errors import MalformedObjectError, SchemaMismatchError
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.added_columns import RowSpan, batches_with_added_columns
from s3pq_dagster.reading.fitting import Convert, Fitting, Reference, unchanged
from s3pq_dagster.reading.open_object import OpenObject
from s3pq_dagster.reading.readable_objects import ReadableObjects


@dataclass(slots=True, eq=False)
class Checkpoint:
    """Objects whose rows and ledger entries are committed together."""

    schema: pa.Schema | None
    """Schema of every batch; ``None`` while no object could be read and no schema is known."""
    schema_key: str | None
    """Key of the object the schema comes from."""
    batches: pa.RecordBatchReader | None
    """The rows, to be drained once; ``None`` without a schema."""
    entries: list[Entry] = field(default_factory=list)
    """What to write to the ledger; complete once ``batches`` is drained."""
    is_last: bool = False
    """Whether nothing comes after it; known once ``batches`` is drained."""
    before: Reference | None = None
    """What the table's schema was before; that of a new table is ``None``."""
    error: BaseException | None = None
    """What stopped ``batches``. Destinations' drivers keep only its text: raise this instead."""


class TableStream:
    """The pending objects of one table, read once, in order.

    An object that is decoded whole when it is opened shares a checkpoint with others. One that is
    decoded as it streams, because it is large or has very many rows, is a checkpoint of its own: a
    malformed page near its end rolls back nothing else. A checkpoint ends before an object by which
    the table's schema changes.
    """

    def __init__(
        self,
        objects: ReadableObjects,
        reference: Reference | None,
        *,
        most_rows: int | None = None,
        least: pa.Schema | None = None,
    ) -> None:
        """Send nothing yet; requests start when the first checkpoint is asked for.

        Args:
            objects: The table's objects; closed with the stream.
            reference: The stored schema; ``None`` takes the first readable object's.
            most_rows: Most rows in a batch, in which small objects are joined; by default a batch
                has ``rows_per_record`` rows at most, all of one object.
            least: What the table's schema is to hold in any case.
        """
        self.progress = objects.progress
        self.missing = objects.missing
        """Keys of objects that were deleted since they were listed."""
        self.changed = objects.changed
        """Objects that were overwritten since they were listed, as they were read."""
        self._objects = objects
        self._spec = objects.spec
        self._fitting = Fitting(self.progress.table, self._spec, least)
        self._objects.check_fit, self._objects.kept = self._fitting.check, self._fitting.kept
        self.reference = reference
        self._most_rows = most_rows or self._spec.rows_per_record
        self._joins = most_rows is not None
        self._committed: tuple[int, str | None] = (0, None)
        """Number of objects committed, and the last one's key."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(wait=kind is None)

    def close(self, *, wait: bool = True) -> None:
        """Stop reading and free everything; see :meth:`Fetcher.close`."""
        self._objects.close(wait=wait)

    def set_aside(self, found: ObjectMeta, error: MalformedObjectError) -> Entry:
        """See :meth:`ReadableObjects.set_aside`."""
        return self._objects.set_aside(found, error)

    def note_second_reading(self, again: "TableStream") -> None:
        """Take over which objects were found missing or changed when they were read once more."""
        self.missing += again.missing
        now = {found.key for found in again.changed}
        self.changed[:] = [*(each for each in self.changed if each.key not in now), *again.changed]

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Yield the checkpoints; drain each one's batches before taking the next.

        A checkpoint without rows still has entries when objects were quarantined.

        Raises:
            StoreError: The store failed. Raised here or while iterating batches.
            SchemaMismatchError: An object differs from the reference. Raised while iterating.
        """
        while (first := self._objects.peek()) is not None or self._objects.quarantined:
            before = self.reference
            if first is not None:
                self.reference = self._fitting.reference_after(first)
            checkpoint = self._checkpoint()
            checkpoint.before = before
            yield checkpoint
            loaded = [e for e in checkpoint.entries if e.status is Status.LOADED]
            if not loaded:
                self.reference = before  # no row of the object that would have changed it
            # A refresh, for which all is verified, commits nothing before its end.
            if loaded and checkpoint.error is None and not self._objects.is_verified:
                self._committed = (self._committed[0] + len(loaded), loaded[-1].object.key)

    @property
    def committed(self) -> tuple[int, str | None]:
        """Number of objects that are committed, and the last one's key."""
        return self._committed

    @property
    def reference(self) -> Reference | None:
        """The table's schema after the checkpoints so far."""
        return self._fitting.reference

    @reference.setter
    def reference(self, reference: Reference | None) -> None:
        self._fitting.reference = reference
        self._objects.wanted = None if reference is None else reference.schema

    def differs(self) -> bool:
        """Return whether the first readable object has other columns than the table."""
        first = self._objects.peek()
        return first is not None and self._fitting.differs(first)

    def _checkpoint(self) -> Checkpoint:
        entries = self._objects.take_quarantined()
        if self.reference is None:
            is_last = self.progress.is_all_seen
            return Checkpoint(None, None, None, entries, is_last=is_last)
        metadata = {schemas.TABLE_NAME_KEY: self.progress.table}
        schema = self.reference.schema.with_metadata(metadata)
        checkpoint = Checkpoint(schema, self.reference.key, None, entries)
        checkpoint.batches = pa.RecordBatchReader.from_batches(schema, self._batches(checkpoint))
        return checkpoint

    def _batches(self, checkpoint: Checkpoint) -> Iterator[pa.RecordBatch]:
        """Yield a checkpoint's batches with the added columns, none over the bound of rows."""
        join_rows = self._most_rows if self._joins else None
        bucket, schema = self._spec.bucket, checkpoint.schema
        try:
            with closing(self._rows(checkpoint)) as rows:
                for batch in batches_with_added_columns(rows, bucket, schema, join_rows=join_rows):
                    self.progress.rows += batch.num_rows
                    for start in range(0, batch.num_rows, self._most_rows):
                        yield batch.slice(start, self._most_rows)
                    self._objects.check_wanted()
        except BaseException as error:
            checkpoint.error = error
            raise

    def _rows(self, checkpoint: Checkpoint) -> Generator[tuple[pa.RecordBatch, RowSpan]]:
        """Yield the files' own columns, object by object, until the checkpoint has enough bytes."""
        bytes_left = self._spec.checkpoint_bytes
        while bytes_left > 0 and (opened := self._objects.peek()) is not None:
            # Rows that are not decoded yet may turn out malformed, and are rolled back alone.
            is_alone = opened.decoded is None
            is_first = bytes_left == self._spec.checkpoint_bytes
            if not is_first and (is_alone or self._fitting.changes_table(opened)):
                break
            self._objects.take()
            yield from self._rows_of(opened, checkpoint)
            bytes_left = 0 if is_alone else bytes_left - opened.size
        checkpoint.entries += self._objects.take_quarantined()
        # The next object is not waited for, which may take long: what is read is committed.
        checkpoint.is_last = self.progress.is_all_seen

    def _rows_of(
        self, opened: OpenObject, checkpoint: Checkpoint
    ) -> Iterator[tuple[pa.RecordBatch, RowSpan]]:
        """Yield one object's rows, and enter it into the checkpoint."""
        found, rows = opened.object, 0
        try:
            convert = self._conversion(opened)
            # Many objects' key columns are made together, where nothing has to be done to them.
            later = tuple(opened.key_columns) if convert is unchanged else ()
            for batch in opened.own_batches() if later else opened.batches():
                yield convert(batch), RowSpan(found, rows, batch.num_rows, later)
                rows += batch.num_rows
                self.progress.count_within(found, rows, opened.rows)
        except MalformedObjectError as error:
            self._objects.check_transfer(opened.fetched)
            checkpoint.entries.append(self._objects.quarantine(found, error))
            raise
        finally:
            self._objects.release(opened)
        checkpoint.entries.append(Entry(found, Status.LOADED, rows))
        self.progress.count(found)

    def _conversion(self, opened: OpenObject) -> Convert:
        """Return what makes an object's rows those of the table.

        Raises:
            SchemaMismatchError: The table's columns cannot hold them.
        """
        try:
            return self._fitting.conversion(opened, self._committed)
        except SchemaMismatchError:
            self._objects.check_transfer(opened.fetched)
            raise
