"""One table to load in one run: its plan, the bucket, and where the result is reported."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import TableState
from s3pq_dagster.drift.fitting import STRICT
from s3pq_dagster.errors import S3ParquetError, SchemaMismatchError
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.loading.attempts import Attempts, Loaded, check_columns_stay, stop_at_faults
from s3pq_dagster.loading.checkpoints import CheckpointCommitter
from s3pq_dagster.loading.concurrent_writer import ConcurrentWriter
from s3pq_dagster.loading.key_ranges import KeyRange
from s3pq_dagster.loading.load_log import LoadLog
from s3pq_dagster.loading.object_streams import Attempt, ObjectStreams, one_by_one
from s3pq_dagster.loading.pending_schemas import joined_schema, with_deviations
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.loading.removal import check_refresh, gone_from_table
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.tally import LoadTally
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.fitting import Reference
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.readable_objects import LoadRules, ReadableObjects
from s3pq_dagster.reading.table_stream import TableStream
from s3pq_dagster.source.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLoad:
    """One table and its listing, with everything needed to load what is pending of it.

    Small and lazy: nothing is read before :meth:`into` is called or the Arrow stream is read.
    """

    plan: LoadPlan
    """Which table, and what of it is to be loaded."""
    store: Store
    log: logging.Logger
    run_id: str = ""
    prefetch: Prefetch | None = None
    """In a run of several tables: what is already fetched of this one."""
    on_loaded: Callable[[LoadReport], None] = field(default=lambda _report: None)
    """Called once everything is committed."""
    on_committed: Callable[[Sequence[Entry]], None] = field(default=lambda _entries: None)
    """Called with the entries of each committed checkpoint; not in a refresh."""
    on_failed: Callable[[S3ParquetError], None] = field(default=lambda _error: None)
    """Called with the error that :meth:`into` is about to raise."""
    earlier: Sequence[LoadReport] = ()
    """Reports of the shards that were loaded in this run before; added to this load's report."""

    def into(self, destination: Destination) -> LoadReport:
        """Load what is pending, checkpoint by checkpoint.

        What is pending is determined under the destination's lock, so that nothing is read which
        another run loaded meanwhile.

        Raises:
            StoreError: The bucket failed; committed checkpoints stand.
            SchemaMismatchError: Two objects differ; checkpoints before stand.
            DestinationError: The destination failed; committed checkpoints stand.
            EmptyListingError: As :meth:`LoadPlan.difference`; nothing is touched.
            UnlistedObjectsError: As :func:`check_refresh`; nothing is touched.
            InternalError: An object was neither read nor reported as unreadable: a bug.
        """
        try:
            return self._into(destination)
        except S3ParquetError as error:
            self.on_failed(error)
            raise

    def _into(self, destination: Destination) -> LoadReport:
        started, plan, log = time.monotonic(), self.plan, self._load_log()
        try:
            tally, state = self._attempted(destination)
        except SchemaMismatchError as error:
            raise _told_in_full(error, plan, self.store, destination) from error.__cause__
        # Taken after closing, in which some destinations write most.
        report = tally.report(state, time.monotonic() - started)
        if plan.refresh:  # one transaction, and committed only now
            log.refreshed(state.ledger if plan.part is None else plan.part.only(state.ledger))
        report = report.plus(self.earlier)
        self.on_loaded(report)
        return report

    def check_readable(self, report: LoadReport) -> None:
        """Raise if the load found nothing but objects that cannot be read; the ledger has them.

        Raises:
            NoReadableObjectError: As :meth:`LoadPlan.check_readable`.
        """
        try:
            self.plan.check_readable(report.unreadable)
        except S3ParquetError as error:
            self.on_failed(error)
            raise

    def _attempted(self, destination: Destination) -> Loaded:
        plan, load = self.plan, partial(self._loaded, destination)
        if plan.refresh:
            replaced = destination.state(plan.owner)
            plan.difference(replaced)  # refuses an empty listing
            check_refresh(plan, replaced.ledger, self.store)
            plan = replace(plan, replaces_rows=bool(replaced.ledger.count(Status.LOADED)))
        attempts = Attempts(plan, self.store, destination, self._load_log(), load)
        return attempts.refresh() if plan.refresh else attempts.extend()

    def _loaded(self, destination: Destination, plan: LoadPlan, attempt: Attempt) -> Loaded:
        """Load what is pending, in a transaction for each checkpoint or in one for all."""
        log = self._load_log()
        opened = destination.write(
            plan.owner,
            run_id=self.run_id,
            append=plan.appends,
            refresh=_refreshed(plan, destination),
        )
        with opened as writer:
            before = writer.state()
            tally = LoadTally(plan, before)
            log.resized(tally.resized)
            gone = gone_from_table(plan, tally.difference.removed, self.store)
            pending = tally.difference.pending
            streams = self._streams(plan, destination, tally, attempt)
            fetcher = self._fetcher(pending, attempt)
            with streams.open(fetcher, pending, _reference(plan, before)) as stream:
                if attempt.may_replace_schema:
                    check_columns_stay(plan, tally, gone, stream)
                CheckpointCommitter(
                    plan,
                    stream,
                    writer,
                    tally,
                    log,
                    again=streams.again,
                    on_committed=self.on_committed,
                ).run()
            if gone:  # last, when nothing can fail any more
                ledger = writer.state().ledger
                rows = writer.remove(gone, seal=lambda: tally.seal_removal(gone, ledger))
                log.removed(gone, rows)
            return tally, writer.state()

    def shard_into(self, destination: Destination, keys: KeyRange) -> LoadReport:
        """Load what is pending of a range of keys while others load the rest.

        The lock is held for each checkpoint alone. Nothing is removed, and the table's fingerprint
        stays: that is left to a load of the whole table once the others are done.

        Raises:
            DiskError: Rows could not be kept in a temporary file until the table was free.
            S3ParquetError: As :meth:`into`.
        """
        started = time.monotonic()
        plan, log = replace(self.plan, keys=keys), self._load_log()
        writer = ConcurrentWriter(
            destination,
            plan.owner,
            run_id=self.run_id,
            append=plan.appends,
            check=plan.check_shared_quarantine,
            schema_mode=plan.spec.schema_mode,
        )
        before = writer.state()
        tally = LoadTally(plan, before)
        log.resized(tally.resized)
        pending = tally.difference.pending
        streams = self._streams(plan, destination, tally, Attempt())
        fetcher = build_fetcher(self.store, pending, plan.spec)
        stream = streams.open(fetcher, pending, _reference(plan, before))
        committer = CheckpointCommitter(
            plan, stream, writer, tally, log, again=streams.again, abandon=writer.abandon
        )
        committer.run()
        return tally.report(writer.state(), time.monotonic() - started)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Offer all rows of the listing as one Arrow stream, committing nothing.

        Objects are read as the stream is drained; an exhausted or dropped stream closes what it
        opened.
        """
        listed = self.plan.listing.in_reading_order()
        fetcher = build_fetcher(self.store, listed, self.plan.spec)
        progress = ProgressLog(self.plan.owner.table, listed, self.log)
        known = None
        if self.plan.spec.schema_mode != STRICT:  # a stream has one schema from its beginning on
            everything = replace(self.plan.anew(), keys=None)
            known = joined_schema(everything, self.store, TableState.empty())
        objects = ReadableObjects(fetcher, progress)
        rows = _schema_then_batches(TableStream(objects, None, least=known))
        return pa.RecordBatchReader.from_batches(next(rows), rows).__arrow_c_stream__(
            requested_schema
        )

    def _load_log(self) -> LoadLog:
        return LoadLog(self.log, self.plan.owner.table)

    def _streams(
        self, plan: LoadPlan, destination: Destination, tally: LoadTally, attempt: Attempt
    ) -> ObjectStreams:
        """Say how objects are opened for a destination.

        Args:
            plan: What is loaded.
            destination: Every object's rows are held against its rules.
            tally: Checks each quarantined object against the limit.
            attempt: Which objects the destination has refused already.
        """
        known = attempt.known_faults
        rules = LoadRules(
            verify=plan.refresh,
            on_quarantine=tally.check_quarantine if known is None else stop_at_faults(known),
            is_loaded=tally.ledger_before.holds,
            is_mixed=tally.ledger_before.is_mixed if plan.appends else lambda _found: False,
            check_rows=destination.check_values,
            refused=attempt.refused,
        )
        return ObjectStreams(plan, self.store, rules, self.log, attempt.least)

    def _fetcher(self, pending: Listing, attempt: Attempt) -> Fetcher:
        """Take over the prefetched objects, or make a fetcher that shares its bounds with them."""
        spec = one_by_one(self.plan.spec) if attempt.one_by_one else self.plan.spec
        if self.prefetch is None:
            return build_fetcher(self.store, pending, spec)
        fetched = self.prefetch.take(self.plan.owner, pending)
        shares = self.prefetch.shares
        return fetched or build_fetcher(self.store, pending, spec, shares=shares)


def _refreshed(plan: LoadPlan, destination: Destination) -> bool | list[str]:
    """Return whether a load replaces the whole table, or whose rows it replaces."""
    if plan.part is None or not plan.refresh:
        return plan.refresh
    known = destination.state(plan.owner).ledger.frame["key"]
    return plan.part.of_keys(known.unique().to_list())


def _told_in_full(
    error: SchemaMismatchError, plan: LoadPlan, store: Store, destination: Destination
) -> SchemaMismatchError:
    """Add to an error of `strict` all schemas that deviate; footers are read for that."""
    if plan.spec.schema_mode != STRICT:
        return error
    try:
        return with_deviations(error, plan, store, destination.state(plan.owner))
    except S3ParquetError:
        return error


def _reference(plan: LoadPlan, before: TableState) -> Reference | None:
    """Return the stored schema, which objects must have unless the whole table is refreshed."""
    if before.schema is None or plan.starts_empty:
        return None
    return Reference(before.schema, str(before.schema_key))


def _schema_then_batches(stream: TableStream) -> Iterator[Any]:
    """Yield the schema, then the batches; close the stream however this ends."""
    with stream:
        checkpoints = stream.checkpoints()
        first = next((some for some in checkpoints if some.schema is not None), None)
        yield pa.schema([]) if first is None else first.schema
        for checkpoint in [] if first is None else chain([first], checkpoints):
            yield from checkpoint.batches or ()
