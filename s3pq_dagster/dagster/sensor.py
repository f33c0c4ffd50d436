"""When a run has something to do: the listing against what was last materialized."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.metadata import DATA_VERSION_TAG, DESTINATION, PREFIX, TABLE
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.sensor_cursor import Asked, SensorCursor
from s3pq_dagster.errors import TableNameCollisionError, TableNameError
from s3pq_dagster.ledger import cursor_key, fingerprint
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.catalog import Grouping, tables_in
from s3pq_dagster.source.listing import BucketListing

SENSOR_NAME = "s3_parquet_sensor"
_LISTING_SECONDS = 40
"""Of a tick: Dagster gives up on one after 60 seconds."""
_LISTING_KEPT_SECONDS = 3600
_MOST_REQUESTS = 25
_MOST_NAMED = 10
_RUNNING = {
    dg.DagsterRunStatus.NOT_STARTED,  # for ever, if who created it died before launching it
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.MANAGED,
}


def build_s3_parquet_sensor(
    source: S3ParquetResource,
    *,
    assets: Sequence[dg.AssetsDefinition],
    destination: S3ParquetIOManager | None = None,
    name: str = SENSOR_NAME,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds: int = 60,
    run_per_table: bool = False,
    stale_run_seconds: int = 900,
) -> dg.SensorDefinition:
    """Build a sensor that asks for a run when a table's objects are not all loaded.

    It compares levels, not edges: the fingerprint of the listing with the data version last
    materialized or observed. It opens no destination, and its cursor decides nothing but when a
    failed run is asked for again: lost, it costs nothing.

    Args:
        source: The bucket; environment variables are read at each tick.
        assets: What :func:`build_s3_parquet_assets` gave.
        destination: Where they are loaded, so that what another destination holds does not count;
            ``None`` where that never changes.
        name: The sensor's.
        default_status: Whether it runs from the start.
        minimum_interval_seconds: Between two ticks.
        run_per_table: One run for each table with something to do, at most 25 a tick, instead of
            one for all of them.
        stale_run_seconds: A run that has not logged an event for so long is taken for dead.

    Returns:
        A sensor over all of these assets.
    """
    known = {
        spec.metadata[TABLE]: _Known(spec.key, spec.metadata[TABLE], spec.metadata[PREFIX])
        for definition in assets
        for spec in definition.specs
    }
    last_seen: dict[str, Listing] = {}
    unfinished: list[tuple[float, BucketListing]] = []

    @dg.sensor(
        name=name,
        target=list(assets) if known else None,
        default_status=default_status,
        minimum_interval_seconds=minimum_interval_seconds,
        description="Lists the bucket and asks for a run where objects are not loaded yet.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with source.process_config_and_initialize_cm() as opened:
            begun, listing = _begun(unfinished, opened.path_prefix)
            grouping = opened.list_on(listing, context.log, seconds=_LISTING_SECONDS)
            if grouping is None:
                unfinished[:] = [(begun, listing)]
                return dg.SkipReason(
                    f"listing: {listing.objects} objects in {_LISTING_SECONDS} s a tick so far; "
                    f"the next tick goes on from there"
                )
            place = _place(destination)
            tick = _Tick(context, opened, place, known, grouping, last_seen, stale_run_seconds)
            return tick.result(run_per_table=run_per_table)

    return sensor


def _place(destination: S3ParquetIOManager | None) -> str | None:
    if destination is None:
        return None
    with destination.process_config_and_initialize_cm() as opened:
        place: str = opened.place()
    return place


def _begun(
    unfinished: list[tuple[float, BucketListing]], path_prefix: str
) -> tuple[float, BucketListing]:
    """Take up the listing that an earlier tick left, unless that was long ago, or begin one."""
    now = time.time()
    with suppress(IndexError):  # another tick may have taken it meanwhile
        begun, listing = unfinished.pop()
        if now - begun < _LISTING_KEPT_SECONDS:
            return begun, listing
    return now, BucketListing(path_prefix)


@dataclass(frozen=True, slots=True)
class _Known:
    """A table that is in the definitions."""

    key: dg.AssetKey
    name: str
    prefix: str


@dataclass(frozen=True, slots=True)
class _Held:
    """What Dagster's event log says of a table."""

    version: str | None
    """Data version last materialized or observed."""
    cursor: str | None
    run_id: str | None
    """The run that last planned to materialize it."""


