"""One table open for writing; each checkpoint is one commit."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.batches import converted as converting
from s3pq_dagster.destinations.batches import joined
from s3pq_dagster.destinations.delta.changes import Change, new_row
from s3pq_dagster.destinations.delta.failures import translated
from s3pq_dagster.destinations.delta.partitions import check_partition_by
from s3pq_dagster.destinations.delta.publish import Publisher
from s3pq_dagster.destinations.delta.stage import Stage
from s3pq_dagster.destinations.delta.types import check_schema, converted, stored
from s3pq_dagster.destinations.delta.version import Version
from s3pq_dagster.destinations.delta.widen import StoredRows
from s3pq_dagster.destinations.ledger_rows import entry_rows
from s3pq_dagster.destinations.table_state import Commit, Owner, TableState
from s3pq_dagster.errors import DestinationError

JOIN_ROWS = 32_768
"""Batches are joined up to this many rows, since each has a cost however few rows it has."""


class Session:
    """One table open for writing; see :class:`TableWriter`."""

    def __init__(
        self,
        publisher: Publisher,
        owner: Owner,
        *,
        run_id: str,
        append: bool,
        partition_by: Sequence[str],
    ) -> None:
        self._publisher = publisher
        self._owner = owner
        self._run_id = run_id
        self._append = append
        self._partition_by = list(partition_by)
        self._shown = publisher.shown

    def state(self) -> TableState:
        """See :meth:`TableWriter.state`."""
        return self._publisher.snapshot.state()

    def commit(
        self,
        batches: pa.RecordBatchReader | None,
        *,
        schema_key: str | None,
        seal: Callable[[], Commit],
    ) -> None:
        """See :meth:`TableWriter.commit`."""
        if batches is None:
            self._publisher.publish(self._change(seal()))
            return
        before = self._publisher.rows(self._publisher.snapshot.version)
        with self.staged(batches, schema_key, before) as stage:
            change = self._change(seal(), batches.schema, schema_key)
            self._publisher.publish(change, stage.files, batches.schema)

    def entries(self) -> pl.DataFrame:
        """See :meth:`TableWriter.entries`."""
        return self._publisher.snapshot.entries

    def remove(
        self, keys: Sequence[str], *, seal: Callable[[], Commit], undone: str | None = None
    ) -> int:
        """See :meth:`TableWriter.remove`."""
        return self._publisher.publish(replace(self._change(seal()), removed=keys, undone=undone))

    @contextmanager
    def staged(
        self, batches: pa.RecordBatchReader, schema_key: str | None, before: StoredRows
    ) -> Iterator[Stage]:
        """Write a stream to data files, which are deleted if the context ends with an error.

        What is there has to have an equal in the stream's columns; it is left as it is.

        Args:
            batches: The stream.
            schema_key: The object its schema comes from.
            before: What is there already.
        """
        check_schema(batches.schema, schema_key)
        with translated(self._shown):
            before.changes_to(batches.schema, schema_key)
        schema = stored(batches.schema)
        check_partition_by(schema, self._partition_by, schema_key)
        self._check_same_partitions(self._publisher.snapshot.version)
        stage = self._publisher.stage(schema)
        larger = pa.RecordBatchReader.from_batches(batches.schema, joined(batches, JOIN_ROWS))
        try:
            with (
                translated(self._shown),
                converting(larger, schema, lambda each: converted(each, schema)) as reader,
            ):
                stage.write(reader)
                stage.finish()
            yield stage
        except BaseException:
            if not self._publisher.in_doubt:
                stage.discard()
            raise

    def _change(
        self,
        sealed: Commit,
        schema: pa.Schema | None = None,
        schema_key: str | None = None,
    ) -> Change:
        before = self._publisher.snapshot.row
        row = new_row(self._owner, before, sealed, schema, schema_key, run_id=self._run_id)
        return Change(
            entry_rows(sealed.entries, self._owner, self._run_id),
            row,
            append=self._append,
            versions=self._publisher.versions_added(row),
        )

    def _check_same_partitions(self, version: Version | None) -> None:
        if version is not None and version.partition_by != self._partition_by:
            msg = (
                f"the Delta table {self._shown} is partitioned by {version.partition_by}, and "
                f"`partition_by` says {self._partition_by}. Delta Lake cannot change that: set "
                f"`partition_by` back or, to load the table again, delete its directory and its "
                f"rows in _s3pq_objects and _s3pq_tables."
            )
            raise DestinationError(msg)
