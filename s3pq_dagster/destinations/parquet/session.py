"""One table whose turn to be written has come: what it stages, swaps in and puts in place."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.ledger_rows import entry_rows
from s3pq_dagster.destinations.parquet.manifest import Manifest, with_files
from s3pq_dagster.destinations.parquet.paths import (
    manifest_path,
    report_path,
    staged_folder,
    staged_path,
)
from s3pq_dagster.destinations.parquet.settling import put_in_place, settle
from s3pq_dagster.destinations.parquet.snapshot import Look, checked, consistently, staged_ids
from s3pq_dagster.destinations.parquet.staging import Staging
from s3pq_dagster.destinations.parquet.types import check_schema
from s3pq_dagster.destinations.storage.protocol import Lock, Storage, UncertainSwapError
from s3pq_dagster.destinations.table_state import Commit, Owner, TableState
from s3pq_dagster.errors import DestinationError
from s3pq_dagster.ledger import Status


class Session:
    """One table whose turn to be written has come; see :class:`TableWriter`."""

    def __init__(
        self,
        storage: Storage,
        owner: Owner,
        lock: Lock,
        *,
        run_id: str,
        append: bool,
        refresh: bool,
        compression: str,
    ) -> None:
        """Finish or undo what the writer before left.

        Raises:
            DestinationError: As :meth:`Destination.state`.
        """
        self._storage, self._owner, self._lock = storage, owner, lock
        self._run_id, self._append, self._refresh = run_id, append, refresh
        self._compression = compression
        look = self._look()
        self._stands = look.manifest
        """As it is in the storage."""
        if lock.is_taken_over:  # whoever had it can commit no more, so what he staged is void
            self._stands = self._swapped(look.manifest)
            look = self._look()
        self._settle(look)
        self._now = Manifest.new(owner) if refresh else self._stands
        """As this writer sees it: in a refresh it is nobody else's before the end."""

    def state(self) -> TableState:
        """See :meth:`TableWriter.state`."""
        if not self._refresh:
            return self._look().state
        return Look(self._now, set(self._now.files["file_id"]), set()).state

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
        schema = self._now.facts.schema or arriving or pa.schema([])
        staging = Staging(self._storage, self._owner.table, schema, self._compression)
        with _discarded_if_it_fails(staging):
            if batches is not None:
                staging.drain(batches)
            sealed = seal()
            after = self._now.entered(self._entries(sealed, staging), append=self._append)
            after = self._swapped_in(after.stating(sealed, arriving, schema_key))
        self._move_on(after)

    def remove(self, keys: Sequence[str], *, seal: Callable[[], Commit]) -> int:
        """See :meth:`TableWriter.remove`."""
        removed, rows = self._now.removed(keys, self._run_id)
        self._move_on(self._swapped_in(removed.stating(seal())))
        return rows

    def finish(self) -> None:
        """Put a refreshed table in the place of the old one."""
        if self._refresh:
            self._stands = self._swapped(self._now)
            self._settle(self._look())

    def abandon(self) -> None:
        """Leave nothing of a refresh that broke off."""
        never = self._now.files.join(self._stands.files, on="file_id", how="anti")
        self._storage.delete(
            staged_path(self._owner.table, file_id) for file_id in never["file_id"]
        )

    def _entries(self, sealed: Commit, staging: Staging) -> pl.DataFrame:
        loaded = [entry for entry in sealed.entries if entry.status is Status.LOADED]
        rows = {entry.object.key: entry.rows for entry in loaded}
        if len(rows) != len(loaded):
            raise DestinationError("an object is to be entered twice. Report this as a bug.")
        entries = entry_rows(sealed.entries, self._owner, self._run_id)
        return with_files(entries, staging.finish(rows), self._taken())

    def _taken(self) -> pl.DataFrame | None:
        """Give the files whose place a new one of the same object takes."""
        if self._refresh:
            return self._stands.files.join(self._now.files, on="file", how="anti")
        return None if self._append else self._stands.files

    def _swapped_in(self, after: Manifest) -> Manifest:
        """Commit, unless a refresh does so at its end."""
        return after if self._refresh else self._swapped(after)

    def _swapped(self, after: Manifest) -> Manifest:
        """Commit: from here on the manifest is what all look by."""
        table = self._owner.table
        self._lock.check()
        self._storage.flush(staged_folder(table))
        try:
            version = self._storage.swap(
                manifest_path(table), after.encoded(), self._stands.version
            )
        except UncertainSwapError:
            self._lock.abandon()
            raise
        return replace(after, version=version)

    def _move_on(self, after: Manifest) -> None:
        before, self._now = self._now, after
        if not self._refresh:
            self._stands = after
            self._storage.put(report_path(after.table), after.report())
            put_in_place(self._storage, before, after)

    def _look(self) -> Look:
        def once(look: Look | None) -> Look:
            if look is None:
                staged = staged_ids(self._storage, self._owner.table)
                return Look(Manifest.new(self._owner), staged, set())
            return checked(look, self._storage, self._owner)

        return consistently(self._storage, self._owner.table, once)

    def _settle(self, look: Look) -> None:
        """Bring what is there into agreement with the manifest, and the report too."""
        settle(self._storage, look)
        if look.manifest.version is None:
            return
        path, report = report_path(look.manifest.table), look.manifest.report()
        found = self._storage.get(path)
        if found is None or found.content != report:
            self._storage.put(path, report)


@contextmanager
def _discarded_if_it_fails(staging: Staging) -> Iterator[None]:
    try:
        yield
    except UncertainSwapError:
        raise  # it may be committed: whoever comes next finds out
    except BaseException:
        staging.discard()
        raise
