"""A sensor that requests a run when a table's objects are not all loaded."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import dagster as dg

from s3pq_dagster.dagster.code_location import WebserverAddress
from s3pq_dagster.dagster.failures import named_listing, settings_digest
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.lag import LagLog
from s3pq_dagster.dagster.metadata import COLLISION, PREFIX, TABLE, TOO_MANY_PARTITIONS
from s3pq_dagster.dagster.names import SENSOR_NAME
from s3pq_dagster.dagster.new_tables import Reloads, not_loaded
from s3pq_dagster.dagster.opening import opened_resource
from s3pq_dagster.dagster.partition_watch import divided, range_tags
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.sensor_cursor import SensorCursor
from s3pq_dagster.dagster.sensor_decision import Candidate, Decision, NotLoaded
from s3pq_dagster.dagster.sensor_history import LoadHistory, Observations, Silences
from s3pq_dagster.dagster.sensor_listing import ListingOverTicks
from s3pq_dagster.dagster.sensor_target import sensor_target
from s3pq_dagster.layout.table_rule import columns_hash
from s3pq_dagster.ledger import cursor_key, fingerprint
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.catalog import Grouping

_MOST_REQUESTS = 25


# Long by its arguments and what is said of each.
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
    reload_for_new_tables: bool = False,
    webserver_url: str | None = None,
    refresh_tables: Callable[[], object] | None = None,
) -> dg.SensorDefinition:
    """Build a sensor that requests a run when a table's objects are not all loaded.

    It compares the fingerprint of the listing with the data version last materialized or observed.
    It opens no destination. A table for which no run has reported anything for the spec's
    ``verify_interval`` gets a run too: it asks the ledger, which may have gone back in time. The
    sensor's cursor decides only when a run is requested again after one that failed, so losing the
    cursor costs nothing.

    Args:
        source: The bucket; environment variables are read at each tick.
        assets: The result of :func:`build_s3_parquet_assets`.
        destination: Where the assets are loaded, so that loads into another destination do not
            count. ``None`` if the destination never changes; then a table that fails is asked for
            again even where that cannot help.
        name: The sensor's name.
        default_status: Whether it runs from the start.
        minimum_interval_seconds: The time between two ticks.
        run_per_table: Whether to request one run for each table with something to do, at most 25
            a tick, instead of one run for all of them.
        stale_run_seconds: A run that has logged no event for so long counts as dead.
        reload_for_new_tables: Whether to ask the code location to reload where tables are listed
            that the definitions lack, at most once a minute; the next tick finds them. All of the
            location is loaded anew, as its code is then.
        webserver_url: The Dagster webserver to ask for it where the code server cannot be asked,
            such as ``http://127.0.0.1:3000``.
        refresh_tables: Called before a reload, where ``assets`` are made from tables that somebody
            else keeps.

    Returns:
        A sensor over all of these assets.

    Raises:
        ConfigurationError: ``webserver_url`` is no such URL.
    """
    of_tables = [each for each in assets if each.is_executable]
    webserver = None if webserver_url is None else WebserverAddress.of(webserver_url)
    watch = BucketWatch(
        source,
        destination,
        {spec.metadata[TABLE]: spec for definition in of_tables for spec in definition.specs},
        name=name,
        run_per_table=run_per_table,
        stale_run_seconds=stale_run_seconds,
        reloads=Reloads(webserver, refresh_tables) if reload_for_new_tables else None,
    )

    @dg.sensor(
        name=name,
        **sensor_target(of_tables, watch.tables.values()),
        default_status=default_status,
        minimum_interval_seconds=minimum_interval_seconds,
        description="Lists the bucket and requests a run where objects are not loaded yet.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return watch.tick(context)

    return sensor


@dataclass(frozen=True, slots=True)
class BucketWatch:
    """What a sensor does in a tick, and what it keeps between two of them."""

    source: S3ParquetResource
    destination: S3ParquetIOManager | None
    tables: Mapping[str, dg.AssetSpec]
    """The assets, by table."""
    name: str = SENSOR_NAME
    run_per_table: bool = False
    stale_run_seconds: int = 900
    reloads: Reloads | None = None
    """Asks the code location to reload for new tables; ``None`` leaves that to a person."""
    listing: ListingOverTicks = field(default_factory=ListingOverTicks)
    last_complete: dict[str, Listing] = field(default_factory=dict)
    """The listing with which each table was last up to date."""
    verified: dict[str, float] = field(default_factory=dict)
    """When each table was last reported by a run, as far as it was looked up."""
    silences: Silences = field(default_factory=Silences)
    """How long each run in flight has been silent."""
    observations: Observations = field(default_factory=Observations)
    """What was found in the event log."""
    lags: LagLog = field(default_factory=LagLog)
    """Which tables are not behind."""

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """List the bucket and decide for which tables to request runs."""
        begun = time.monotonic()
        with (
            opened_resource(self.source, context.instance) as opened,
            _opened(self.destination, context.instance) as destination,
        ):
            grouping = self.listing.go_on(opened, context.log)
            if isinstance(grouping, dg.SkipReason):
                return grouping
            place = None if destination is None else destination.place()
            kept = self.silences, self.observations
            history = LoadHistory(context, place, self.stale_run_seconds, *kept)
            return self._result(opened, grouping, history, destination, begun)

    def _result(
        self,
        source: S3ParquetResource,
        grouping: Grouping,
        history: LoadHistory,
        destination: S3ParquetIOManager | None,
        begun: float,
    ) -> dg.SensorResult:
        context = history.context
        cursor = SensorCursor.parse(context.cursor, context.log, sensor=self.name)
        tables = self._candidates(source, grouping, history, cursor, destination)
        parts = divided(tables, self.tables, source.key_layout, history, cursor.of)
        decision = Decision(
            now=time.time(),
            is_in_flight=history.is_in_flight,
            last_complete=self.last_complete,
            verify_interval=source.verify_interval,
            verified=self.verified,
        )
        decision.add_all(parts.candidates, objects=sum(len(table.listing) for table in tables))
        cursor.keep({*self.tables, *(candidate.name for candidate in parts.candidates)})
        requests = self._requests(decision)
        shown = {
            cursor_key(source.bucket, table.name): table.last.cursor
            for table in tables
            if table.last.cursor is not None
        }
        lacking = parts.added_to(not_loaded(source, grouping, self.tables))
        lacking = self._remedied(lacking, cursor, context.code_location_origin, begun)
        summary = decision.summary(tables=len(self.tables), not_loaded=lacking, cursors=shown)
        context.log.info(line("tick", requested=len(requests), summary=summary))
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else summary,
            cursor=cursor.dump(shown),
            asset_events=self.lags.events(
                parts.lagging(self.last_complete), self.last_complete, self.tables, decision.now
            ),
        )

    def _remedied(
        self, lacking: NotLoaded, cursor: SensorCursor, origin: object, begun: float
    ) -> NotLoaded:
        """Ask for a reload that brings in what the definitions lack, and say what became of it."""
        if self.reloads is None:
            return lacking
        told = self.reloads.told(origin, lacking.undefined, cursor.reload, begun=begun)
        return lacking.with_remedy(told)

    def _candidates(
        self,
        source: S3ParquetResource,
        grouping: Grouping,
        history: LoadHistory,
        cursor: SensorCursor,
        destination: S3ParquetIOManager | None,
    ) -> list[Candidate]:
        """Bring together what is listed, loaded and remembered of each table."""
        # A table that cannot be loaded by its definition is in no run: the tick's reason says why.
        failing = {COLLISION, TOO_MANY_PARTITIONS}
        tables = {n: spec for n, spec in self.tables.items() if not failing & {*spec.metadata}}
        entries = history.entries([spec.key for spec in tables.values()])
        candidates = []
        for name, spec in tables.items():
            pattern = spec.metadata[PREFIX]
            listing, layout = grouping.listing(pattern), columns_hash(source.key_layout, pattern)
            current = fingerprint(listing, layout)
            last = history.last_load(
                spec.key,
                entries.get(spec.key),
                current=current,
                cursor=cursor_key(source.bucket, name),
            )
            reported_at = partial(history.reported_at, spec.key, entries.get(spec.key))
            asked = cursor.of(name, current)
            mirror = source.for_table(pattern).write_mode == "mirror"
            failure = partial(history.last_failure, spec.key, entries.get(spec.key))
            lag = partial(history.logged_lag, spec.key, entries.get(spec.key))
            conditions = partial(_conditions, source, grouping, pattern, current, destination)
            facts = current, last, asked, reported_at, layout, mirror, failure, conditions, lag
            candidates.append(Candidate(name, listing, *facts))
        return candidates

    def _requests(self, decision: Decision) -> list[dg.RunRequest]:
        """Request runs for the tables that are due, and remember that in the cursor.

        A run loads all tables without partitions, or one range of a table's partitions.
        """
        whole = [table for table in decision.due if not table.partitions]
        groups = [[table] for table in whole] if self.run_per_table else [whole]
        groups += [[table] for table in decision.due if table.partitions]
        asked = [group for group in groups if group][:_MOST_REQUESTS]
        return [self._request(group, decision.now) for group in asked]

    def _request(self, group: Sequence[Candidate], now: float) -> dg.RunRequest:
        facts = []
        for table in group:
            table.asked.ask(table.fingerprint, now)
            before = [table.last.run_id, *([table.recorded_at] if table.partitions else [])]
            facts.append([table.name, table.fingerprint, *before, table.asked.attempts])
        # Dagster launches one run for a run key. The key changes with the listing, with each
        # attempt and, since an object may be put back to what it was, with what was before.
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
        keys = [self.tables[table.table].key for table in group]
        return dg.RunRequest(run_key=digest, asset_selection=keys, tags=range_tags(group[0]))


@contextmanager
def _opened(
    destination: S3ParquetIOManager | None, instance: dg.DagsterInstance
) -> Iterator[S3ParquetIOManager | None]:
    """Open the IO manager, with environment variables read now; its destination stays closed."""
    if destination is None:
        yield None
    else:
        with opened_resource(destination, instance) as opened:
            yield opened


def _conditions(
    source: S3ParquetResource,
    grouping: Grouping,
    pattern: str,
    current: str,
    destination: S3ParquetIOManager | None,
) -> tuple[str, str | None]:
    """Name what decides whether a table that failed fails again, as the failed run did."""
    listing = named_listing(current, grouping.format_of(pattern))
    if destination is None:
        return listing, None
    return listing, settings_digest(source.for_table(pattern), destination)
