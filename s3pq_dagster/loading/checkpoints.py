"""How the checkpoints of a table's stream are committed, one transaction each."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from s3pq_dagster.destinations.protocol import CheckpointWriter
from s3pq_dagster.destinations.table_state import Commit
from s3pq_dagster.drift.changes import SchemaChanges, schema_changes
from s3pq_dagster.errors import (
    InternalError,
    MalformedObjectError,
    RefusedObjectError,
    RefusedRowsError,
    SchemaMismatchError,
    UnsteadyObjectError,
)
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.loading.background_reader import read_in_background
from s3pq_dagster.loading.interrupts import stopping_on_interrupt, wait_interruptibly
from s3pq_dagster.loading.load_log import LoadLog
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.tally import LoadTally
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.reading.fitting import Reference
from s3pq_dagster.reading.table_stream import Checkpoint, TableStream


class RefusedInRefreshError(Exception):
    """A destination refused a value in a refresh, which has to start again without its object."""

    def __init__(self, found: ObjectMeta | None, error: RefusedRowsError) -> None:
        super().__init__(str(error))
        self.found = found
        """The object; ``None`` if the checkpoint had several."""
        self.error = error


class CheckpointCommitter:
    """Commits the checkpoints of one stream with one writer."""

    def __init__(
        self,
        plan: LoadPlan,
        stream: TableStream,
        writer: CheckpointWriter,
        tally: LoadTally,
        log: LoadLog,
        *,
        again: Callable[[Listing, Reference | None], TableStream],
        abandon: Callable[[], None] = lambda: None,
        on_committed: Callable[[Sequence[Entry]], None] = lambda _entries: None,
    ) -> None:
        """Connect the stream with the writer; nothing is read yet.

        Args:
            plan: The table. In a refresh all checkpoints are one transaction, which the caller
                commits and logs after :meth:`run`.
            stream: The pending objects; closed when :meth:`run` ends.
            writer: The table, opened in the destination.
            tally: Counts what is committed.
            log: Gets a line for each committed checkpoint and object.
            again: Opens a stream of some of the objects in which each is a checkpoint of its own.
            abandon: Called when the run is cancelled: makes a waiting writer commit nothing.
            on_committed: Called with the entries of each committed checkpoint; not in a refresh.
        """
        self._plan = plan
        self._stream = stream
        self._writer = writer
        self._tally = tally
        self._log = log
        self._again = again
        self._abandon = abandon
        self._on_committed = on_committed

    def run(self) -> None:
        """Commit every checkpoint, and the table's fingerprint with the last of them.

        Raises:
            StoreError: The bucket failed; committed checkpoints stand.
            SchemaMismatchError: Two objects differ; checkpoints before stand.
            DestinationError: The destination failed; committed checkpoints stand.
            RefusedInRefreshError: The destination refused a value in a refresh.
            InternalError: An object was neither read nor reported as unreadable.
        """
        stream, tally = self._stream, self._tally
        with stream, ThreadPoolExecutor(1, "s3pq-commit") as thread:
            for checkpoint, refused in self._commit_each(stream, thread):
                if refused is not None:
                    self._commit_one_by_one(checkpoint, thread)
                if not self._plan.refresh:
                    self._on_committed(checkpoint.entries)
        if (seen := stream.progress.seen) != len(tally.difference.pending):
            raise InternalError(
                f"loading table {self._plan.owner.table!r}",
                f"only {seen} of {len(tally.difference.pending)} pending objects read",
            )
        if not tally.fingerprint:  # what was pending at the end turned out missing, for example
            self._writer.commit(
                None,
                schema_key=None,
                seal=lambda: tally.seal_last([], stream.missing, stream.changed),
            )

    def _commit_each(
        self, stream: TableStream, thread: Executor
    ) -> Iterator[tuple[Checkpoint, str | None]]:
        """Commit the checkpoints of a stream in a thread.

        Yields:
            Each checkpoint and, if it is rolled back because the destination refused a value in it,
            the reason.
        """
        for checkpoint in stream.checkpoints():
            with stopping_on_interrupt(self._abandon, lambda: stream.close(wait=False)):
                ends = stream is self._stream
                refused = wait_interruptibly(thread.submit(self._commit, checkpoint, ends=ends))
            yield checkpoint, refused

    def _commit(self, checkpoint: Checkpoint, *, ends: bool) -> str | None:
        """Commit a checkpoint; with ``ends``, the load if the checkpoint is the last."""
        lock, batches = Lock(), checkpoint.batches
        try:
            self._writer.commit(
                batches and read_in_background(batches, lock),
                schema_key=checkpoint.schema_key,
                seal=lambda: self._seal(checkpoint, ends=ends),
            )
        except BaseException as error:
            if isinstance(error, RefusedRowsError) and checkpoint.error is None:
                _read_to_end(checkpoint, lock)
                if checkpoint.error is None:
                    return self._refused(checkpoint, error)
            if isinstance(error, SchemaMismatchError):  # the destination knows no other commit
                committed, last_key = self._stream.committed
                raise error.but(committed=committed, last_key=last_key) from error.__cause__
            if checkpoint.error is None:
                raise
            if not isinstance(checkpoint.error, MalformedObjectError):
                # What was caught only wraps the same message once or twice.
                raise checkpoint.error from checkpoint.error.__cause__
            self._commit_quarantine(checkpoint, checkpoint.error, ends=ends)
        self._committed(checkpoint)
        return None

    def _refused(self, checkpoint: Checkpoint, error: RefusedRowsError) -> str:
        """Return why a checkpoint is refused.

        Raises:
            RefusedInRefreshError: Checkpoints before were rolled back with this one.
        """
        if not self._plan.refresh:
            return error.reason
        loaded = [e.object for e in checkpoint.entries if e.status is Status.LOADED]
        of_one = [each for each in loaded if len(loaded) == 1 or each.key == error.key]
        raise RefusedInRefreshError(of_one[0] if of_one else None, error) from error

    def _commit_one_by_one(self, checkpoint: Checkpoint, thread: Executor) -> None:
        """Read the objects of a refused checkpoint again and commit each of them by itself.

        Those that are refused again are quarantined, at last: until then they count as pending, so
        that a run that is killed meanwhile loses none.
        """
        done: list[Entry] = []
        aside = [e for e in checkpoint.entries if e.status is not Status.LOADED]
        tried = [e.object for e in checkpoint.entries if e.status is Status.LOADED]
        with self._again(Listing.of(tried), checkpoint.before) as again:
            for single, refused in self._commit_each(again, thread):
                if refused is None:
                    done += single.entries
                else:
                    aside += _set_aside(single, refused, again)
                    again.reference = single.before  # none of its rows is in the table
            self._stream.reference = again.reference
        self._stream.note_second_reading(again)
        rest = Checkpoint(None, None, None, aside, is_last=checkpoint.is_last)
        if aside or rest.is_last:
            self._writer.commit(None, schema_key=None, seal=lambda: self._seal(rest, ends=True))
            self._committed(rest)
        checkpoint.entries[:] = [*done, *aside]

    def _committed(self, checkpoint: Checkpoint) -> None:
        self._tally.add(checkpoint.entries)
        changes = changes_of(checkpoint)
        self._tally.add_changes(changes)
        if not self._plan.refresh:
            self._log.committed(checkpoint.entries)
            self._log.evolved(changes, checkpoint.schema_key)

    def _commit_quarantine(
        self, checkpoint: Checkpoint, error: MalformedObjectError, *, ends: bool
    ) -> None:
        # An object whose rows are decoded while they are written has a checkpoint to itself. When
        # one of its pages is bad, its rows are rolled back and only its quarantine is committed.
        # That is impossible where rows of other objects were rolled back with them: in a refresh.
        others = any(entry.status is Status.LOADED for entry in checkpoint.entries)
        if others or self._plan.refresh:
            raise UnsteadyObjectError(error.key, error.reason) from error
        self._writer.commit(None, schema_key=None, seal=lambda: self._seal(checkpoint, ends=ends))
        checkpoint.error = None  # its traceback refers to this frame, which would keep files open

    def _seal(self, checkpoint: Checkpoint, *, ends: bool) -> Commit:
        if ends and checkpoint.is_last:
            stream = self._stream
            return self._tally.seal_last(checkpoint.entries, stream.missing, stream.changed)
        return self._tally.seal(checkpoint.entries)


def changes_of(checkpoint: Checkpoint) -> SchemaChanges:
    """Return what a committed checkpoint changed in its table's schema."""
    is_loaded = any(entry.status is Status.LOADED for entry in checkpoint.entries)
    if checkpoint.before is None or checkpoint.schema is None or not is_loaded:
        return SchemaChanges()
    return schema_changes(checkpoint.before.schema, checkpoint.schema)


def _read_to_end(checkpoint: Checkpoint, lock: Lock) -> None:
    """Read what a destination has left of a checkpoint, so that all its objects are known."""
    with lock, suppress(Exception):  # it is in `checkpoint.error`
        for _ in checkpoint.batches or ():
            pass


def _set_aside(checkpoint: Checkpoint, reason: str, stream: TableStream) -> list[Entry]:
    """Return a refused checkpoint's entries, with its object quarantined."""
    return [
        stream.set_aside(entry.object, RefusedObjectError(entry.object.key, reason))
        if entry.status is Status.LOADED
        else entry
        for entry in checkpoint.entries
    ]
