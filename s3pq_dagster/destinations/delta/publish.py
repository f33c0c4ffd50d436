"""How a change becomes visible: the intent first, then the rows, then the ledger.

A crash before the rows are committed leaves an intent that nobody takes for committed, and files
that are in no version. A crash after it leaves an intent that the next one who looks brings into
the ledger: the number in the commit says that it counts.
"""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from s3pq_dagster.destinations.delta.changes import Change
from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.failures import translated, written_meanwhile
from s3pq_dagster.destinations.delta.intents import Intent, next_number
from s3pq_dagster.destinations.delta.log import DataFile, OutdatedError, Version
from s3pq_dagster.destinations.delta.replace import without
from s3pq_dagster.destinations.delta.snapshot import Look, Looking
from s3pq_dagster.destinations.delta.stage import OURS, Stage
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.table_errors import not_managed, unaccounted_rows
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.ledger import Status

_TRIES = 20
"""How often a commit is built anew because somebody compacted the table meanwhile, say."""


class Publisher:
    """Commits changes of one table, one after the other."""

    def __init__(
        self, storage: Storage, owner: Owner, partition_by: Sequence[str], target_bytes: int
    ) -> None:
        self._storage = storage
        self._owner = owner
        self._partition_by = list(partition_by)
        self._target_bytes = target_bytes
        self._looking = Looking(storage, owner.table)
        self._reading = DataFiles(storage, owner.table)
        self._look: Look | None = None
        self._in_doubt = False

    @property
    def shown(self) -> str:
        """The table, as people are told it."""
        return self._looking.log.shown

    @property
    def look(self) -> Look:
        """The table as it was found, or as the last change left it."""
        assert self._look is not None  # noqa: S101 - begin() comes first
        return self._look

    @property
    def in_doubt(self) -> bool:
        """Whether the change under way may be committed, so that no file of it may go."""
        return self._in_doubt

    def begin(self) -> None:
        """Look, and finish what a run before left unfinished.

        Raises:
            DestinationError: As :meth:`Destination.state`.
        """
        found = self._looking.look()
        found.check(self._owner)
        with translated(self._storage.root):
            self._looking.ledger.create()
        self._look = self._looking.finish(found, alone=self._storage.is_local)

    def stage(self, version: Version | None, schema: pa.Schema) -> Stage:
        """Make room for new files of the table."""
        partition_by = self._partition_by if version is None else version.partition_by
        return Stage(self._storage, self._owner.table, schema, partition_by, self._target_bytes)

    def publish(
        self,
        change: Change,
        files: Sequence[DataFile] = (),
        schema: pa.Schema | None = None,
    ) -> int:
        """Commit a change, and give the number of rows that went.

        Args:
            change: Of the ledger.
            files: New rows, in files that are in their place.
            schema: Of the table, as it is stored, where this makes it or makes it anew.

        Raises:
            DestinationError: Another run wrote the table meanwhile, or it failed. Nothing of it is
                committed, unless :attr:`in_doubt` says otherwise.
        """
        self._in_doubt = False
        change.check(self._owner, self.look.entries)
        attempts = Retrying(
            retry=retry_if_exception_type(OutdatedError),
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.02, max=1),
            reraise=True,
        )
        with translated(self._looking.log.shown):
            try:
                gone = int(attempts(self._publish, change, files, schema))
            except OutdatedError as error:
                msg = (
                    f"somebody else commits to {self._looking.log.shown} all the time: {error}. "
                    f"Nothing of this checkpoint is written. Run again once that is over."
                )
                raise DestinationError(msg) from error
        self._in_doubt = False
        return gone

    def _publish(self, change: Change, files: Sequence[DataFile], schema: pa.Schema | None) -> int:
        version = self._current()
        if version is None and schema is None:
            self._enter(self._intent(change, None, in_table=False))
            return 0
        self._refuse_missing(files)
        if version is None:
            self._commit(None, self._intent(change, None), files, [], schema)
            return 0
        if change.refresh or self.look.schema is None:
            version = self._looking.log.allow(version, schema or version.schema)
            if version.transaction() != self.look.number:
                raise written_meanwhile(self._owner.table)
            intent = self._intent(change, version)
            self._commit(version, intent, files, [], schema or version.schema, overwrite=True)
            return 0
        intent = self._intent(change, version)
        self._refuse_strays(change, version.files)
        replaced = change.replaced(self.look.entries)
        if not replaced:
            self._commit(version, intent, files, [], version.schema)
            return 0
        return self._replace(version, intent, files, replaced)

    def _intent(self, change: Change, version: Version | None, *, in_table: bool = True) -> Intent:
        return Intent(
            next_number(self.look.number),
            after=self.look.number,
            upon=None if version is None else version.number,
            in_table=in_table,
            change=change,
        )

    def _enter(self, intent: Intent) -> None:
        """Commit a change without rows of a table that is not there."""
        self._looking.intents.write(intent)
        try:
            self._looking.enter(intent)
        except OutdatedError:
            self._looking.intents.delete(intent.number)
            raise
        self._conclude(intent)

    def _replace(
        self, version: Version, intent: Intent, files: Sequence[DataFile], keys: set[str]
    ) -> int:
        """Commit files, and the removal of the rows of some objects."""
        stage = self.stage(version, version.schema)
        try:
            removed, gone = without(
                keys, version.files, schema=version.schema, reading=self._reading, stage=stage
            )
            self._commit(version, intent, [*files, *stage.files], removed, version.schema)
        except BaseException:
            if not self._in_doubt:
                stage.discard()
            raise
        return gone

    def _current(self) -> Version | None:
        """Look at the table again: others may have compacted it, but none of us has written it."""
        version = self._looking.log.open()
        if (version is None) != (self.look.version is None):
            raise written_meanwhile(self._owner.table)
        if version is None:
            self._refuse_strangers()
        elif version.transaction() != self.look.number:
            raise written_meanwhile(self._owner.table)
        return version

    def _commit(
        self,
        version: Version | None,
        intent: Intent,
        added: Sequence[DataFile],
        removed: Sequence[DataFile],
        schema: pa.Schema | None,
        *,
        overwrite: bool = False,
    ) -> None:
        self._looking.intents.write(intent)
        self._in_doubt = True
        try:
            self._looking.log.commit(
                version,
                number=intent.number,
                added=added,
                removed=removed,
                schema=schema,
                partition_by=self._partition_by,
                overwrite=overwrite,
            )
        except Exception as error:
            found = self._looking.log.open()  # an answer that got lost looks like a failure
            if found is None or found.transaction() != intent.number:
                # A request that was given up may arrive yet, unless its place is taken.
                if isinstance(error, OutdatedError) or self._storage.is_local:
                    self._in_doubt = False
                    self._looking.intents.delete(intent.number)
                raise
        self._conclude(intent)

    def _conclude(self, intent: Intent) -> None:
        """Bring a committed intent into the ledger."""
        self._looking.apply(intent)
        self._looking.intents.delete(intent.number)
        self._look = self._looking.after(self.look, intent)

    def _refuse_strays(self, change: Change, before: Sequence[DataFile]) -> None:
        """Stop if the table has rows of these objects that no entry accounts for.

        Somebody deleted the entry: the rows would be there twice. That takes a look at the whole
        column, so only where the table has more rows than the ledger says.
        """
        loaded = self.look.entries.filter(pl.col("status") == Status.LOADED)
        keys = change.loaded_keys
        if not keys or sum(map(self._reading.rows, before)) <= int(loaded["rows"].sum()):
            return
        said = dict(loaded.group_by("key").agg(pl.col("rows").sum()).rows())
        found = self._reading.rows_by_key(before, keys)
        strays = sorted((str(k), n, said.get(k, 0)) for k, n in found if n > said.get(k, 0))
        if strays:
            raise unaccounted_rows(self._owner.table, strays)

    def _refuse_strangers(self) -> None:
        """Stop if a directory of the table's name is there with something that is not ours."""
        names = self._storage.names(self._owner.table, recursive=True)
        strange = [name for name in names if not name.rpartition("/")[2].startswith(OURS)]
        if strange:
            raise not_managed(
                self._owner.table,
                f"{self._looking.log.shown} is there, with {strange[0]!r} in it, but is no Delta "
                f"table",
                "move that directory away",
            )

    def _refuse_missing(self, files: Sequence[DataFile]) -> None:
        """Stop if somebody deleted files since they were written, by a vacuum of everything."""
        for file in files:
            found = self._storage.stat(f"{self._owner.table}/{file.path}")
            if found is None or found.size != file.size:
                msg = (
                    f"{self._looking.log.shown}/{file.path} is gone before it was committed: "
                    f"somebody deletes files that are in no version of the table. Vacuum with a "
                    f"retention longer than a load takes, and run again."
                )
                raise DestinationError(msg)
