"""The Delta Lake destination: a root in a directory or in S3, which each call opens again."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.batches import as_stored
from s3pq_dagster.destinations.column_rules import check_chosen
from s3pq_dagster.destinations.condition import Condition
from s3pq_dagster.destinations.delta.apply_intents import finish_last_run
from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.failures import translated
from s3pq_dagster.destinations.delta.publish import Publisher
from s3pq_dagster.destinations.delta.refresh import Refresh
from s3pq_dagster.destinations.delta.rules import rule_of
from s3pq_dagster.destinations.delta.session import Session
from s3pq_dagster.destinations.delta.snapshot import Snapshot, TableLogs
from s3pq_dagster.destinations.delta.types import check_schema
from s3pq_dagster.destinations.delta.version import DataFile
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.storage.root import Root
from s3pq_dagster.destinations.table_look import TableLook, runs_of
from s3pq_dagster.destinations.table_state import ChooseKeys, Owner, TableAudit, TableState
from s3pq_dagster.destinations.value_rules import ValueRules
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.schemas import folded

DEFAULT_TARGET_FILE_BYTES = 128 * 1024 * 1024
_LOCKS = "_s3pq_locks"


class DeltaDestination:
    """Delta tables below one root, and three more for the ledger."""

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
        """Name the root; nothing is opened yet.

        Args:
            root: A directory, created when first written, or ``s3://bucket/prefix``.
            partition_by: Columns to partition new tables by.
            target_file_bytes: Size at which a data file is ended.
            endpoint_url: Endpoint of an S3 that is not AWS's.
            region: Region of the bucket.
            profile: AWS profile, instead of the usual chain of credentials.
            lock_timeout_seconds: How long to wait for another writer of a table. In S3 nobody
                waits: the commit that comes second fails.
            log: Gets a line each time a lock has to be waited for.
        """
        self._partition_by = list(partition_by)
        self._rules = ValueRules(
            "Delta Lake", check_schema, lambda field: rule_of(field, self._partition_by)
        )
        self._target_file_bytes = target_file_bytes
        parts = urlsplit(root)
        self._root = Root(
            f"s3://{parts.netloc}/{parts.path.strip('/')}" if parts.scheme == "s3" else root,
            endpoint_url=endpoint_url,
            region=region,
            profile=profile,
            lock_timeout_seconds=lock_timeout_seconds,
            log=log or logging.getLogger(__name__),
        )

    def state(self, owner: Owner) -> TableState:
        """See :meth:`Destination.state`."""
        with self._root.open() as storage:
            return _snapshot(storage, owner).state()

    def look(self, owner: Owner) -> TableLook:
        """See :meth:`Destination.look`."""
        with self._root.open() as storage:
            logs = TableLogs(storage, owner.table)
            found = logs.snapshot()
            found.check(owner)
            if found.row is None:
                return TableLook.empty()
            return TableLook.of(found.state(), runs_of(found.entries), logs.versions(found))

    def condition(self, tables: Sequence[str]) -> Condition:
        """See :meth:`Destination.condition`."""
        with self._root.open() as storage:
            return storage.condition({name: f"{_LOCKS}/{name}.lock" for name in tables})

    def entries(self, owner: Owner) -> pl.DataFrame:
        """See :meth:`Destination.entries`."""
        with self._root.open() as storage:
            found = TableLogs(storage, owner.table).snapshot()
            found.check(owner)
            return found.entries

    def check_values(self, batch: pa.RecordBatch, key: str) -> None:
        """See :meth:`Destination.check_values`."""
        self._rules.check(batch, key)

    def audit(self, owner: Owner) -> TableAudit:
        """See :meth:`Destination.audit`."""
        with self._root.open() as storage:
            found = TableLogs(storage, owner.table).snapshot()
            found.check(owner)
            state = found.state()
            if found.version is None or not state.exists:
                return TableAudit.of(state, [])
            with translated(f"{storage.root}/{owner.table}"):
                counts = DataFiles(storage, owner.table).rows_by_key(found.version.files)
            return TableAudit.of(state, counts)

    @contextmanager
    def write(
        self, owner: Owner, *, run_id: str, append: bool, refresh: bool | Sequence[str]
    ) -> Iterator[Session | Refresh]:
        """See :meth:`Destination.write`."""
        with self._root.open() as storage, _locked(storage, owner.table, wait=True):
            publisher = Publisher(storage, owner, self._partition_by, self._target_file_bytes)
            publisher.begin()
            session = Session(
                publisher, owner, run_id=run_id, append=append, partition_by=self._partition_by
            )
            if refresh is False:
                yield session
                return
            reading = DataFiles(storage, owner.table)
            keys = None if refresh is True else refresh
            replacing = Refresh(
                session, publisher, reading, owner, run_id=run_id, append=append, keys=keys
            )
            try:
                yield replacing
                replacing.end()
            except BaseException:
                replacing.discard()
                raise

    @contextmanager
    def read(
        self, table: str, columns: Sequence[str] | None, wanted: ChooseKeys | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """See :meth:`Destination.read`."""
        with self._root.open() as storage:
            shown = f"{storage.root}/{table}"
            found = TableLogs(storage, table).snapshot()
            if found.version is None or found.schema is None:
                msg = f"{shown} is not there yet: materialize the table {table!r} first"
                raise DestinationError(msg)
            there = found.version.schema
            if columns is not None:
                check_chosen(table, columns, there.names)
                names = {folded(name): name for name in there.names}
                there = pa.schema([there.field(names[folded(name)]) for name in columns])
            reading = DataFiles(storage, table)
            files: Iterable[DataFile] = found.version.files
            with translated(shown):
                if wanted is not None:
                    files = (file for file in files if reading.has_rows_of(file, wanted))
                batches = (batch for file in files for batch in reading.batches(file, there))
                yield as_stored(pa.RecordBatchReader.from_batches(there, batches), found.schema)


def _snapshot(storage: Storage, owner: Owner) -> Snapshot:
    """Read a table, and finish what a run left unfinished, if nobody else is writing it."""
    logs = TableLogs(storage, owner.table)
    found = logs.snapshot()
    found.check(owner)
    if found.pending is None:
        return found
    # Without the lock, or the right to write, the snapshot still has the entries of the intent.
    with suppress(DestinationError), _locked(storage, owner.table, wait=False):
        return finish_last_run(logs, found, alone=storage.is_local)
    return found


@contextmanager
def _locked(storage: Storage, table: str, *, wait: bool) -> Iterator[None]:
    """Lock a table against other writers in a directory; in S3 the first commit wins instead.

    Raises:
        DestinationLockedError: Another writer holds the lock.
        DestinationError: The lock file cannot be created.
    """
    if not storage.is_local:
        yield
        return
    storage.check_folder("")
    with ExitStack() as held:
        try:
            held.enter_context(storage.lock(f"{_LOCKS}/{table}.lock", wait=wait))
        except OSError as error:
            msg = (
                f"cannot lock table {table!r} in {storage.root}: {error}. Make room there, or "
                f"allow writing to {storage.root} or, to make it, to the directory above it; then "
                f"run again: nothing is written yet."
            )
            raise DestinationError(msg) from error
        yield
