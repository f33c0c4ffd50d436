"""How a table's pending objects become committed checkpoints, whatever the destination."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from s3pq_dagster.decoding.decode_plan import MOST_ROWS
from s3pq_dagster.destinations.protocol import CheckpointWriter, Destination, TableWriter
from s3pq_dagster.destinations.table_state import Commit
from s3pq_dagster.errors import (
    InternalError,
    MalformedObjectError,
    UnsteadyObjectError,
)
from s3pq_dagster.ledger import Entry, Ledger, Status, fingerprint, latest
from s3pq_dagster.loading.background_reader import read_in_background
from s3pq_dagster.loading.concurrent_writer import ConcurrentWriter
from s3pq_dagster.loading.key_ranges import KeyRange
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.readable_objects import LoadRules, ReadableObjects
from s3pq_dagster.reading.table_stream import Checkpoint, Reference, TableStream
from s3pq_dagster.source.store import Store

_T = TypeVar("_T")
_LINES_A_MESSAGE = 128
_WAIT_SECONDS = 1
_MOST_LOOKS = 32
"""Objects that are asked for at a time before their rows are removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLoad:
    """One table and its listing, with everything needed to load what is pending of it.

    Small and lazy: nothing is read before :meth:`into` or the Arrow stream is asked for.
    """

    plan: LoadPlan
    store: Store
    log: logging.Logger
    run_id: str = ""
    prefetch: Prefetch | None = None
    """Of a run of more than one: what is fetched of the table that follows another."""
    on_loaded: Callable[[LoadReport], None] = field(default=lambda _report: None)
    """Called once everything is committed."""
    earlier: Sequence[LoadReport] = ()
    """What others loaded in this run already, for the report."""

    def into(self, destination: Destination) -> LoadReport:
        """Load what is pending, checkpoint by checkpoint.

        The destination is asked again, now under its lock, so what another run loaded meanwhile
        is not read.

        Raises:
            StoreError: The bucket failed; committed checkpoints stand.
            InternalError: An object was neither read nor reported as unreadable: a bug.
            SchemaMismatchError: Two objects differ; checkpoints before stand.
            DestinationError: The destination failed; committed checkpoints stand.
            EmptyListingError: As :meth:`LoadPlan.difference`; nothing is touched.
        """
        started, plan = time.monotonic(), self.plan
        if plan.refresh:
            plan.difference(destination.state(plan.owner))  # refuses an empty listing
        append = plan.spec.write_mode == "append"
        opened = destination.write(
            plan.owner, run_id=self.run_id, append=append, refresh=plan.refresh
        )
        with opened as writer:
            load = _Load(self, writer)
            removed = load.remove(writer)
            report = load.run(started)
        # Some destinations write most when they are closed.
        report = replace(report, removed=removed, seconds=time.monotonic() - started)
        if plan.refresh:  # committed as a whole, and only now
            load.say_committed()
        report = report.after(self.earlier)
        self.on_loaded(report)
        return report

    def shard_into(self, destination: Destination, keys: KeyRange) -> LoadReport:
        """Load what is pending of a range of keys while others load the rest.

        The lock is held for each checkpoint alone. Nothing is removed, and the table's fingerprint
        stays: that is left to a load of the whole table once the others are done.

        Raises:
            DiskError: Rows could not be put aside until it was their turn.
            S3ParquetError: As :meth:`into`.
        """
        started = time.monotonic()
        shard = replace(self, plan=replace(self.plan, keys=keys), prefetch=None)
        writer = ConcurrentWriter(
            destination,
            self.plan.owner,
            run_id=self.run_id,
            append=self.plan.spec.write_mode == "append",
            check=shard.plan.refuse_together,
        )
        return _Load(shard, writer, writer.abandon).run(started)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Offer all rows of the listing as one Arrow stream, committing nothing.

        Reads as it is drained; an exhausted or dropped stream closes what it opened.
        """
        listed = self.plan.listing.in_reading_order()
        fetcher = build_fetcher(self.store, listed, self.plan.spec)
        progress = ProgressLog(self.plan.owner.table, listed, self.log)
        rows = _rows_of(TableStream(ReadableObjects(fetcher, progress), None))
        return pa.RecordBatchReader.from_batches(next(rows), rows).__arrow_c_stream__(
            requested_schema
        )


def _rows_of(stream: TableStream) -> Iterator[Any]:
    """Yield the schema, then the batches; the stream is closed however this ends."""
    with stream:
        checkpoints = stream.checkpoints()
        first = next((some for some in checkpoints if some.schema is not None), None)
        yield pa.schema([]) if first is None else first.schema
        for checkpoint in [] if first is None else chain([first], checkpoints):
            yield from checkpoint.batches or ()


@contextmanager
def _interruptible(stream: TableStream, abandon: Callable[[], None]) -> Iterator[None]:
    """Let this thread be interrupted while another commits.

    Destinations drain batches from inside their drivers, where a cancelled run is not heard. So
    they do it in a thread of their own; when the run is cancelled here, the stream stops there,
    what is not committed is rolled back, and only then the interrupt goes on.
    """
    try:
        yield
    except BaseException:
        abandon()
        stream.close(wait=False)
        raise


def _patient(answer: Future[_T]) -> _T:
    """Wait in small steps, between which a cancel is heard.

    Once Polars is imported, one long wait is not interrupted: its handler of SIGINT has the system
    resume it.
    """
    while wait([answer], _WAIT_SECONDS).not_done:
        pass
    return answer.result()


class _Load:
    """One load under way."""

    def __init__(
        self, load: TableLoad, writer: CheckpointWriter, abandon: Callable[[], None] = lambda: None
    ) -> None:
        self._load = load
        self._abandon = abandon
        self._writer = writer
        self._state = writer.state()
        self._difference = load.plan.difference(self._state)
        self._before = load.plan.counted(self._state)
        self._aside = len(load.plan.held_back(self._before))
        self._rows = self._objects = self._bytes = 0
        self._quarantined: list[str] = []
        self._cursor = self._state.ledger.cursor
        self._fingerprint_now = ""
        """Of all that is loaded, once it is written; empty while more is to come."""

    def run(self, started: float) -> LoadReport:
        """Load what is pending, checkpoint by checkpoint."""
        with self._stream() as stream, ThreadPoolExecutor(1, "s3pq-commit") as thread:
            for checkpoint in stream.checkpoints():
                with _interruptible(stream, self._abandon):
                    _patient(thread.submit(self._commit, checkpoint, stream))
        if (seen := stream.progress.seen) != len(self._difference.pending):
            raise InternalError(
                f"loading table {self._load.plan.owner.table!r}",
                f"only {seen} of {len(self._difference.pending)} pending objects read",
            )
        if not self._fingerprint_now:
            self._writer.commit(None, schema_key=None, seal=lambda: self._sealed([], stream))
        state = self._state = self._writer.state()
        seconds = time.monotonic() - started
        return LoadReport(
            rows=self._rows,
            objects=self._objects,
            bytes=self._bytes,
            removed=0,
            missing=len(stream.missing),
            seconds=seconds,
            table_rows=state.rows,
            table_schema=state.schema,
            objects_loaded=state.ledger.count(Status.LOADED),
            ledger_rows=state.ledger.rows,
            objects_quarantined=state.ledger.quarantined(self._load.plan.listing).height,
            quarantined_keys=self._quarantined,
            cursor=state.ledger.cursor,
            fingerprint=self._fingerprint_now,
        )

    def _stream(self) -> TableStream:
        state, load = self._state, self._load
        known = state.schema is not None and not load.plan.refresh
        rules = LoadRules(
            verify=load.plan.refresh,
            on_quarantine=self._refuse,
            is_loaded=self._before.holds,
        )
        progress = ProgressLog(load.plan.owner.table, self._difference.pending, load.log)
        return TableStream(
            ReadableObjects(self._fetcher(), progress, rules),
            Reference(state.schema, str(state.schema_key)) if known else None,
            most_rows=MOST_ROWS,  # uncut: destinations would only join the pieces again
        )

    def _fetcher(self) -> Fetcher:
        """Take over what is under way, or begin with a share of the bounds."""
        load, pending = self._load, self._difference.pending
        if load.prefetch is None:
            return build_fetcher(load.store, pending, load.plan.spec)
        under_way = load.prefetch.take(load.plan.owner, pending)
        shares = load.prefetch.shares
        return under_way or build_fetcher(load.store, pending, load.plan.spec, shares=shares)

    def _refuse(self, entry: Entry) -> None:
        self._aside += 1
        self._load.plan.refuse_quarantined(self._aside, entry.object.key, entry.reason)

    def remove(self, writer: TableWriter) -> int:
        """Remove the rows of objects that are gone; give how many objects."""
        keys = self._gone()
        if not keys:
            return 0
        table = self._load.plan.owner.table
        left = self._state.ledger.frame.filter(~pl.col("key").is_in(keys))
        self._cursor = Ledger(left).cursor
        rows = writer.remove(keys, seal=lambda: self._sealed([]))
        self._say([line("object_removed", table=table, key=key) for key in keys])
        self._say([line("rows_removed", table=table, objects=len(keys), rows=rows)])
        return len(keys)

    def _gone(self) -> list[str]:
        """Ask for each key before its rows are removed.

        The run's listing may be an hour old by now, or have been a page short.
        """
        keys = self._difference.removed
        concurrency = self._load.plan.spec.concurrency
        workers = min(concurrency if concurrency > 0 else _MOST_LOOKS, _MOST_LOOKS)
        pool = ThreadPoolExecutor(workers, "s3pq-look")
        try:
            looks = [pool.submit(self._load.store.is_there, key) for key in keys]
            there = [_patient(look) for look in looks]
        finally:  # a cancelled run does not wait for answers that may be long in coming
            pool.shutdown(wait=False, cancel_futures=True)
        return [key for key, still in zip(keys, there, strict=True) if not still]

    def _commit(self, checkpoint: Checkpoint, stream: TableStream) -> None:
        def seal() -> Commit:
            return self._sealed(checkpoint.entries, stream if checkpoint.is_last else None)

        try:
            self._writer.commit(
                checkpoint.batches and read_in_background(checkpoint.batches),
                schema_key=checkpoint.schema_key,
                seal=seal,
            )
        except BaseException as error:
            if checkpoint.error is None:
                raise
            if not isinstance(checkpoint.error, MalformedObjectError):
                raise checkpoint.error from error
            # An object turned out malformed half-way: its rows are rolled back, and nothing else
            # was in its checkpoint. What is left to say goes into the ledger. Not so where rows of
            # others went with them, as in a refresh, which is one transaction.
            others = any(entry.status is Status.LOADED for entry in checkpoint.entries)
            if others or self._load.plan.refresh:
                raise UnsteadyObjectError(checkpoint.error.key, checkpoint.error.reason) from (
                    checkpoint.error
                )
            self._writer.commit(None, schema_key=None, seal=seal)
            checkpoint.error = None  # its traceback leads back here: nothing of it would be freed
        self._count(checkpoint.entries)

    def _count(self, entries: Sequence[Entry]) -> None:
        """Add up what is committed, and log it."""
        loaded = [entry for entry in entries if entry.status is Status.LOADED]
        rows = sum(entry.rows for entry in loaded)
        self._rows += rows
        self._objects += len(loaded)
        self._bytes += sum(entry.object.size for entry in entries)
        self._quarantined += [e.object.key for e in entries if e.status is Status.QUARANTINED]
        if not self._load.plan.refresh:
            objects = ((e.object.key, e.object.size, e.rows) for e in loaded)
            self._say_loaded(len(entries), rows, objects)

    def say_committed(self) -> None:
        """Log all that a refresh committed, from the ledger it wrote."""
        found = self._state.ledger
        loaded = found.frame.filter(pl.col("status") == Status.LOADED)
        objects = loaded.select("key", "size", "rows").iter_rows()
        self._say_loaded(found.frame.height, found.rows, objects)

    def _say_loaded(self, entries: int, rows: int, objects: Iterable[tuple[str, int, int]]) -> None:
        table = self._load.plan.owner.table
        first = line("checkpoint_committed", table=table, objects=entries, rows=rows)
        others = (
            line("object_loaded", table=table, key=key, size=size, rows=rows)
            for key, size, rows in objects
        )
        self._say(chain([first], others))

    def _say(self, lines: Iterable[str]) -> None:
        """Log many lines to a message: Dagster stores each message in its event log."""
        left = iter(lines)
        while some := list(islice(left, _LINES_A_MESSAGE)):
            self._load.log.info("\n".join(some))

    def _sealed(self, entries: Sequence[Entry], done: TableStream | None = None) -> Commit:
        """Make the commit of some entries; ``done`` is the stream once nothing more comes."""
        loaded = [e.object.last_modified for e in entries if e.status is Status.LOADED]
        self._cursor = latest([self._cursor, *loaded])
        self._fingerprint_now = "" if done is None else self._fingerprint(done)
        return Commit(entries, self._cursor, self._fingerprint_now or None)

    def _fingerprint(self, done: TableStream) -> str:
        """Hash what the ledger accounts for at the end: what it did, and what was pending.

        Of the latter an object that is gone since it was listed is left out, and one that was
        overwritten stands as it was read.
        """
        other = [*done.missing, *(found.key for found in done.changed)]
        frames = [
            self._before.accounted(self._load.plan.listing).frame,
            self._difference.pending.frame,
        ]
        held = pl.concat(frames).filter(~pl.col("key").is_in(other))
        now = pl.concat([held, Listing.of(done.changed).frame])
        return fingerprint(Listing(now.unique("key")))
