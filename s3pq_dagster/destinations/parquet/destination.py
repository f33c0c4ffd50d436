"""The Parquet destination: a root in a directory or in S3, which each call opens again."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.condition import Condition
from s3pq_dagster.destinations.parquet.failures import translated
from s3pq_dagster.destinations.parquet.paths import check_table, lock_path
from s3pq_dagster.destinations.parquet.reading import (
    TableReader,
    audit_of,
    entries_of,
    look_of,
    not_loaded,
    state_of,
)
from s3pq_dagster.destinations.parquet.session import Session
from s3pq_dagster.destinations.parquet.snapshot import Snapshot, read_consistently
from s3pq_dagster.destinations.parquet.types import check_schema, rule_of
from s3pq_dagster.destinations.storage.protocol import Storage, UncertainSwapError
from s3pq_dagster.destinations.storage.root import Root
from s3pq_dagster.destinations.table_look import TableLook
from s3pq_dagster.destinations.table_state import ChooseKeys, Owner, TableAudit, TableState
from s3pq_dagster.destinations.value_rules import ValueRules


class ParquetDestination:
    """Tables as directories with one Parquet file for each object.

    Engines read a table by ``<root>/<table>/*.parquet``. Readers that need whole checkpoints read
    the files named by the manifest, ``<root>/_s3pq_objects/<table>.parquet``, as :meth:`read` does.
    """

    def __init__(
        self,
        root: str,
        *,
        compression: str = "zstd",
        lock_timeout_seconds: float = 300,
        lease_seconds: float = 60,
        endpoint_url: str | None = None,
        region: str | None = None,
        local_profile: str | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        """Name the root; nothing is opened yet.

        Args:
            root: A directory, created when first written, or ``s3://bucket/prefix``.
            compression: Compression of the files, as pyarrow names it.
            lock_timeout_seconds: How long to wait for a table that another run writes.
            lease_seconds: In S3, how long a writer's lock lasts without being renewed.
            endpoint_url: Endpoint of an S3 that is not AWS's.
            region: Region of the bucket.
            local_profile: AWS profile, instead of the usual chain of credentials.
            log: Gets a line each time a table has to be waited for.
        """
        self._compression = compression
        self._rules = ValueRules("Parquet", check_schema, rule_of)
        self._root = Root(
            root,
            endpoint_url=endpoint_url,
            region=region,
            profile=local_profile,
            lock_timeout_seconds=lock_timeout_seconds,
            lease_seconds=lease_seconds,
            log=log or logging.getLogger(__name__),
        )

    def state(self, owner: Owner) -> TableState:
        """See :meth:`Destination.state`."""
        with self._opened(owner.table) as storage:
            return read_consistently(
                storage, owner.table, lambda snapshot: state_of(storage, owner, snapshot)
            )

    def look(self, owner: Owner) -> TableLook:
        """See :meth:`Destination.look`."""
        with self._opened(owner.table) as storage:
            return read_consistently(
                storage, owner.table, lambda snapshot: look_of(storage, owner, snapshot)
            )

    def condition(self, tables: Sequence[str]) -> Condition:
        """See :meth:`Destination.condition`."""
        with translated(self._root.url), self._root.open() as storage:
            return storage.condition({name: lock_path(name) for name in tables})

    def entries(self, owner: Owner) -> pl.DataFrame:
        """See :meth:`Destination.entries`."""
        with self._opened(owner.table) as storage:
            return read_consistently(
                storage, owner.table, lambda snapshot: entries_of(storage, owner, snapshot)
            )

    def check_values(self, batch: pa.RecordBatch, key: str) -> None:
        """See :meth:`Destination.check_values`."""
        self._rules.check(batch, key)

    def audit(self, owner: Owner) -> TableAudit:
        """See :meth:`Destination.audit`."""
        with self._opened(owner.table) as storage:
            return read_consistently(
                storage, owner.table, lambda snapshot: audit_of(storage, owner, snapshot)
            )

    @contextmanager
    def write(
        self, owner: Owner, *, run_id: str, append: bool, refresh: bool | Sequence[str]
    ) -> Iterator[Session]:
        """See :meth:`Destination.write`."""
        with self._opened(owner.table) as storage, storage.lock(lock_path(owner.table)) as lock:
            session = Session(
                storage,
                owner,
                lock,
                run_id=run_id,
                append=append,
                refresh=refresh,
                compression=self._compression,
            )
            try:
                yield session
                session.finish()
            except UncertainSwapError:
                raise
            except BaseException:
                session.abandon()
                raise

    @contextmanager
    def read(
        self, table: str, columns: Sequence[str] | None, wanted: ChooseKeys | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """See :meth:`Destination.read`."""

        def open_reader(snapshot: Snapshot | None) -> TableReader:
            if snapshot is None:
                raise not_loaded(table)
            return TableReader(storage, snapshot, columns, wanted)

        with (
            self._opened(table) as storage,
            closing(read_consistently(storage, table, open_reader)) as reader,
        ):
            yield reader.batches()

    @contextmanager
    def _opened(self, table: str) -> Iterator[Storage]:
        check_table(table)
        with translated(self._root.url), self._root.open() as storage:
            yield storage
