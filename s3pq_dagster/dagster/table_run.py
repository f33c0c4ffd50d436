"""What an op does for one table in one run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.checks import Proof
from s3pq_dagster.dagster.failures import failure_observation, named_listing, settings_digest
from s3pq_dagster.dagster.metadata import (
    DATA_VERSION_TAG,
    OBJECTS_LOADED,
    OBJECTS_QUARANTINED,
    PREFIX,
    agrees,
    ledger_metadata,
)
from s3pq_dagster.dagster.run_config import LoadConfig
from s3pq_dagster.dagster.run_tables import RunTables
from s3pq_dagster.destinations.table_state import TableAudit, TableState
from s3pq_dagster.errors import S3ParquetError, TableFormatError
from s3pq_dagster.ledger import Ledger, Status
from s3pq_dagster.loading.key_ranges import KeyRange, split
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.logs import line
from s3pq_dagster.reading.footers import footer_rows
from s3pq_dagster.source.catalog import keys_of_others


@dataclass(frozen=True, slots=True)
class TableRun:
    """One table in one run."""

    tables: RunTables
    config: LoadConfig
    spec: dg.AssetSpec
    earlier: Sequence[LoadReport] = ()
    """What shards of the table have loaded in this run."""
    retries: int = 0
    """How often the step is tried again after an error that a retry may mend."""

    def results(self) -> Iterator[Any]:
        """Load the table, then check it; each if it is selected."""
        context = self.tables.context
        selected = context.selected_asset_check_keys
        checks = {check.name for check in selected if check.asset_key == self.spec.key}
        is_loaded = self.spec.key in context.selected_asset_keys
        if not (is_loaded or checks):
            return
        with self._failures_observed():
            load = self._load()
        with self._failures_observed(load.plan):
            yield from self._results_of(load, checks, is_loaded=is_loaded)

    def _results_of(self, load: TableLoad, checks: set[str], *, is_loaded: bool) -> Iterator[Any]:
        context, plan, audit = self.tables.context, load.plan, None
        if is_loaded:
            last = context.instance.get_latest_materialization_event(self.spec.key)
            if checks and _says_all_loaded(last, plan):
                audit = self.tables.destination().audit(plan.owner)
            for result in self._materialized(load, last, audit.state if audit else None):
                audit = None  # what it says is from before the load
                yield result
        if checks:
            audit = audit or self.tables.destination().audit(plan.owner)
            yield from self._proof(plan, audit).results(self.spec.key, checks)

    def ranges(self, most: int) -> list[KeyRange]:
        """Divide the pending objects into ranges of keys.

        Returns:
            At most ``most`` ranges; none if the table is only checked, or has to be loaded as a
            whole.
        """
        if self.spec.key not in self.tables.context.selected_asset_keys:
            return []
        with self._failures_observed():
            plan = self.tables.plan(self.spec, self.config)
        if plan.refresh or plan.options.max_objects is not None:
            return []
        with self._failures_observed(plan):
            state = self.tables.state(plan.owner)
            found = plan.difference(state)
            return split(found.pending, most) if plan.may_be_sharded(state, found) else []

    def shard(self, keys: KeyRange) -> LoadReport:
        """Load the pending objects of a range of keys, while other steps load the rest."""
        with self._failures_observed():
            load = self._load()
        with self._failures_observed(load.plan):
            return load.shard_into(self.tables.destination(), keys)

    def _plan(self) -> LoadPlan:
        return self.tables.plan(self.spec, self.config)

    def _load(self) -> TableLoad:
        plan = self._plan()
        return TableLoad(
            plan=plan,
            store=self.tables.source.store,
            log=self.tables.context.log,
            run_id=self.tables.context.run.run_id,
            prefetch=self.tables.prefetch(),
            on_loaded=self._set_data_version,
            on_failed=partial(self._observe_failure, plan),
            earlier=self.earlier,
        )

    def _set_data_version(self, report: LoadReport) -> None:
        version = dg.DataVersion(report.fingerprint)
        self.tables.context.set_data_version(self.spec.key, version)

    @contextmanager
    def _failures_observed(self, plan: LoadPlan | None = None) -> Iterator[None]:
        """Observe the asset before an error fails the op; ``plan`` if it is known by then."""
        try:
            yield
        except S3ParquetError as error:
            self._observe_failure(plan, error)
            raise

    def _observe_failure(self, plan: LoadPlan | None, error: S3ParquetError) -> None:
        """Record on the asset's page why its run fails, unless the step is tried again."""
        context, source, io_manager = (
            self.tables.context,
            self.tables.source,
            self.tables.io_manager,
        )
        if error.retryable and context.retry_number < self.retries:
            return
        listing = self._failed_listing(plan, error)
        settings = settings_digest(source.for_table(self.spec.metadata[PREFIX]), io_manager)
        context.log_event(
            failure_observation(
                self.spec.key, error, listing=listing, settings=settings, place=io_manager.place()
            )
        )

    def _failed_listing(self, plan: LoadPlan | None, error: S3ParquetError) -> str | None:
        """Name what was to be loaded, as the sensor does; ``None`` if that is not known."""
        if not self._is_plain():
            return None
        if isinstance(error, TableFormatError):
            return named_listing("", error.found)
        return None if plan is None else named_listing(plan.fingerprint(plan.wanted), None)

    def _is_plain(self) -> bool:
        """Return whether the run has no options, as those that the sensor requests."""
        return self.config.options(self.tables.context.run.tags) == LoadOptions()

    def _materialized(
        self, load: TableLoad, last: dg.EventLogEntry | None, state: TableState | None
    ) -> Iterator[dg.MaterializeResult[TableLoad]]:
        """Yield the load for the IO manager, or observe that there is nothing to load.

        Args:
            load: The table's pending objects.
            last: The table's latest materialization.
            state: The table's state, if the destination has been asked.
        """
        plan = load.plan
        # If the table's objects are being prefetched, its state is known. The destination is asked
        # again in the transaction that loads them.
        prefetched = load.prefetch and load.prefetch.state_of(plan.owner)
        state = state or prefetched or self.tables.state(plan.owner)
        if not plan.is_due(state) and not self._has_news():
            plan.check_readable(plan.unreadable(state.ledger))
            if _is_reported(plan, state, last):
                self._observe(plan, state)
                return
            log = self.tables.context.log
            log.info(line("rows_unreported", table=plan.owner.table, rows=state.rows))
        elif load.prefetch is not None:
            self.tables.prefetch_after(plan.owner, load.prefetch)
        yield dg.MaterializeResult(asset_key=self.spec.key, value=load)

    def _has_news(self) -> bool:
        """Return whether the table's shards have loaded or quarantined anything."""
        return any(report.objects or report.quarantined_keys for report in self.earlier)

    def _observe(self, plan: LoadPlan, state: TableState) -> None:
        """Record that there was nothing to load."""
        context, io_manager = self.tables.context, self.tables.io_manager
        owner, ledger = plan.owner, state.ledger
        metadata = {
            **io_manager.described(plan, rows=state.rows),
            **_loaded_metadata(plan, state),
            OBJECTS_QUARANTINED: ledger.quarantined(plan.listing).height,
        }
        context.log_event(
            dg.AssetObservation(
                asset_key=self.spec.key,
                description="Nothing new: every listed object is in the ledger.",
                metadata=metadata,
                tags={DATA_VERSION_TAG: plan.fingerprint(ledger.accounted(plan.listing))},
            )
        )
        listed = len(plan.listing)
        context.log.info(line("nothing_new", table=owner.table, objects=listed, rows=state.rows))

    def _proof(self, plan: LoadPlan, audit: TableAudit) -> Proof:
        source, log = self.tables.source, self.tables.context.log
        footers = None
        if self.config.verify_footers:
            footers = footer_rows(source.store, audit.state.ledger.loaded(plan.listing))
        return Proof(
            audit=audit,
            listing=plan.listing,
            relist=lambda: source.list_table(plan.owner.prefix, log, plan.owner.table),
            mirror=plan.spec.write_mode == "mirror",
            elsewhere=_elsewhere(plan, audit.state.ledger),
            footers=footers,
        )


