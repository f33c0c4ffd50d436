"""Changes of one table, each built upon the latest version and committed if it still is that."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from s3pq_dagster.destinations.delta.apply_intents import finish_last_run, snapshot_after
from s3pq_dagster.destinations.delta.changes import Change
from s3pq_dagster.destinations.delta.commit import Committer
from s3pq_dagster.destinations.delta.commit_checks import (
    check_directory_is_free,
    check_files_exist,
    check_no_strays,
)
from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.failures import translated, written_meanwhile
from s3pq_dagster.destinations.delta.intents import Intent, next_number
from s3pq_dagster.destinations.delta.log import ConcurrentCommitError
from s3pq_dagster.destinations.delta.replace import rewrite_for
from s3pq_dagster.destinations.delta.snapshot import Snapshot, TableLogs
from s3pq_dagster.destinations.delta.stage import Stage
from s3pq_dagster.destinations.delta.types import stored
from s3pq_dagster.destinations.delta.version import DataFile, Version
from s3pq_dagster.destinations.delta.widen import StoredRows
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import DestinationError, TableNotManagedError

_ATTEMPTS = 20
"""How often a commit is built again because somebody else, a compaction say, committed first."""


class Publisher:
    """Commits changes of one table, one after the other."""

    def __init__(
        self, storage: Storage, owner: Owner, partition_by: Sequence[str], target_bytes: int
    ) -> None:
        self._storage = storage
        self._owner = owner
        self._partition_by = list(partition_by)
        self._target_bytes = target_bytes
        self._logs = TableLogs(storage, owner.table)
        self._reading = DataFiles(storage, owner.table)
        self._committer = Committer(self._logs, self._partition_by, is_local=storage.is_local)
        self._snapshot: Snapshot | None = None

    @property
    def shown(self) -> str:
        """The table's directory, for errors."""
        return self._logs.log.shown

    @property
    def snapshot(self) -> Snapshot:
        """The table as :meth:`begin` found it, or as the last change left it."""
        assert self._snapshot is not None  # noqa: S101 - begin() comes first
        return self._snapshot

    @property
    def partition_by(self) -> list[str]:
        """The columns that the table is partitioned by, or that it will be."""
        version = self.snapshot.version
        return self._partition_by if version is None else version.partition_by

    @property
    def in_doubt(self) -> bool:
        """Whether the last change may be committed although it failed: keep its files."""
        return self._committer.in_doubt

    def begin(self) -> None:
        """Read the table, and finish what an earlier run left unfinished.

        Raises:
            DestinationError: As :meth:`Destination.state`.
        """
        found = self._logs.snapshot()
        found.check(self._owner)
        with translated(self._storage.root):
            self._logs.ledger.create()
        self._snapshot = finish_last_run(self._logs, found, alone=self._storage.is_local)

    def rows(self, version: Version | None) -> StoredRows:
        """Return what the table has, for holding a new schema against it."""
        row = self.snapshot.row
        return StoredRows(
            self._owner.table,
            self.snapshot.schema,
            None if row is None else row["schema_key"],
            pa.schema([]) if version is None else version.schema,
            self.partition_by,
            [] if version is None else version.files,
            self._reading,
        )

    def versions_added(
        self, row: dict[str, Any], also: Sequence[dict[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        """See :meth:`LedgerTables.versions_added`; ``row`` is what the table's row will be."""
        with translated(self.shown):
            return self._logs.ledger.versions_added(self.snapshot.row, row, also)

    def stage(self, schema: pa.Schema) -> Stage:
        """Begin new data files of the table."""
        return Stage(
            self._storage, self._owner.table, schema, self.partition_by, self._target_bytes
        )

    def publish(
        self,
        change: Change,
        files: Sequence[DataFile] = (),
        schema: pa.Schema | None = None,
    ) -> int:
        """Commit a change, and whatever the table's columns become by it.

        Args:
            change: What changes in the ledger.
            files: Data files with new rows, which must be written already.
            schema: The table's Arrow schema after the change, for a change with rows.

        Returns:
            The number of rows removed.

        Raises:
            DestinationError: Another run wrote the table meanwhile, or the commit failed. Nothing
                is committed, unless :attr:`in_doubt` says otherwise.
        """
        self._committer.in_doubt = False
        change.check(self._owner, self.snapshot.entries)
        removed = _until_committed(self.shown, lambda: self._publish(change, files, schema))
        self._committer.in_doubt = False
        return removed

    def _publish(self, change: Change, files: Sequence[DataFile], schema: pa.Schema | None) -> int:
        """Build the commit upon the latest version, and commit it; return the rows removed."""
        version = self._latest()
        if version is None and schema is None:
            intent = self._intent(change, None, in_table=False)
            self._committer.commit_entries(intent)
            return self._conclude(intent)
        check_files_exist(self._storage, self._owner.table, files)
        if version is None:
            assert schema is not None  # noqa: S101 - or there are no rows, as above
            intent = self._intent(change, None)
            self._committer.commit(None, intent, files, [], stored(schema))
            return self._conclude(intent)
        if change.refresh or self.snapshot.schema is None:
            columns = version.schema if schema is None else stored(schema)
            return self._overwrite(version, change, files, columns)
        return self._extend(version, change, files, schema)

    def _extend(
        self,
        version: Version,
        change: Change,
        files: Sequence[DataFile],
        schema: pa.Schema | None,
    ) -> int:
        """Commit files beside those that the table has, or beside what becomes of these."""
        entries = self.snapshot.entries
        check_no_strays(
            self._owner.table, change.loaded_keys, entries, self._reading, version.files
        )
        changes = self.rows(version).changes_for(schema)
        columns = self.rows(version).columns_after(changes)
        version = self._allow(version, columns)
        stage = self.stage(columns)
        try:
            made = rewrite_for(self.rows(version), changes, change.replaced(entries), stage)
            intent, added = self._intent(change, version), [*files, *stage.files]
            self._committer.commit(
                version, intent, added, made.removed, columns, overwrite=made.is_whole
            )
        except BaseException:
            if not self.in_doubt:
                stage.discard()
            raise
        return self._conclude(intent, removed=made.rows)

    def _allow(self, version: Version, columns: pa.Schema) -> Version:
        """Let the table have columns of types of which it has to be told."""
        version = self._logs.log.allow(version, columns)
        if version.transaction() != self.snapshot.number:
            raise written_meanwhile(self._owner.table)
        return version

    def _overwrite(
        self, version: Version, change: Change, files: Sequence[DataFile], schema: pa.Schema
    ) -> int:
        """Commit files in place of all that the table has, with columns of their own."""
        allowed = self._allow(version, schema)
        intent = self._intent(change, allowed)
        self._committer.commit(allowed, intent, files, [], schema, overwrite=True)
        return self._conclude(intent)

    def _intent(self, change: Change, version: Version | None, *, in_table: bool = True) -> Intent:
        return Intent(
            next_number(self.snapshot.number),
            after=self.snapshot.number,
            upon=None if version is None else version.number,
            in_table=in_table,
            change=change,
        )

    def _latest(self) -> Version | None:
        """Read the latest version, upon which the commit is built.

        Others may have compacted the table since the snapshot; no run may have written it.
        """
        version = self._logs.log.open()
        if (version is None) != (self.snapshot.version is None):
            raise written_meanwhile(self._owner.table)
        if version is None:
            self._check_directory_is_free()
        elif version.transaction() != self.snapshot.number:
            raise written_meanwhile(self._owner.table)
        return version

    def _check_directory_is_free(self) -> None:
        try:
            check_directory_is_free(self._storage, self._owner.table)
        except TableNotManagedError as error:
            if self._logs.log.open() is not None:  # created since it was looked for
                raise written_meanwhile(self._owner.table) from error
            raise

    def _conclude(self, intent: Intent, *, removed: int = 0) -> int:
        """Take a committed intent into the snapshot; return the number of rows removed."""
        self._snapshot = snapshot_after(self._logs, self.snapshot, intent)
        return removed


def _until_committed(shown: str, build: Callable[[], int]) -> int:
    """Build a commit again as long as others commit first; return the number of rows removed.

    Args:
        shown: The table's directory.
        build: Builds the commit upon the latest version, and commits it.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(ConcurrentCommitError),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.02, max=1),
        reraise=True,
    )
    with translated(shown):
        try:
            return int(attempts(build))
        except ConcurrentCommitError as error:
            msg = (
                f"somebody else commits to {shown} all the time: {error}. Nothing of this "
                f"checkpoint is written. Run again once that is over."
            )
            raise DestinationError(msg) from error
