"""How the checkpoints of a table's stream are committed, one transaction each."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from s3pq_dagster.destinations.protocol import CheckpointWriter
from s3pq_dagster.destinations.table_state import Commit
from s3pq_dagster.errors import InternalError, MalformedObjectError, UnsteadyObjectError
from s3pq_dagster.ledger import Status
from s3pq_dagster.loading.background_reader import read_in_background
from s3pq_dagster.loading.interrupts import stopping_on_interrupt, wait_interruptibly
from s3pq_dagster.loading.load_log import LoadLog
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.tally import LoadTally
from s3pq_dagster.reading.table_stream import Checkpoint, TableStream


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
        abandon: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect the stream with the writer; nothing is read yet.

        Args:
            plan: The table. In a refresh all checkpoints are one transaction, which the caller
                commits and logs after :meth:`run`.
            stream: The pending objects; closed when :meth:`run` ends.
            writer: The table, opened in the destination.
            tally: Counts what is committed.
            log: Gets a line for each committed checkpoint and object.
            abandon: Called when the run is cancelled: makes a waiting writer commit nothing.
        """
        self._plan = plan
        self._stream = stream
        self._writer = writer
        self._tally = tally
        self._log = log
        self._abandon = abandon

    def run(self) -> None:
        """Commit every checkpoint, and the table's fingerprint with the last of them.

        Raises:
            StoreError: The bucket failed; committed checkpoints stand.
            SchemaMismatchError: Two objects differ; checkpoints before stand.
            DestinationError: The destination failed; committed checkpoints stand.
            InternalError: An object was neither read nor reported as unreadable.
        """
        stream, tally = self._stream, self._tally
        with stream, ThreadPoolExecutor(1, "s3pq-commit") as thread:
            for checkpoint in stream.checkpoints():
                with stopping_on_interrupt(self._abandon, lambda: stream.close(wait=False)):
                    wait_interruptibly(thread.submit(self._commit, checkpoint))
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

    def _commit(self, checkpoint: Checkpoint) -> None:
        try:
            self._writer.commit(
                checkpoint.batches and read_in_background(checkpoint.batches),
                schema_key=checkpoint.schema_key,
                seal=lambda: self._seal(checkpoint),
            )
        except BaseException:
            if checkpoint.error is None:
                raise
            if not isinstance(checkpoint.error, MalformedObjectError):
                # What was caught only wraps the same message once or twice.
                raise checkpoint.error from checkpoint.error.__cause__
            self._commit_quarantine(checkpoint, checkpoint.error)
        self._tally.add(checkpoint.entries)
        if not self._plan.refresh:
            self._log.committed(checkpoint.entries)

    def _commit_quarantine(self, checkpoint: Checkpoint, error: MalformedObjectError) -> None:
        # An object whose rows are decoded while they are written has a checkpoint to itself. When
        # one of its pages is bad, its rows are rolled back and only its quarantine is committed.
        # That is impossible where rows of other objects were rolled back with them: in a refresh.
        others = any(entry.status is Status.LOADED for entry in checkpoint.entries)
        if others or self._plan.refresh:
            raise UnsteadyObjectError(error.key, error.reason) from error
        self._writer.commit(None, schema_key=None, seal=lambda: self._seal(checkpoint))
        checkpoint.error = None  # its traceback refers to this frame, which would keep files open

    def _seal(self, checkpoint: Checkpoint) -> Commit:
        if checkpoint.is_last:
            stream = self._stream
            return self._tally.seal_last(checkpoint.entries, stream.missing, stream.changed)
        return self._tally.seal(checkpoint.entries)
