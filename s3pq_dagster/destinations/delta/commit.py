"""The commit of one change: its intent first, then its rows, then the ledger.

A crash before the rows are committed leaves an intent that counts as void, and files that are in no
version. A crash after it leaves an intent that the next one who opens the table applies to the
ledger: the number in the table's commit says that it counts.
"""

from collections.abc import Sequence

import pyarrow as pa

from s3pq_dagster.destinations.delta.apply_intents import apply_intent
from s3pq_dagster.destinations.delta.intents import Intent
from s3pq_dagster.destinations.delta.log import ConcurrentCommitError
from s3pq_dagster.destinations.delta.snapshot import TableLogs
from s3pq_dagster.destinations.delta.version import DataFile, Version


class Committer:
    """Commits changes of one table."""

    def __init__(self, logs: TableLogs, partition_by: Sequence[str], *, is_local: bool) -> None:
        self._logs = logs
        self._partition_by = partition_by
        self._is_local = is_local
        self.in_doubt = False
        """Whether the files of the last commit must be kept, since they may be in the table. It is
        set before they are committed; whoever owns the files resets it once all has gone well."""

    def commit(
        self,
        version: Version | None,
        intent: Intent,
        added: Sequence[DataFile],
        removed: Sequence[DataFile],
        schema: pa.Schema,
        *,
        overwrite: bool = False,
    ) -> None:
        """Commit data files and ledger entries.

        Args:
            version: The version to commit upon; ``None`` creates the table.
            intent: The ledger entries, and the number of the commit.
            added: Data files, which must be written already.
            removed: Data files whose rows go.
            schema: All columns as they are stored.
            overwrite: Remove every data file of ``version``.

        Raises:
            ConcurrentCommitError: Somebody else committed first; nothing of this is committed.
            DestinationError: It failed, and nothing is committed unless :attr:`in_doubt`.
        """
        # The intent is durable before the rows are committed, and goes after the ledger has it. A
        # crash in between leaves rows whose commit carries the intent's number: the entries are
        # then read from the intent. An intent whose number no commit carries is void.
        self._logs.intents.write(intent)
        self.in_doubt = True
        try:
            self._commit_rows(version, intent.number, added, removed, schema, overwrite=overwrite)
        except Exception as error:
            if not self._is_committed(intent):
                self._give_up(intent, error)
                raise
        self._conclude(intent)

    def commit_entries(self, intent: Intent) -> None:
        """Commit entries of a table that does not exist: the commit of ``_s3pq_objects`` decides.

        Raises:
            ConcurrentCommitError: Another change was committed first, or another table's entries.
        """
        self._logs.intents.write(intent)
        try:
            self._enter(intent)
        except ConcurrentCommitError:
            self._logs.intents.delete(intent.number)
            raise
        self._conclude(intent)

    def _commit_rows(
        self,
        version: Version | None,
        number: int,
        added: Sequence[DataFile],
        removed: Sequence[DataFile],
        schema: pa.Schema,
        *,
        overwrite: bool,
    ) -> None:
        log, partition_by = self._logs.log, self._partition_by
        if version is None:
            log.create(number=number, added=added, schema=schema, partition_by=partition_by)
            return
        log.commit(
            version,
            number=number,
            added=added,
            removed=removed,
            schema=schema,
            overwrite=overwrite,
        )

    def _is_committed(self, intent: Intent) -> bool:
        """Return whether a commit that failed is there: its answer may have got lost."""
        found = self._logs.log.open()
        return found is not None and found.transaction() == intent.number

    def _give_up(self, intent: Intent, error: Exception) -> None:
        """Delete the intent of a commit that failed, if that commit cannot arrive any more.

        A request to S3 that timed out may still arrive, unless another commit has its place.
        """
        if isinstance(error, ConcurrentCommitError) or self._is_local:
            self.in_doubt = False
            self._logs.intents.delete(intent.number)

    def _enter(self, intent: Intent) -> None:
        ledger = self._logs.ledger.objects
        objects = ledger.log.open()
        if objects is None or ledger.number_in(objects) != intent.after:
            raise ConcurrentCommitError
        try:
            ledger.apply(objects, intent)
        except ConcurrentCommitError:
            # Perhaps it is our own commit, whose answer got lost: the ledger then has our number.
            if ledger.number_in(ledger.log.open()) != intent.number:
                raise

    def _conclude(self, intent: Intent) -> None:
        """Apply a committed intent to the ledger, and delete it."""
        apply_intent(self._logs, intent)
        self._logs.intents.delete(intent.number)
