"""Commits to one table by several at a time, who take turns."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations import Destination
from s3pq_dagster.errors import DiskError, SchemaMismatchError
from s3pq_dagster.ledger import Ledger
from s3pq_dagster.tables import Commit, Owner, TableState, loaded_meanwhile

_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


class Turns:
    """A writer that holds the table's lock only while it commits.

    A checkpoint's rows wait in a temporary file until it is their turn, so nobody waits for
    somebody else's requests. What the table is by then is looked at again under the lock.
    """

    def __init__(
        self, destination: Destination, owner: Owner, *, run_id: str, append: bool
    ) -> None:
        self._destination = destination
        self._owner = owner
        self._run_id = run_id
        self._append = append
        self._before: Ledger | None = None
        """As it was when it was first looked at: what is pending follows from that."""

    def state(self) -> TableState:
        """Look, while others may write."""
        state = self._destination.state(self._owner)
        self._before = self._before or state.ledger
        return state

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """See :meth:`TableWriter.commit`; the fingerprint is left to who comes last.

        Raises:
            SchemaMismatchError: Somebody else has made the table, of other columns.
            DiskError: The rows could not be put aside.
            DestinationError: Somebody else loaded some of these objects meanwhile: another run,
                which takes this one for dead.
        """
        if batches is None:
            self._committed(None, schema_key, seal())
            return
        with self._aside(batches) as rows:
            self._committed(rows, schema_key, seal())

    def remove(self, keys: Sequence[str], *, seal: Callable[[], Commit]) -> int:
        """Refuse: what is gone is removed by who comes last."""
        raise NotImplementedError

    def _committed(
        self, rows: pa.RecordBatchReader | None, schema_key: str | None, sealed: Commit
    ) -> None:
        if not sealed.entries:
            return
        opened = self._destination.write(
            self._owner, run_id=self._run_id, append=self._append, refresh=False
        )
        with opened as writer:
            state = writer.state()
            self._check_entries(sealed, state.ledger)
            if rows is not None:
                self._check_schema(rows.schema, schema_key, state)
            times = [moment for moment in (sealed.cursor, state.ledger.cursor) if moment]
            now = replace(sealed, cursor=max(times, default=None), fingerprint=None)
            writer.commit(rows, schema_key=schema_key, seal=lambda: now)

    def _check_entries(self, sealed: Commit, now: Ledger) -> None:
        keys = [entry.object.key for entry in sealed.entries]
        before = Ledger.empty() if self._before is None else self._before
        if changed := before.changed(now, keys):
            raise loaded_meanwhile(self._owner.table, changed)

    def _check_schema(self, schema: pa.Schema, schema_key: str | None, state: TableState) -> None:
        if state.schema is None:
            return
        if differences := schemas.differences(state.schema, schema):
            raise SchemaMismatchError(
                self._owner.table,
                expected_key=str(state.schema_key),
                found_key=str(schema_key),
                differences=differences,
            )

    @contextmanager
    def _aside(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatchReader]:
        with tempfile.TemporaryFile(prefix="s3pq-") as file:
            writer = pa.ipc.new_stream(file, batches.schema, options=_COMPRESSED)
            for batch in batches:
                with self._on_disk():
                    writer.write_batch(batch)
            with self._on_disk():
                writer.close()
                file.flush()
            with (
                pa.OSFile(f"/dev/fd/{file.fileno()}") as source,
                pa.ipc.open_stream(source) as rows,
            ):
                yield rows

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            aside = f"rows of table {self._owner.table!r} that wait for their turn"
            raise DiskError(aside, tempfile.gettempdir(), str(error)) from error