def _elsewhere(plan: LoadPlan, ledger: Ledger) -> list[str]:
    """Return keys that are loaded, and are another table's now; `mirror` removes their rows."""
    if plan.spec.write_mode == "mirror":
        return []
    unlisted = ledger.unlisted(plan.listing)
    return sorted(keys_of_others(plan.owner.prefix, unlisted, plan.spec.key_layout))


def _says_all_loaded(last: dg.EventLogEntry | None, plan: LoadPlan) -> bool:
    """Return whether the latest materialization says that all of the listing is loaded.

    Most often nothing is pending then. The checks need an audit in any case, and its state tells
    what is pending, so that the destination is asked once instead of twice.
    """
    loaded = last and last.asset_materialization
    version = loaded and (loaded.tags or {}).get(DATA_VERSION_TAG)
    return not plan.refresh and version == plan.fingerprint(plan.listing)


def _is_reported(plan: LoadPlan, state: TableState, last: dg.EventLogEntry | None) -> bool:
    """Return whether the latest materialization has the numbers of what is loaded.

    A run that was killed after its last commit has loaded rows and materialized nothing.
    """
    loaded = _loaded_metadata(plan, state)
    return agrees(last, loaded) or not loaded[OBJECTS_LOADED]


def _loaded_metadata(plan: LoadPlan, state: TableState) -> dict[str, Any]:
    """Return what is loaded, under the keys of the materialization that loaded it."""
    ledger, owner = state.ledger, plan.owner
    return ledger_metadata(
        owner.bucket, owner.table, ledger.count(Status.LOADED), ledger.rows, ledger.cursor
    )
