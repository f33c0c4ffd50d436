"""The log of one Delta table: reading its latest version, and committing upon exactly that one."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import deltalake
import deltalake.transaction
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from s3pq_dagster.destinations.delta.failures import (
    failed,
    is_unreachable,
    short,
    translated,
)
from s3pq_dagster.destinations.delta.version import APP, DataFile, Version
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.errors import DestinationDeniedError, DestinationError
from s3pq_dagster.schemas import KEY_COLUMN

_LOG = "_delta_log"
_NO_FILE: list[tuple[str, str, Any]] = [(KEY_COLUMN, "in", [])]
_READABLE = {"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"}
"""Table features that change neither the rows of a data file nor which data files there are."""


class ConcurrentCommitError(Exception):
    """Somebody committed to the Delta table since it was read; our commit is not in it."""


class Log:
    """The log of one Delta table, which may not exist yet."""

    def __init__(self, storage: Storage, table: str) -> None:
        self._storage = storage
        self.table = table
        self.shown = f"{storage.root}/{table}"
        """The table's directory, in errors and for delta-rs."""

    def open(self) -> Version | None:
        """Read the latest version; ``None`` if there is no Delta table.

        Raises:
            DestinationError: The log is damaged, or the table has a feature we cannot keep.
        """
        self._storage.check_folder(self.table)
        try:
            table = deltalake.DeltaTable(
                self.shown, storage_options=self._storage.object_store_options()
            )
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            if "Path does not exist" in str(error):
                return None
            raise self._damaged(error) from error
        if self._storage.is_local:
            self._check_last(table.version())
        self._check_features(table)
        return Version(table)

    def create(
        self,
        *,
        number: int,
        added: Sequence[DataFile],
        schema: pa.Schema,
        partition_by: Sequence[str],
        app: str = APP,
    ) -> None:
        """Create the table with its first files.

        Args:
            number: The number that the commit carries.
            added: Data files, which must be written already.
            schema: All columns.
            partition_by: Columns whose values are in no data file.
            app: The application whose number it is.

        Raises:
            ConcurrentCommitError: The table exists by now; nothing is committed.
            DestinationError: It failed. Only the number in the table tells whether it is committed.
        """
        with translated(self.shown), _conflicts_raised():
            try:
                deltalake.transaction.create_table_with_add_actions(
                    self.shown,
                    deltalake.Schema.from_arrow(schema),
                    list(map(_add, added)),
                    partition_by=list(partition_by),
                    storage_options=self._storage.object_store_options(),
                    commit_properties=_properties(app, number),
                )
            except DeltaError as error:
                if "already exists" in str(error):
                    raise ConcurrentCommitError(short(error)) from error
                raise
            self._flush(0)

    def commit(
        self,
        version: Version,
        *,
        number: int,
        added: Sequence[DataFile],
        removed: Sequence[DataFile] = (),
        schema: pa.Schema,
        app: str = APP,
        overwrite: bool = False,
    ) -> None:
        """Commit added and removed files upon a version, if it still is the latest one.

        Args:
            version: The version that the commit must follow.
            number: The number that the commit carries.
            added: Data files, which must be written already.
            removed: Data files whose rows go; none with columns that the table has not yet.
            schema: All columns; those that the table has change only with ``overwrite``.
            app: The application whose number it is.
            overwrite: Remove every data file of ``version``.

        Raises:
            ConcurrentCommitError: Somebody committed since; nothing of this is committed.
            DestinationError: It failed. Only the number in the table tells whether it is committed.
        """
        # delta-rs takes columns only with the mode "overwrite", which removes the files that a
        # filter does not rule out. No key is among no keys, so this one rules out every file.
        gains = not (overwrite or set(schema.names) <= set(version.schema.names))
        with translated(self.shown), _conflicts_raised():
            version.table.create_write_transaction(
                [*map(_add, added), *map(_remove, removed)],
                "overwrite" if overwrite or gains else "append",
                deltalake.Schema.from_arrow(schema),
                partition_by=list(version.partition_by),
                partition_filters=_NO_FILE if gains else None,
                commit_properties=_properties(app, number),
            )
            self._flush(version.number + 1)

    def add_columns(self, version: Version, columns: pa.Schema) -> None:
        """Add columns, if a version still is the latest one.

        Raises:
            ConcurrentCommitError: Somebody committed since.
        """
        with translated(self.shown), _conflicts_raised():
            version.table.alter.add_columns(
                list(deltalake.Schema.from_arrow(columns).fields),
                commit_properties=deltalake.CommitProperties(max_commit_retries=0),
            )
            self._flush(version.number + 1)

    def allow(self, version: Version, schema: pa.Schema) -> Version:
        """Add the table feature that times without zone need, if the schema has such columns.

        Returns:
            The version to commit the schema upon.

        Raises:
            ConcurrentCommitError: Somebody committed since ``version``.
        """
        wanted = str(deltalake.Schema.from_arrow(schema).to_json())
        features = version.table.protocol().reader_features or []
        if '"timestamp_ntz"' not in wanted or "timestampNtz" in features:
            return version
        with translated(self.shown), _conflicts_raised():
            version.table.alter.add_feature(
                deltalake.TableFeatures.TimestampWithoutTimezone,
                allow_protocol_versions_increase=True,
                commit_properties=deltalake.CommitProperties(max_commit_retries=0),
            )
        self._flush(version.number + 1)
        found = self.open()
        if found is None:
            raise ConcurrentCommitError
        return found

    def _flush(self, version: int) -> None:
        """Make a commit durable, and what delta-rs wrote after it: delta-rs flushes nothing."""
        made = (f"{version:020}.json", f"{version:020}.checkpoint.parquet", "_last_checkpoint")
        self._storage.flush_files(f"{self.table}/{_LOG}/{name}" for name in made)

    def _check_last(self, version: int) -> None:
        """Refuse a last commit of 0 bytes, which delta-rs reads as a commit that does nothing."""
        path = f"{self.table}/{_LOG}/{version:020}.json"
        found = self._storage.stat(path)
        if found is not None and found.size == 0:
            msg = (
                f"the last commit of the Delta table {self.shown} is empty: {path} has 0 bytes, as "
                f"after a loss of power. Put back a copy of it, or delete it if that version is "
                f"not needed: the objects it loaded are then loaded again."
            )
            raise DestinationError(msg)

    def _check_features(self, table: deltalake.DeltaTable) -> None:
        strange = sorted(set(table.protocol().reader_features or []) - _READABLE)
        if strange:
            msg = (
                f"the Delta table {self.shown} needs {', '.join(strange)}, which this release "
                f"cannot write with. Rewrite the table without it, or move it away to have it "
                f"loaded again."
            )
            raise DestinationError(msg)

    def _damaged(self, error: Exception) -> DestinationError:
        found = failed(self.shown, error)
        is_access = isinstance(found, DestinationDeniedError) or is_unreachable(error)
        if "Kernel error" not in str(error) or is_access:
            return found
        return DestinationError(
            f"the log of the Delta table {self.shown} cannot be read: {short(error)}. Put back a "
            f"copy of {self.table}/{_LOG}; or, to load it again, move {self.shown} away and delete "
            f"its rows in _s3pq_objects and _s3pq_tables."
        )


@contextmanager
def _conflicts_raised() -> Iterator[None]:
    """Raise delta-rs's failed commits as :class:`ConcurrentCommitError`."""
    try:
        yield
    except CommitFailedError as error:
        raise ConcurrentCommitError(short(error)) from error


def _properties(app: str, number: int) -> deltalake.CommitProperties:
    # delta-rs would retry upon versions that nobody here has read, and lets a commit through that
    # removes a file which a compaction has rewritten meanwhile: its rows would be there twice. So
    # a commit is allowed upon exactly the version it was built upon; a conflict is built again.
    return deltalake.CommitProperties(
        max_commit_retries=0, app_transactions=[deltalake.Transaction(app, number)]
    )


def _add(file: DataFile) -> deltalake.transaction.AddAction:
    return deltalake.transaction.AddAction(
        path=file.path,
        size=file.size,
        partition_values=file.partition,
        modification_time=time.time_ns() // 1_000_000,
        data_change=True,
        stats=file.stats,
    )


def _remove(file: DataFile) -> deltalake.transaction.RemoveAction:
    return deltalake.transaction.RemoveAction(
        path=file.path,
        data_change=True,
        deletion_timestamp=time.time_ns() // 1_000_000,
        partition_values=file.partition,
        size=file.size,
    )
