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
from s3pq_dagster.reading.added_columns import (
    RowSpan,
    batches_with_added_columns,
    schema_with_added_columns,
)
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
    error: BaseException | None = None
    """What stopped ``batches``. Destinations' drivers keep only its text: raise this instead."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The schema every object of a table must have, and the object it comes from."""

    schema: pa.Schema
    key: str

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Return the reference that the rows of a checkpoint were compared with."""
        return cls(checkpoint.schema, str(checkpoint.schema_key))


class TableStream:
    """The pending objects of one table, read once, in order.

    An object that is decoded whole when it is opened shares a checkpoint with others. One that is
    decoded as it streams, because it is large or has very many rows, is a checkpoint of its own: a
    malformed page near its end rolls back nothing else.
    """

    def __init__(
        self,
        objects: ReadableObjects,
        reference: Reference | None,
        *,
        most_rows: int | None = None,
    ) -> None:
        """Send nothing yet; requests start when the first checkpoint is asked for.

        Args:
            objects: The table's objects; closed with the stream.
            reference: The stored schema; ``None`` takes the first readable object's.
            most_rows: Most rows in a batch, in which small objects are joined; by default a batch
                has ``rows_per_record`` rows at most, all of one object.
        """
        self.progress = objects.progress
        self.missing = objects.missing
        """Keys of objects that were deleted since they were listed."""
        self.changed = objects.changed
        """Objects that were overwritten since they were listed, as they were read."""
        self._objects = objects
        self._spec = objects.spec
        self._reference = reference
        objects.wanted = None if reference is None else reference.schema
        self._matching: pa.Schema | None = None
        """Schema of the last object that matched the reference: most often the next one's too."""
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
            if first is not None and self._reference is None:
                self._reference = Reference(self._added_schema(first), first.object.key)
                self._objects.wanted = self._reference.schema
            checkpoint = self._checkpoint()
            yield checkpoint
            loaded = [e for e in checkpoint.entries if e.status is Status.LOADED]
            # A refresh, for which all is verified, commits nothing before its end.
            if loaded and checkpoint.error is None and not self._objects.is_verified:
                self._committed = (self._committed[0] + len(loaded), loaded[-1].object.key)

    def _checkpoint(self) -> Checkpoint:
        entries = self._objects.take_quarantined()
        if self._reference is None:
            is_last = self.progress.is_all_seen
            return Checkpoint(None, None, None, entries, is_last=is_last)
        metadata = {schemas.TABLE_NAME_KEY: self.progress.table}
        schema = self._reference.schema.with_metadata(metadata)
        checkpoint = Checkpoint(schema, self._reference.key, None, entries)
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
            if is_alone and bytes_left < self._spec.checkpoint_bytes:
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
            self._check_schema(opened)
            for batch in opened.batches():
                yield batch, RowSpan(found, rows, batch.num_rows)
                rows += batch.num_rows
        except MalformedObjectError as error:
            self._objects.check_transfer(opened.fetched)
            checkpoint.entries.append(self._objects.quarantine(found, error))
            raise
        finally:
            self._objects.release(opened)
        checkpoint.entries.append(Entry(found, Status.LOADED, rows))
        self.progress.count(found)

    def _check_schema(self, opened: OpenObject) -> None:
        reference = self._reference
        assert reference is not None  # noqa: S101 - a checkpoint with batches has one
        if self._matching is not None and opened.schema.equals(self._matching):
            return
        if differences := schemas.differences(
            reference.schema,
            self._added_schema(opened),
            expected_in=repr(reference.key),
            found_in=repr(opened.object.key),
        ):
            self._objects.check_transfer(opened.fetched)
            committed, last_key = self._committed
            raise SchemaMismatchError(
                self.progress.table,
                expected_key=reference.key,
                found_key=opened.object.key,
                differences=differences,
                committed=committed,
                last_key=last_key,
            )
        self._matching = opened.schema

    def _added_schema(self, opened: OpenObject) -> pa.Schema:
        add_cq_ids = self._spec.add_cq_ids
        return schema_with_added_columns(opened.schema, opened.object.key, add_cq_ids=add_cq_ids)
