"""A refresh: a whole table, or what it has of some objects, is replaced in one commit."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.delta.changes import Change, new_row
from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.failures import translated
from s3pq_dagster.destinations.delta.publish import Publisher
from s3pq_dagster.destinations.delta.replace import rewrite_as, rewrite_without
from s3pq_dagster.destinations.delta.session import Session
from s3pq_dagster.destinations.delta.stage import Stage
from s3pq_dagster.destinations.delta.types import stored
from s3pq_dagster.destinations.delta.version import DataFile
from s3pq_dagster.destinations.delta.widen import StoredRows, rewriting
from s3pq_dagster.destinations.ledger_rows import OBJECT_COLUMNS, as_ledger, entry_rows
from s3pq_dagster.destinations.table_state import Commit, Owner, TableState


class Refresh:
    """A table whose checkpoints are kept as files and entries until :meth:`end` commits them."""

    def __init__(
        self,
        session: Session,
        publisher: Publisher,
        reading: DataFiles,
        owner: Owner,
        *,
        run_id: str,
        append: bool,
        keys: Sequence[str] | None = None,
    ) -> None:
        self._session = session
        self._publisher = publisher
        self._reading = reading
        self._owner = owner
        self._run_id = run_id
        self._append = append
        self._entries = pl.DataFrame(schema=OBJECT_COLUMNS)
        self._row: dict[str, Any] | None = None
        self._stages: list[Stage] = []
        self._files: list[DataFile] = []
        self._versions: list[dict[str, Any]] = []
        self._keys = keys
        self._kept = self._entries
        """The entries that stay; none where the whole table is replaced."""
        if keys is not None:
            before = publisher.snapshot
            self._row = before.row
            self._kept = before.entries.filter(~pl.col("key").is_in(list(keys)))

    def state(self) -> TableState:
        """See :meth:`TableWriter.state`."""
        schema = self._schema
        ledger = as_ledger(self.entries())
        return TableState(
            ledger,
            exists=schema is not None,
            schema=schema,
            schema_key=None if self._row is None else self._row["schema_key"],
            rows=ledger.rows,
        )

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """See :meth:`TableWriter.commit`."""
        if batches is None:
            self._take(self._change(seal()))
            return
        with self._session.staged(batches, schema_key, self._rows(all_there=True)) as stage:
            change = self._change(seal(), batches.schema, schema_key)
            self._widen(batches.schema)
            self._replace(change, stored(batches.schema))
            self._files += stage.files
            self._stages.append(stage)
            self._take(change)

    def entries(self) -> pl.DataFrame:
        """See :meth:`TableWriter.entries`."""
        return pl.concat([self._kept, self._entries])

    def remove(
        self, keys: Sequence[str], *, seal: Callable[[], Commit], undone: str | None = None
    ) -> int:
        """See :meth:`TableWriter.remove`."""
        change = replace(self._change(seal()), removed=keys, undone=undone)
        schema = self._schema
        gone = 0 if schema is None else self._replace(change, stored(schema))
        self._take(change)
        return gone

    def end(self) -> None:
        """Replace the table, or some of its rows, by all checkpoints, in one commit."""
        nothing = Commit([], None, None)
        change = Change(
            self._entries,
            self._row or new_row(self._owner, None, nothing, None, None, run_id=self._run_id),
            append=self._append,
            refresh=self._keys is None,
            again=self._keys or (),
            versions=self._versions,
        )
        self._publisher.publish(change, self._files, self._schema)

    def discard(self) -> None:
        """Delete the files that were written, unless they may be committed."""
        if not self._publisher.in_doubt:
            for stage in self._stages:
                stage.discard()

    @property
    def _schema(self) -> pa.Schema | None:
        data = None if self._row is None else self._row["arrow_schema"]
        return None if data is None else schemas.from_bytes(data)

    def _change(
        self, sealed: Commit, schema: pa.Schema | None = None, schema_key: str | None = None
    ) -> Change:
        row = new_row(self._owner, self._row, sealed, schema, schema_key, run_id=self._run_id)
        entries = entry_rows(sealed.entries, self._owner, self._run_id, refreshed=True)
        return Change(entries, row, append=self._append)

    def _take(self, change: Change) -> None:
        self._entries = change.applied(self._entries)
        before = None if self._row is None else self._row["arrow_schema"]
        if change.row["arrow_schema"] not in {None, before}:
            self._versions += self._publisher.versions_added(change.row, self._versions)
        self._row = change.row

    def _rows(self, *, all_there: bool = False) -> StoredRows:
        """Return what the checkpoints have so far; with ``all_there``, beside what stays."""
        schema, version = self._schema, self._publisher.snapshot.version
        kept = version.files if version and all_there and self._keys is not None else []
        return StoredRows(
            self._owner.table,
            schema,
            None if self._row is None else self._row["schema_key"],
            pa.schema([]) if schema is None else stored(schema),
            self._publisher.partition_by,
            [*kept, *self._files],
            self._reading,
        )

    def _widen(self, schema: pa.Schema) -> None:
        """Rewrite the files of earlier checkpoints if a type is not the one that they have."""
        before = self._rows()
        changes = before.changes_for(schema)
        if not rewriting(changes):
            return
        stage = self._publisher.stage(before.columns_after(changes))
        self._stages.append(stage)
        with translated(self._publisher.shown):
            rewrite_as(before, changes, (), stage)
            for each in self._stages[:-1]:
                each.discard()  # nothing of them is committed, or will be
        self._stages, self._files = [stage], list(stage.files)

    def _replace(self, change: Change, schema: pa.Schema) -> int:
        """Remove rows that a checkpoint replaces from the files of earlier ones; count them."""
        keys = change.replaced(self._entries)
        if not keys:
            return 0
        stage = self._publisher.stage(schema)
        self._stages.append(stage)
        removed, gone = rewrite_without(
            keys, self._files, schema=schema, reading=self._reading, stage=stage
        )
        self._files = [file for file in self._files if file not in removed] + stage.files
        return gone
