"""The log of one Delta table: looking at a version, and committing exactly upon it."""

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

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
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.errors import DestinationDeniedError, DestinationError
from s3pq_dagster.schemas import KEY_COLUMN

APP = "s3pq"
"""Under this name each commit of a table carries a number, by Delta's transaction identifiers."""
_LOG = "_delta_log"
_OLDEST_FIRST = [("modification_time", "ascending"), ("path", "ascending")]
_READABLE = {"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"}
"""Features that change nothing in what is in a data file, and which files those are."""


class OutdatedError(Exception):
    """Somebody committed to the Delta table since it was looked at; nothing of ours is there."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a Delta table."""

    path: str
    """Below the table, as the file system has it."""
    size: int
    rows: int | None
    """``None`` where whoever wrote it did not say."""
    partition: dict[str, str | None]
    lowest_key: str | None = None
    highest_key: str | None = None
    """Bounds of ``_s3_key``; ``None`` where nobody said."""
    stats: str = "{}"
    """For the log, as the Delta protocol has it; of files we wrote."""

    def may_hold(self, keys: Sequence[str]) -> bool:
        """Tell whether some of these rows may be in it; ``keys`` are sorted."""
        if self.lowest_key is None or self.highest_key is None:
            return True
        first = bisect_left(keys, self.lowest_key)
        return first < len(keys) and keys[first] <= self.highest_key


