"""Commits checkpoints to a table that other steps write at the same time."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import IO

import pyarrow as pa
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from s3pq_dagster import schemas
from s3pq_dagster.destinations.batches import converted
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_errors import loaded_meanwhile
from s3pq_dagster.destinations.table_state import Commit, Owner, TableState
from s3pq_dagster.drift.casts import InexactError
from s3pq_dagster.drift.fitting import RESCUE, STRICT, conversion, fit
from s3pq_dagster.errors import (
    DestinationConflictError,
    DestinationError,
    DiskError,
    ReadAbandonedError,
    SchemaMismatchError,
)
from s3pq_dagster.ledger import Ledger, latest

_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")
_CONFLICT_SECONDS = 300
"""How long a commit is retried while other writers commit at the same time."""


class ConcurrentWriter:
    """A writer that holds the table's lock only while it commits.

    A checkpoint's rows are spooled to a temporary file before the lock is taken, so that no writer
    waits for another one's requests to S3. The table's state is read again under the lock.
    """

    def __init__(
        self,
        destination: Destination,
        owner: Owner,
        *,
        run_id: str,
        append: bool,
        check: Callable[[Ledger, Commit], None] = lambda _ledger, _commit: None,
        schema_mode: str = STRICT,
    ) -> None:
        """Name the table; nothing is opened yet.

        Args:
            destination: Where the table is.
            owner: The table.
            run_id: For the ledger.
            append: As in :meth:`Destination.write`.
            check: Called under the lock with the table's ledger and the commit; may raise to
                refuse the commit.
            schema_mode: What becomes of columns that another writer has changed meanwhile.
        """
        self._destination = destination
        self._owner = owner
        self._run_id = run_id
        self._append = append
        self._check = check
        self._schema_mode = schema_mode
        self._is_abandoned = False
        self._first_ledger: Ledger | None = None
        """The ledger when it was first read: what is pending was determined from it."""

    def state(self) -> TableState:
        """Read the table's state without a lock, while others may write."""
        state = self._destination.state(self._owner)
        self._first_ledger = self._first_ledger or state.ledger
        return state

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """Commit as :meth:`CheckpointWriter.commit` does, but without a fingerprint.

        The fingerprint covers the whole table, so the load that comes last commits it.

        Raises:
            SchemaMismatchError: Another writer created the table with other columns.
            DiskError: The rows could not be written to a temporary file.
            DestinationError: Another run, which takes this one for dead, loaded some of these
                objects meanwhile.
        """
        if batches is None:
            self._commit_with_retries(lambda: None, schema_key, seal())
            return
        with self._spooled(batches) as file:
            self._commit_with_retries(lambda: _rows_of(file), schema_key, seal())

    def abandon(self) -> None:
        """Commit nothing more, even if a commit already waits for the lock."""
        self._is_abandoned = True

    def _commit_with_retries(
        self,
        rows: Callable[[], pa.RecordBatchReader | None],
        schema_key: str | None,
        sealed: Commit,
    ) -> None:
        """Commit, and retry where the destination has no lock and another writer was faster.

        If a commit succeeded although it reported a conflict, the retry finds its entries in the
        ledger and fails.
        """
        if sealed.entries:
            Retrying(
                retry=retry_if_exception_type(DestinationConflictError),
                stop=stop_after_delay(_CONFLICT_SECONDS),
                wait=wait_random_exponential(multiplier=0.1, max=5),
                reraise=True,
            )(self._commit_locked, rows, schema_key, sealed)

    def _commit_locked(
        self,
        rows: Callable[[], pa.RecordBatchReader | None],
        schema_key: str | None,
        sealed: Commit,
    ) -> None:
        opened = self._destination.write(
            self._owner, run_id=self._run_id, append=self._append, refresh=False
        )
        with opened as writer:
            if self._is_abandoned:
                raise ReadAbandonedError
            state = writer.state()
            self._check_entries(sealed, state.ledger)
            self._check(state.ledger, sealed)
            cursor = latest([sealed.cursor, state.ledger.cursor])
            now = replace(sealed, cursor=cursor, fingerprint=None)
            with self._fitted(rows(), schema_key, state) as fitted:
                writer.commit(fitted, schema_key=schema_key, seal=lambda: now)

    def _check_entries(self, sealed: Commit, now: Ledger) -> None:
        keys = [entry.object.key for entry in sealed.entries]
        before = Ledger.empty() if self._first_ledger is None else self._first_ledger
        if changed := before.changed(now, keys):
            raise loaded_meanwhile(self._owner.table, changed)

    def _fitted(
        self, reader: pa.RecordBatchReader | None, schema_key: str | None, state: TableState
    ) -> AbstractContextManager[pa.RecordBatchReader | None]:
        """Return rows with the columns that the table has got from other writers meanwhile.

        Raises:
            SchemaMismatchError: No schema holds both.
            DestinationError: A value has no equal in the table's columns as they are now.
        """
        if reader is None or state.schema is None:
            return nullcontext(reader)
        coming = reader.schema.remove_metadata()
        where = {"expected_in": repr(state.schema_key), "found_in": repr(schema_key)}
        found = fit(state.schema, coming, self._schema_mode, **where)
        if found.differences:
            raise SchemaMismatchError(
                self._owner.table,
                expected_key=str(state.schema_key),
                found_key=str(schema_key),
                differences=found.differences,
                mode=self._schema_mode,
            )
        if not schemas.differences(found.schema, coming):
            return nullcontext(reader)
        if self._schema_mode == RESCUE:
            raise self._changed_meanwhile("its columns have other types now")
        return self._converted(reader, found.schema)

    def _converted(
        self, reader: pa.RecordBatchReader, schema: pa.Schema
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        convert = conversion(schema, reader.schema, (), self._schema_mode)
        full = schema.with_metadata(reader.schema.metadata)

        def convert_or_refuse(batch: pa.RecordBatch) -> pa.RecordBatch:
            try:
                return convert(batch).cast(full)
            except InexactError as error:
                raise self._changed_meanwhile(str(error)) from error

        return converted(reader, full, convert_or_refuse)

    def _changed_meanwhile(self, found: str) -> DestinationError:
        return DestinationError(
            f"another step changed the columns of table {self._owner.table!r} meanwhile: {found}. "
            f"Nothing of this checkpoint is written. Run again: its objects are then read with "
            f"the columns as they are."
        )

    @contextmanager
    def _spooled(self, batches: pa.RecordBatchReader) -> Iterator[IO[bytes]]:
        with ExitStack() as opened:
            with self._on_disk():
                # Unbuffered: closing a buffered file after a full disk would write and fail again.
                file = opened.enter_context(tempfile.TemporaryFile(prefix="s3pq-", buffering=0))
                sink = pa.OSFile(_path_of(file), "wb")
                writer = pa.ipc.new_stream(sink, batches.schema, options=_COMPRESSED)
            for batch in batches:
                with self._on_disk():
                    writer.write_batch(batch)
            with self._on_disk():
                writer.close()
                sink.close()
            yield file

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            rows = f"rows of table {self._owner.table!r} that wait to be committed"
            raise DiskError(rows, tempfile.gettempdir(), str(error)) from error


def _rows_of(file: IO[bytes]) -> pa.RecordBatchReader:
    """Read the spooled rows from the beginning."""
    file.seek(0)
    return pa.ipc.open_stream(pa.OSFile(_path_of(file)))


def _path_of(file: IO[bytes]) -> str:
    return f"/dev/fd/{file.fileno()}"