@dataclass(slots=True)
class _Tick:
    """One evaluation."""

    context: dg.SensorEvaluationContext
    source: S3ParquetResource
    place: str | None
    """Of the destination, where it counts."""
    known: dict[str, _Known]
    grouping: Grouping
    last_seen: dict[str, Listing]
    stale_run_seconds: int
    up_to_date: int = 0
    objects: int = 0
    waiting: list[str] = field(default_factory=list)
    backing_off: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    due: list[tuple[_Known, str, _Held]] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)

    def result(self, *, run_per_table: bool) -> dg.SensorResult:
        """Decide what to ask for."""
        cursor = SensorCursor.parse(self.context.cursor)
        entries = _entries(self.context.instance, list(self.known.values()))
        in_flight = _cached(self._in_flight)
        now = time.time()
        for table in self.known.values():
            self._sort(table, entries.get(table.key), cursor.of(table.name), in_flight, now)
        cursor.keep(self.known)
        requests = self._requests(cursor, run_per_table=run_per_table, now=now)
        summary = self._summary()
        self.context.log.info(line("tick", requested=len(requests), summary=summary))
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else summary,
            cursor=cursor.dump(self.cursors),
        )

    def _sort(
        self,
        table: _Known,
        entry: Any,
        asked: Asked,
        in_flight: Callable[[str], bool],
        now: float,
    ) -> None:
        """Put a table where it belongs: up to date, waiting, backing off or due."""
        listing = self.grouping.by_prefix.get(table.prefix, Listing.of([]))
        current = fingerprint(listing)
        cursor = cursor_key(self.source.bucket, table.name)
        held = self._held(entry, current, cursor, table)
        self.objects += len(listing)
        if held.cursor is not None:
            self.cursors[cursor] = held.cursor
        if self._is_up_to_date(table, listing, current, held, asked):
            self.up_to_date += 1
            self.last_seen[table.name] = listing
        elif self.source.write_mode == "mirror" and not len(listing):
            self.emptied.append(table.name)
        elif held.run_id is not None and in_flight(held.run_id):
            self.waiting.append(f"{table.name} (run {held.run_id[:8]})")
        elif (seconds := asked.seconds_left(current, now)) > 0:
            self.backing_off.append(
                f"{table.name} (attempt {asked.attempts} failed, next in {round(seconds)} s)"
            )
        else:
            self.due.append((table, current, held))

    def _held(self, entry: Any, current: str, cursor: str, table: _Known) -> _Held:
        """Take the newest of materialization and observation; mostly the first says enough."""
        if entry is None:
            return _Held(None, None, None)
        newest = entry.last_materialization_record
        event = None if newest is None else newest.asset_materialization
        if self._version(event) != current:
            observed = self.context.instance.fetch_observations(table.key, limit=1).records
            if observed and (newest is None or observed[0].storage_id > newest.storage_id):
                event = observed[0].event_log_entry.asset_observation
        version = self._version(event)
        shown = None if event is None or version is None else event.metadata.get(cursor)
        return _Held(version, None if shown is None else str(shown.value), entry.last_run_id)

    def _version(self, event: Any) -> str | None:
        """Give the data version of what was loaded here, and of nothing else."""
        if event is None:
            return None
        said = event.metadata.get(DESTINATION)
        if self.place is not None and (said is None or said.value != self.place):
            return None
        return (event.tags or {}).get(DATA_VERSION_TAG)

    def _is_up_to_date(
        self, table: _Known, listing: Listing, current: str, held: _Held, asked: Asked
    ) -> bool:
        if current == held.version:
            return True
        if held.version is None:
            return not len(listing)
        if self.source.write_mode == "mirror":
            return False
        if (current, held.version) == (asked.accepted, asked.accepted_for):
            return True
        # Objects deleted from S3 give a run nothing to do here. What was seen when all was loaded
        # tells them from new ones; when that is not known, a run looks and observes.
        before = self.last_seen.get(table.name)
        if len(listing) and (before is None or not _is_part_of(listing, before)):
            return False
        known: set[str | None] = {held.version}
        if asked.accepted_for == held.version:
            known.add(asked.accepted)
        if before is not None and fingerprint(before) not in known:
            return False
        asked.accepted, asked.accepted_for = current, held.version
        return True

    def _requests(
        self, cursor: SensorCursor, *, run_per_table: bool, now: float
    ) -> list[dg.RunRequest]:
        groups = [[due] for due in self.due[:_MOST_REQUESTS]] if run_per_table else [self.due]
        requests = []
        for group in filter(None, groups):
            facts = []
            for table, current, held in group:
                asked = cursor.of(table.name)
                asked.ask(current, now)
                facts.append([table.name, current, held.run_id, asked.attempts])
            digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
            keys = [table.key for table, _, _ in group]
            requests.append(dg.RunRequest(run_key=digest, asset_selection=keys))
        return requests

    def _in_flight(self, run_id: str) -> bool:
        run = self.context.instance.get_run_by_id(run_id)
        if run is None:
            return False
        if run.status is dg.DagsterRunStatus.QUEUED:
            return True
        if run.status not in _RUNNING:
            return False
        latest = self.context.instance.get_records_for_run(run_id, limit=1, ascending=False)
        if not latest.records:
            return True
        silent = time.time() - latest.records[0].timestamp
        if silent > self.stale_run_seconds:
            self.context.log.warning(
                line("run_taken_for_dead", run_id=run_id, seconds_without_event=round(silent))
            )
            return False
        return True

    def _summary(self) -> str:
        tables = f"{self.up_to_date} of {len(self.known)} tables up to date"
        parts = [f"{tables}, {self.objects} objects listed"]
        for what, names in (
            ("something to load", [table.name for table, _, _ in self.due]),
            ("run in flight", self.waiting),
            ("backing off", self.backing_off),
            ("listing empty, nothing removed without allow_empty_listing", self.emptied),
            ("not in the definitions yet, reload the code location", self._unknown()),
        ):
            if names:
                more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
                parts.append(f"{what}: {', '.join(names[:_MOST_NAMED])}{more}")
        if not self.due:
            parts[0] = f"nothing new: {parts[0]}"
            cursors = [f"{key} {value}" for key, value in sorted(self.cursors.items())]
            if cursors:
                parts.append(f"cursors: {', '.join(cursors[:_MOST_NAMED])}")
        return "; ".join(parts)

    def _unknown(self) -> list[str]:
        try:
            found = tables_in(
                self.grouping, tables=self.source.tables, skip_tables=self.source.skip_tables
            )
        except (TableNameError, TableNameCollisionError) as error:
            return [str(error)]
        return [table.name for table in found if table.name not in self.known]


def _entries(instance: dg.DagsterInstance, tables: Sequence[_Known]) -> dict[dg.AssetKey, Any]:
    records = instance.get_asset_records([table.key for table in tables])
    return {record.asset_entry.asset_key: record.asset_entry for record in records}


def _is_part_of(listing: Listing, before: Listing) -> bool:
    """Tell whether every object was there before in the same version."""
    on = ["key", "version"]
    return listing.with_version().join(before.with_version(), on=on, how="anti").height == 0


def _cached(look: Callable[[str], bool]) -> Callable[[str], bool]:
    known: dict[str, bool] = {}

    def cached(run_id: str) -> bool:
        if run_id not in known:
            known[run_id] = look(run_id)
        return known[run_id]

    return cached
