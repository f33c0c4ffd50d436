"""One table open for writing: files are staged, the manifest is swapped, the files are moved."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.ledger_rows import OBJECT_COLUMNS, entry_rows
from s3pq_dagster.destinations.parquet.manifest import Manifest, assign_files
from s3pq_dagster.destinations.parquet.paths import (
    manifest_path,
    report_path,
    schemas_path,
    staged_folder,
    staged_path,
)
from s3pq_dagster.destinations.parquet.placement import finish_last_commit, place_files
from s3pq_dagster.destinations.parquet.reading import TableReader
from s3pq_dagster.destinations.parquet.snapshot import (
    Snapshot,
    check_snapshot,
    read_consistently,
    staged_ids,
)
from s3pq_dagster.destinations.parquet.staging import Staging
from s3pq_dagster.destinations.parquet.types import check_schema
from s3pq_dagster.destinations.storage.protocol import Lock, Storage, UncertainSwapError
from s3pq_dagster.destinations.table_state import Commit, Owner, TableState
from s3pq_dagster.destinations.widening import changes_to, check_stored_values
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.ledger import FORMAT_VERSION, Status


class Session:
    """One table open for writing; see :class:`TableWriter`."""

    def __init__(
        self,
        storage: Storage,
        owner: Owner,
        lock: Lock,
        *,
        run_id: str,
        append: bool,
        refresh: bool | Sequence[str],
        compression: str,
    ) -> None:
        """Finish or undo what the last writer left.

        Raises:
            DestinationError: As :meth:`Destination.state`.
        """
        self._storage, self._owner, self._lock = storage, owner, lock
        self._run_id, self._append, self._refresh = run_id, append, refresh is not False
        self._compression = compression
        snapshot = self._snapshot()
        self._stored = snapshot.manifest
        """The manifest as it is in the storage."""
        if lock.is_taken_over or snapshot.manifest.format_version < FORMAT_VERSION:
            # The last writer may only have slept, and wake up before its swap. The manifest is
            # swapped for the same content with another version, so that its swap will fail: what
            # it staged is never committed, and can be deleted. A manifest of an older format is
            # swapped for the same content in this one.
            self._stored = self._commit(snapshot.manifest)
            snapshot = self._snapshot()
        self._finish_last_commit(snapshot)
        versions = self._stored.facts.versions
        current = Manifest.new(owner, versions) if refresh is True else self._stored
        if not isinstance(refresh, bool):
            current = self._stored.without(refresh)
        self._current = current.with_layout(owner.layout)
        """The manifest as this writer sees it; in a refresh others see it only at the end."""

    def state(self) -> TableState:
        """See :meth:`TableWriter.state`."""
        if not self._refresh:
            return self._snapshot().state
        return self._own_snapshot().state

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """See :meth:`TableWriter.commit`."""
        arriving = None if batches is None else batches.schema
        if arriving is not None:
            check_schema(arriving, schema_key)
        changed = None if arriving is None else self._changed_schema(arriving, schema_key)
        schema = self._current.facts.schema if changed is None else changed
        staging = Staging(
            self._storage, self._owner.table, schema or pa.schema([]), self._compression
        )
        with _discarded_if_it_fails(staging):
            if batches is not None:
                staging.drain(batches)
            sealed = seal()
            after = self._current.with_entries(self._entries(sealed, staging), append=self._append)
            after = self._commit_or_defer(after.with_facts(sealed, changed, schema_key))
        self._advance(after)

    def entries(self) -> pl.DataFrame:
        """See :meth:`TableWriter.entries`."""
        return self._current.frame.select(*OBJECT_COLUMNS)

    def remove(
        self, keys: Sequence[str], *, seal: Callable[[], Commit], undone: str | None = None
    ) -> int:
        """See :meth:`TableWriter.remove`."""
        removed, rows = self._current.with_removed(keys, self._run_id, undone)
        self._advance(self._commit_or_defer(removed.with_facts(seal())))
        return rows

    def finish(self) -> None:
        """Commit a refresh, which replaces the whole table."""
        if self._refresh:
            self._stored = self._commit(self._current)
            self._finish_last_commit(self._snapshot())

    def abandon(self) -> None:
        """Delete the files of a refresh that failed."""
        never = self._current.files.join(self._stored.files, on="file_id", how="anti")
        self._storage.delete(
            staged_path(self._owner.table, file_id) for file_id in never["file_id"]
        )

    def _changed_schema(self, arriving: pa.Schema, schema_key: str | None) -> pa.Schema | None:
        """Return the table's schema after rows of a schema are written, if it is another then.

        Raises:
            SchemaMismatchError: A stored value has no equal in a column's new type.
        """
        table, facts = self._owner.table, self._current.facts
        keys = facts.schema_key, schema_key
        changes = changes_to(table, (facts.schema, facts.schema_key), (arriving, schema_key))
        check_stored_values(table, changes, keys, self._stored_column)
        return arriving if changes or facts.schema is None else None

    @contextmanager
    def _stored_column(self, column: pa.Field) -> Iterator[pa.RecordBatchReader]:
        """Stream a column of the rows that are stored; see :data:`ReadColumn`."""
        with closing(TableReader(self._storage, self._own_snapshot(), [column.name])) as reader:
            yield reader.batches()

    def _own_snapshot(self) -> Snapshot:
        """Return what this writer sees: files that a refresh has written are staged, others not."""
        current, stored = self._current.files, self._stored.files
        new = current.join(stored, on="file_id", how="anti")
        kept = current.join(stored, on="file_id", how="semi")
        return Snapshot(self._current, set(new["file_id"]), set(kept["file"]))

    def _entries(self, sealed: Commit, staging: Staging) -> pl.DataFrame:
        loaded = [entry for entry in sealed.entries if entry.status is Status.LOADED]
        rows = {entry.object.key: entry.rows for entry in loaded}
        if len(rows) != len(loaded):
            raise DestinationError("an object is to be entered twice. Report this as a bug.")
        entries = entry_rows(sealed.entries, self._owner, self._run_id, refreshed=self._refresh)
        return assign_files(entries, staging.finish(rows), self._replaceable())

    def _replaceable(self) -> pl.DataFrame | None:
        """Return the files whose names new files of the same objects take over."""
        if self._refresh:
            return self._stored.files.join(self._current.files, on="file", how="anti")
        return None if self._append else self._stored.files

    def _commit_or_defer(self, after: Manifest) -> Manifest:
        """Commit a manifest; in a refresh, leave that to :meth:`finish`."""
        return after if self._refresh else self._commit(after)

    def _commit(self, after: Manifest) -> Manifest:
        """Swap the manifest: from then on every reader goes by the new one."""
        table = self._owner.table
        self._lock.check()
        self._storage.flush(staged_folder(table))
        try:
            version = self._storage.swap(
                manifest_path(table), after.encoded(), self._stored.version
            )
        except UncertainSwapError:
            self._lock.abandon()
            raise
        return replace(after, version=version, format_version=FORMAT_VERSION)

    def _advance(self, after: Manifest) -> None:
        before, self._current = self._current, after
        if not self._refresh:
            self._stored = after
            self._report(before, after)
            place_files(self._storage, before, after)

    def _report(self, before: Manifest, after: Manifest) -> None:
        """Write the table's rows of ``_s3pq_tables`` and, if they changed, ``_s3pq_schemas``."""
        self._storage.put(report_path(after.table), after.report())
        rows = after.schemas_report()
        if rows is not None and before.facts.versions != after.facts.versions:
            self._storage.put(schemas_path(after.table), rows)

    def _snapshot(self) -> Snapshot:
        def check(snapshot: Snapshot | None) -> Snapshot:
            if snapshot is None:
                staged = staged_ids(self._storage, self._owner.table)
                return Snapshot(Manifest.new(self._owner), staged, set())
            return check_snapshot(snapshot, self._storage, self._owner)

        return read_consistently(self._storage, self._owner.table, check)

    def _finish_last_commit(self, snapshot: Snapshot) -> None:
        """Make files and reports agree with the manifest."""
        finish_last_commit(self._storage, snapshot)
        manifest = snapshot.manifest
        if manifest.version is None:
            return
        reports = {
            report_path(manifest.table): manifest.report(),
            schemas_path(manifest.table): manifest.schemas_report(),
        }
        for path, report in reports.items():
            if report is None:
                continue
            found = self._storage.get(path)
            if found is None or found.content != report:
                self._storage.put(path, report)


@contextmanager
def _discarded_if_it_fails(staging: Staging) -> Iterator[None]:
    try:
        yield
    except UncertainSwapError:
        raise  # it may be committed: the next writer finds out
    except BaseException:
        staging.discard()
        raise