@dataclass(frozen=True)
class Version:
    """A Delta table as it was at one moment."""

    table: deltalake.DeltaTable

    @property
    def number(self) -> int:
        """Of the version."""
        return int(self.table.version())

    def transaction(self, app: str = APP) -> int | None:
        """Give the number that the latest commit by this name carried."""
        return self.table.transaction_version(app)

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the columns, partitions included."""
        return pa.schema(self.table.schema().to_arrow())

    @cached_property
    def partition_by(self) -> list[str]:
        """Columns that are in no file but in the log."""
        return list(self.table.metadata().partition_columns)

    @cached_property
    def files(self) -> list[DataFile]:
        """Name the data files, oldest first."""
        actions = pa.table(self.table.get_add_actions(flatten=True))
        names = set(actions.column_names)
        low, high = (f"{end}.{KEY_COLUMN}" for end in ("min", "max"))
        found = [
            DataFile(
                path=unquote(row["path"]),
                size=row["size_bytes"],
                rows=row.get("num_records"),
                partition={name: _text(row[f"partition.{name}"]) for name in self.partition_by},
                lowest_key=row[low] if low in names else None,
                highest_key=row[high] if high in names else None,
            )
            for row in actions.sort_by(_OLDEST_FIRST).to_pylist()
        ]
        return [each for each in found if each.rows != 0]


class Log:
    """The log of one Delta table, which may not be there yet."""

    def __init__(self, storage: Storage, table: str) -> None:
        self._storage = storage
        self.table = table
        self.shown = f"{storage.root}/{table}"

    def open(self) -> Version | None:
        """Look at the latest version; ``None`` if there is no Delta table.

        Raises:
            DestinationError: The log is damaged, or the table needs what we do not have.
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

    def commit(
        self,
        version: Version | None,
        *,
        number: int,
        added: Sequence[DataFile],
        removed: Sequence[DataFile] = (),
        schema: pa.Schema,
        partition_by: Sequence[str] = (),
        app: str = APP,
        overwrite: bool = False,
    ) -> None:
        """Commit files upon a version, or make the table, if nobody else has done so since.

        Args:
            version: What the commit is built upon; ``None`` if there was no table.
            number: What the commit carries under the name ``app``.
            added: Files that are in their place.
            removed: Files whose rows go.
            schema: Of the table; it changes with ``overwrite`` only.
            partition_by: Columns that are in no file; only for a new table.
            app: Whose number it is.
            overwrite: Remove every file there is.

        Raises:
            OutdatedError: Somebody else committed since; nothing is committed.
            DestinationError: It failed; only the number tells whether it is committed.
        """
        properties = deltalake.CommitProperties(
            max_commit_retries=0,  # exactly upon this version, or not at all
            app_transactions=[deltalake.Transaction(app, number)],
        )
        adds = list(map(_add, added))
        with translated(self.shown):
            if version is None:
                self._create(adds, schema, partition_by, properties)
                self._settle(0)
                return
            try:
                version.table.create_write_transaction(
                    [*adds, *map(_remove, removed)],
                    "overwrite" if overwrite else "append",
                    deltalake.Schema.from_arrow(schema),
                    partition_by=list(version.partition_by),
                    commit_properties=properties,
                )
            except CommitFailedError as error:
                raise OutdatedError(short(error)) from error
            self._settle(version.number + 1)

    def allow(self, version: Version, schema: pa.Schema) -> Version:
        """See that the table may have columns of this schema; times without zone are a feature."""
        wanted = str(deltalake.Schema.from_arrow(schema).to_json())
        features = version.table.protocol().reader_features or []
        if '"timestamp_ntz"' not in wanted or "timestampNtz" in features:
            return version
        with translated(self.shown):
            try:
                version.table.alter.add_feature(
                    deltalake.TableFeatures.TimestampWithoutTimezone,
                    allow_protocol_versions_increase=True,
                    commit_properties=deltalake.CommitProperties(max_commit_retries=0),
                )
            except CommitFailedError as error:
                raise OutdatedError(short(error)) from error
        self._settle(version.number + 1)
        found = self.open()
        if found is None:
            raise OutdatedError
        return found

    def _create(
        self,
        adds: list[deltalake.transaction.AddAction],
        schema: pa.Schema,
        partition_by: Sequence[str],
        properties: deltalake.CommitProperties,
    ) -> None:
        try:
            deltalake.transaction.create_table_with_add_actions(
                self.shown,
                deltalake.Schema.from_arrow(schema),
                adds,
                partition_by=list(partition_by),
                storage_options=self._storage.object_store_options(),
                commit_properties=properties,
            )
        except CommitFailedError as error:
            raise OutdatedError(short(error)) from error
        except DeltaError as error:
            if "already exists" in str(error):
                raise OutdatedError(short(error)) from error
            raise

    def _settle(self, version: int) -> None:
        """Make a commit durable, with whatever delta-rs wrote after it: it never does so itself."""
        made = (f"{version:020}.json", f"{version:020}.checkpoint.parquet", "_last_checkpoint")
        self._storage.flush_files(f"{self.table}/{_LOG}/{name}" for name in made)

    def _check_last(self, version: int) -> None:
        """Refuse a last commit without a byte, which delta-rs takes for one that does nothing."""
        path = f"{self.table}/{_LOG}/{version:020}.json"
        found = self._storage.stat(path)
        if found is not None and found.size == 0:
            msg = (
                f"the last commit of the Delta table {self.shown} is empty: {path} has 0 bytes, as "
                f"after a loss of power. Put back a copy of it, or delete it if that version is "
                f"not needed: what its objects had in it is then loaded again."
            )
            raise DestinationError(msg)

    def _check_features(self, table: deltalake.DeltaTable) -> None:
        strange = sorted(set(table.protocol().reader_features or []) - _READABLE)
        if strange:
            msg = (
                f"the Delta table {self.shown} needs {', '.join(strange)}, which this release "
                f"cannot write with. Rewrite it without, or move it away to have it loaded anew."
            )
            raise DestinationError(msg)

    def _damaged(self, error: Exception) -> DestinationError:
        found = failed(self.shown, error)
        is_access = isinstance(found, DestinationDeniedError) or is_unreachable(error)
        if "Kernel error" not in str(error) or is_access:
            return found
        return DestinationError(
            f"the log of the Delta table {self.shown} cannot be read: {short(error)}. Put back a "
            f"copy of {self.table}/{_LOG}; or, to load it anew, move {self.shown} away and delete "
            f"its rows in _s3pq_objects and _s3pq_tables."
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


def _text(value: object) -> str | None:
    """Write a partition's value as the Delta protocol has it."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)
