"""Objects to one bounded stream of Arrow batches, in checkpoints."""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.errors import (
    BrokenAnswerError,
    MalformedObjectError,
    ObjectNotFoundError,
    ReadAbandonedError,
    SchemaMismatchError,
)
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.reading.added_columns import (
    RowSpan,
    add_columns,
    joined,
    schema_with_added_columns,
)
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.open_object import OpenObject, open_object
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.transfer import is_same_when_read_again
from s3pq_dagster.source import e_tags
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_MOST_ASIDE = 1000
"""Objects that are set aside before that is committed."""


@dataclass(slots=True, eq=False)
class Checkpoint:
    """Objects whose rows and ledger entries are committed together."""

    schema: pa.Schema | None
    """Of every batch; ``None`` when no object so far could be read and no schema is known."""
    schema_key: str | None
    """The object the schema comes from."""
    batches: pa.RecordBatchReader | None
    """The rows, once; ``None`` without a schema."""
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


class TableStream:
    """The pending objects of one table, read once, in order.

    Small objects are decoded whole before their first batch is handed on, so a malformed one is
    set aside without undoing anything. Larger ones are decoded as they stream, or once more than
    that with ``verify``; so are small ones with more rows than are kept. What is decoded as it
    streams is a checkpoint of its own.
    """

    def __init__(
        self,
        store: Store,
        pending: Listing,
        spec: S3ParquetSpec,
        *,
        table: str,
        reference: Reference | None,
        log: logging.Logger,
        verify: bool = False,
        on_quarantine: Callable[[Entry], None] = lambda _entry: None,
        is_loaded: Callable[[ObjectMeta], bool] = lambda _found: False,
        most_rows: int | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        """Open the stream; requests start when the first checkpoint is asked for.

        Args:
            store: Where the objects are.
            pending: What to read, in this order.
            spec: The bounds, and which columns to add.
            table: For errors, log lines and the batches' schema metadata.
            reference: The stored schema; ``None`` takes the first readable object's.
            log: Gets a line every ten seconds and one for each object that is left out.
            verify: Decode large objects once without handing on anything, to find the malformed
                before the first of their rows.
            on_quarantine: Called with each entry that is set aside; may raise to end the stream.
            is_loaded: Tells of an object that was overwritten since it was listed whether its rows
                are there already: somebody may have put back what was loaded before.
            most_rows: In a batch, in which small objects are joined; by default
                ``rows_per_record``, all of one object.
            fetcher: Of what is pending, where one is under way already.
        """
        self._spec = spec
        self._table = table
        self._reference = reference
        self._fits: pa.Schema | None = None
        """Of the last object that was held against the reference: the next one has it, too."""
        self._log = log
        self._verify = verify
        self._on_quarantine = on_quarantine
        self._is_loaded = is_loaded
        self._most_rows = most_rows or spec.rows_per_record
        self._joins = most_rows is not None
        self.progress = ProgressLog(table, pending, log)
        self._fetcher = fetcher or build_fetcher(store, pending, spec)
        self._fetcher.on_wait = self.progress.report
        self._fetched = iter(self._fetcher)
        self._next: OpenObject | None = None
        self._aside: list[Entry] = []
        self._committed: tuple[int, str | None] = (0, None)
        self.missing: list[str] = []
        """Keys of objects that were deleted since they were listed."""
        self.changed: list[ObjectMeta] = []
        """Objects that were overwritten since they were listed, as they were read."""

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
        opened, self._next = self._next, None
        if opened is not None:
            self._fetcher.release(opened.fetched)
        self._fetcher.close(wait=wait)

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Yield the checkpoints; drain each one's batches before taking the next.

        A checkpoint without rows still has entries when objects were set aside.

        Raises:
            StoreError: The store failed. Raised here or while iterating batches.
            SchemaMismatchError: An object differs from the reference. Raised while iterating.
        """
        while self._peek() is not None or self._aside:
            checkpoint = self._checkpoint()
            yield checkpoint
            loaded = [e for e in checkpoint.entries if e.status is Status.LOADED]
            # A refresh, for which all is verified, commits nothing before its end.
            if loaded and checkpoint.error is None and not self._verify:
                self._committed = (self._committed[0] + len(loaded), loaded[-1].object.key)

    def _checkpoint(self) -> Checkpoint:
        entries, self._aside = self._aside, []
        if self._reference is None:
            is_last = self.progress.is_all_seen
            return Checkpoint(None, None, None, entries, is_last=is_last)
        schema = self._reference.schema.with_metadata({schemas.TABLE_NAME_KEY: self._table})
        checkpoint = Checkpoint(schema, self._reference.key, None, entries)
        checkpoint.batches = pa.RecordBatchReader.from_batches(schema, self._batches(checkpoint))
        return checkpoint

    def _batches(self, checkpoint: Checkpoint) -> Iterator[pa.RecordBatch]:
        try:
            with closing(self._decoded(checkpoint)) as decoded:
                alone = ((batch, [rows]) for batch, rows in decoded)
                for batch, rows in joined(decoded, self._most_rows) if self._joins else alone:
                    full = add_columns(batch, rows, self._spec.bucket, checkpoint.schema)
                    self.progress.rows += full.num_rows
                    for start in range(0, full.num_rows, self._most_rows):
                        yield full.slice(start, self._most_rows)
                    self._tick()
        except BaseException as error:
            checkpoint.error = error
            raise

    def _decoded(self, checkpoint: Checkpoint) -> Generator[tuple[pa.RecordBatch, RowSpan]]:
        """Give the files' own columns, and whose rows they are."""
        bytes_left = self._spec.checkpoint_bytes
        while bytes_left > 0 and (opened := self._peek()) is not None:
            # Rows that are not decoded yet may turn out malformed, and are rolled back alone.
            alone = opened.decoded is None
            if alone and bytes_left < self._spec.checkpoint_bytes:
                break
            self._next = None
            yield from self._object(opened, checkpoint)
            bytes_left = 0 if alone else bytes_left - opened.size
        checkpoint.entries += self._aside
        self._aside = []
        # No look at the next object, which may be long in coming: what is read is committed.
        checkpoint.is_last = self.progress.is_all_seen

    def _object(
        self, opened: OpenObject, checkpoint: Checkpoint
    ) -> Iterator[tuple[pa.RecordBatch, RowSpan]]:
        found = opened.object
        try:
            self._check_schema(opened)
            rows = 0
            for batch in opened.batches():
                yield batch, RowSpan(found, rows, batch.num_rows)
                rows += batch.num_rows
        except MalformedObjectError as error:
            self._believe(opened.fetched)
            checkpoint.entries.append(self._quarantine(found, error))
            raise
        finally:
            opened.close()
            self._fetcher.release(opened.fetched)
        checkpoint.entries.append(Entry(found, Status.LOADED, rows))
        self.progress.see(found)

    def _peek(self) -> OpenObject | None:
        """Open the next readable object; set the others aside on the way, but not for ever."""
        while (
            self._next is None
            and not self._is_aside_full
            and (fetched := next(self._fetched, None)) is not None
        ):
            self.progress.report()
            if fetched.changes and not isinstance(fetched.error, ObjectNotFoundError):
                self.changed.append(fetched.object)
                if fetched.error is None and self._is_loaded(fetched.object):
                    self._pass_over(fetched)
                    continue
            try:
                opened = self._open(fetched)
            except MalformedObjectError as error:
                self._fetcher.release(fetched)
                self._aside.append(self._quarantine(fetched.object, error))
            except ObjectNotFoundError:
                self.missing.append(fetched.object.key)
                self.progress.see(fetched.object)
                self._log.warning(
                    line(
                        "object_missing",
                        table=self._table,
                        key=fetched.object.key,
                        reason="deleted between listing and reading; skipped",
                    )
                )
                self._fetcher.release(fetched)
            except BaseException:
                self._fetcher.release(fetched)
                raise
            else:
                self._next = opened
                if self._reference is None:
                    schema = self._with_ours(opened)
                    self._reference = Reference(schema, opened.object.key)
        return self._next

    @property
    def _is_aside_full(self) -> bool:
        """Whether what is set aside is a checkpoint's worth, so that it is not read again."""
        size = sum(entry.object.size for entry in self._aside)
        return len(self._aside) >= _MOST_ASIDE or size >= self._spec.checkpoint_bytes

    def _open(self, fetched: ObjectBytes) -> OpenObject:
        """Open an object; one that does not decode is read again before that is believed."""
        whole = self._is_small(fetched.object) or self._verify
        for _ in range(e_tags.MOST_READS):
            try:
                return open_object(fetched, self._spec, whole=whole, on_batch=self._tick)
            except MalformedObjectError:
                if self._is_same_when_read_again(fetched):
                    raise
        raise _differing(fetched)

    def _believe(self, fetched: ObjectBytes) -> None:
        """See that what is wrong with an object is not a fault of its transfer.

        Raises:
            BrokenAnswerError: Other bytes come when it is read again.
        """
        if not self._is_same_when_read_again(fetched):
            raise _differing(fetched)

    def _is_same_when_read_again(self, fetched: ObjectBytes) -> bool:
        part_bytes = self._spec.max_object_bytes_in_memory
        return is_same_when_read_again(self._fetcher.store, fetched, part_bytes, self._tick)

    def _pass_over(self, fetched: ObjectBytes) -> None:
        """Leave an object that became again what is loaded of it."""
        self.progress.see(fetched.object)
        self._log.info(
            line(
                "object_put_back",
                table=self._table,
                key=fetched.object.key,
                reason="when it was read it was again what is loaded of it; not loaded twice",
            )
        )
        self._fetcher.release(fetched)

    def _is_small(self, found: ObjectMeta) -> bool:
        return found.size <= self._spec.max_object_bytes_in_memory

    def _check_schema(self, opened: OpenObject) -> None:
        reference = self._reference
        assert reference is not None  # noqa: S101 - a checkpoint with batches has one
        if self._fits is not None and opened.schema.equals(self._fits):
            return
        found = self._with_ours(opened)
        if differences := schemas.differences(reference.schema, found):
            self._believe(opened.fetched)
            committed, last_key = self._committed
            raise SchemaMismatchError(
                self._table,
                expected_key=reference.key,
                found_key=opened.object.key,
                differences=differences,
                committed=committed,
                last_key=last_key,
            )
        self._fits = opened.schema

    def _with_ours(self, opened: OpenObject) -> pa.Schema:
        return schema_with_added_columns(
            opened.schema, opened.object.key, add_cq_ids=self._spec.add_cq_ids
        )

    def _quarantine(self, found: ObjectMeta, error: MalformedObjectError) -> Entry:
        self.progress.see(found)
        self._log.warning(
            line(
                "object_quarantined",
                table=self._table,
                key=found.key,
                size=found.size,
                reason=error.reason,
            )
        )
        entry = Entry(found, Status.QUARANTINED, 0, error.reason)
        self._on_quarantine(entry)
        return entry

    def _tick(self) -> None:
        """Stop within an object when nobody wants more; else log now and then."""
        if self._fetcher.is_closed:
            raise ReadAbandonedError
        self.progress.report()


def _differing(fetched: ObjectBytes) -> BrokenAnswerError:
    return BrokenAnswerError(
        f"the bytes of {fetched.object.key!r} differ from one read to the next, and not all of "
        f"them are Parquet of its table. Something between here and S3 changes them. Run again; "
        f"if it stays, look for it there."
    )
