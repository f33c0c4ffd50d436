"""The root: a directory or prefix with a Delta table a table, opened anew for each call."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa

from s3pq_dagster.destinations.batches import as_stored
from s3pq_dagster.destinations.column_rules import check_chosen
from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.failures import translated
from s3pq_dagster.destinations.delta.local import LocalDirectory
from s3pq_dagster.destinations.delta.publish import Publisher
from s3pq_dagster.destinations.delta.refresh import Refresh
from s3pq_dagster.destinations.delta.s3 import S3Prefix
from s3pq_dagster.destinations.delta.session import Session
from s3pq_dagster.destinations.delta.snapshot import Look, Looking
from s3pq_dagster.destinations.delta.storage import Storage
from s3pq_dagster.destinations.table_state import Owner, TableAudit, TableState
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.schemas import folded

DEFAULT_TARGET_FILE_BYTES = 128 * 1024 * 1024


class DeltaDestination:
    """Delta tables below one root, and the ledger beside them."""

    def __init__(
        self,
        root: str,
        *,
        partition_by: Sequence[str] = (),
        target_file_bytes: int = DEFAULT_TARGET_FILE_BYTES,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        lock_timeout_seconds: float = 300,
        log: logging.Logger | None = None,
    ) -> None:
        """Name the root; nothing is looked at yet.

        Args:
            root: A directory, or ``s3://bucket/prefix``; it is made when first written.
            partition_by: Columns to partition new tables by.
            target_file_bytes: A data file is ended once it is of that size.
            endpoint_url: Of an S3 that is not AWS's.
            region: Of the bucket.
            profile: Of the AWS credentials.
            lock_timeout_seconds: How long to wait for another writer of a table; on S3 nobody
                waits.
            log: Gets a line each time a lock has to be waited for.
        """
        self._partition_by = list(partition_by)
        self._target_file_bytes = target_file_bytes
        parts = urlsplit(root)
        self._storage: Storage
        if parts.scheme == "s3":
            self._storage = S3Prefix(
                parts.netloc,
                parts.path,
                endpoint_url=endpoint_url,
                region=region,
                profile=profile,
            )
        else:
            self._storage = LocalDirectory(
                Path(root).absolute(),
                lock_timeout_seconds=lock_timeout_seconds,
                log=log or logging.getLogger(__name__),
            )

    def state(self, owner: Owner) -> TableState:
        """See :meth:`Destination.state`."""
        return self._look(owner).state()

    def audit(self, owner: Owner) -> TableAudit:
        """See :meth:`Destination.audit`."""
        found = self._look(owner)
        state = found.state()
        if found.version is None or not state.exists:
            return TableAudit.of(state, [])
        with translated(self._shown(owner.table)):
            counts = DataFiles(self._storage, owner.table).rows_by_key(found.version.files)
        return TableAudit.of(state, counts)

    @contextmanager
    def write(
        self, owner: Owner, *, run_id: str, append: bool, refresh: bool
    ) -> Iterator[Session | Refresh]:
        """See :meth:`Destination.write`."""
        self._storage.make_root()
        with self._storage.lock(owner.table, wait=True):
            publisher = Publisher(self._storage, owner, self._partition_by, self._target_file_bytes)
            publisher.begin()
            session = Session(
                publisher, owner, run_id=run_id, append=append, partition_by=self._partition_by
            )
            if not refresh:
                yield session
                return
            reading = DataFiles(self._storage, owner.table)
            anew = Refresh(session, publisher, reading, owner, run_id=run_id, append=append)
            try:
                yield anew
                anew.end()
            except BaseException:
                anew.discard()
                raise

    @contextmanager
    def read(self, table: str, columns: Sequence[str] | None) -> Iterator[pa.RecordBatchReader]:
        """See :meth:`Destination.read`."""
        found = Looking(self._storage, table).look()
        if found.version is None or found.schema is None:
            msg = f"{self._shown(table)} is not there yet: materialize the table {table!r} first"
            raise DestinationError(msg)
        there = found.version.schema
        if columns is not None:
            check_chosen(table, columns, there.names)
            names = {folded(name): name for name in there.names}
            there = pa.schema([there.field(names[folded(name)]) for name in columns])
        reading = DataFiles(self._storage, table)
        files = found.version.files
        with translated(self._shown(table)):
            batches = (batch for file in files for batch in reading.batches(file, there))
            yield as_stored(pa.RecordBatchReader.from_batches(there, batches), found.schema)

    def _look(self, owner: Owner) -> Look:
        """Look at a table, and finish what a run left unfinished, if nobody else is at it."""
        looking = Looking(self._storage, owner.table)
        found = looking.look()
        found.check(owner)
        if found.pending is None:
            return found
        # Whoever may only read sees the same; the next writer finishes it then.
        with suppress(DestinationError), self._storage.lock(owner.table, wait=False) as alone:
            if alone:
                return looking.finish(found, alone=self._storage.takes_turns)
        return found

    def _shown(self, table: str) -> str:
        return f"{self._storage.shown}/{table}"
