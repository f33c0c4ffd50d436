"""One table in one run of Dagster: what its op does, whatever op that is."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.checks import Proof
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.metadata import (
    DATA_VERSION_TAG,
    DESTINATION,
    FULL_REFRESH_TAG,
    OBJECTS_LOADED,
    OBJECTS_QUARANTINED,
    PREFIX,
    TABLE,
    is_told,
    ledger_metadata,
    table_metadata,
)
from s3pq_dagster.dagster.processes import runs_in_one_process
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.run_config import LoadConfig
from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.ledger import Status, fingerprint
from s3pq_dagster.loading.key_ranges import KeyRange, split
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing
from s3pq_dagster.reading.footers import footer_rows

_AHEAD_SECONDS = 2
"""How long a table waits to hear what the next one has."""

Context = dg.AssetExecutionContext | dg.OpExecutionContext


@dataclass(frozen=True, slots=True)
class TableRun:
    """One table in one run."""

    context: Context
    config: LoadConfig
    spec: dg.AssetSpec
    source: S3ParquetResource
    io_manager: S3ParquetIOManager
    ours: Sequence[dg.AssetSpec]
    """Assets that are an op each, in the order in which Dagster takes them in one process: by
    name."""
    earlier: Sequence[LoadReport] = ()
    """What shards of the table loaded in this run already."""

    def results(self) -> Iterator[Any]:
        """Load the table, then check it; each if it is selected."""
        selected = self.context.selected_asset_check_keys
        checks = {check.name for check in selected if check.asset_key == self.spec.key}
        is_loaded = self.spec.key in self.context.selected_asset_keys
        if not (is_loaded or checks):
            return
        load = self.load()
        if is_loaded:
            yield from self._loaded(load)
        if checks:
            yield from self._proof(load).results(self.spec.key, checks)

    def _loaded(self, load: TableLoad) -> Iterator[Any]:
        """Yield what is to be loaded, or say that there is nothing."""
        context, spec = self.context, self.spec
        # Where its objects are fetched already, the destination has been asked; in its
        # transaction it is asked again.
        ahead = load.prefetch and load.prefetch.state_of(load.plan.owner)
        state = ahead or self._state(load.plan.owner)
        known = _known(load.plan.owner, state)
        if not load.plan.is_due(state) and not any(
            r.objects or r.quarantined_keys for r in self.earlier
        ):
            told = context.instance.get_latest_materialization_event(spec.key)
            if is_told(told, known) or not known[OBJECTS_LOADED]:
                _observe(context, spec, load, self.io_manager, state)
                return
            context.log.info(line("rows_unreported", table=load.plan.owner.table, rows=state.rows))
        elif load.prefetch is not None:
            self._prefetch_next(load.plan.owner, load.prefetch)

        yield dg.MaterializeResult(asset_key=spec.key, value=load)

    def _prefetch_next(self, owner: Owner, ahead: Prefetch) -> None:
        """Have the next table's objects fetched while this one's are written.

        Not where ops have run config, on which it depends what they read, nor in a re-execution,
        which may leave some out.
        """
        run = self.context.run
        after = [s for s in self._in_run() if s.metadata[TABLE] > self.spec.metadata[TABLE]]
        if not after or run.run_config.get("ops") or run.parent_run_id:
            return
        load = replace(self, spec=after[0], config=LoadConfig()).load()
        if load.plan.refresh:
            return  # what it replaces is looked at first
        try:
            state = self._state_soon(load.plan.owner)
            pending = load.plan.difference(state).pending
        except Exception as error:  # noqa: BLE001 - its own op meets it too, and fails with it
            self.context.log.debug(line("not_ahead", table=load.plan.owner.table, reason=error))
            return
        if pending:
            ahead.start(load.plan.owner, state, pending, load.store, load.plan.spec, after=owner)

    def _state_soon(self, owner: Owner) -> TableState:
        """Ask for the state of another table, which this one does not wait for.

        Raises:
            TimeoutError: Somebody holds it.
        """
        pool = ThreadPoolExecutor(1, "s3pq-ahead")
        try:
            return pool.submit(self._state, owner).result(_AHEAD_SECONDS)
        finally:
            pool.shutdown(wait=False)

    def _state(self, owner: Owner) -> TableState:
        return self.io_manager.destination(self.context.log).state(owner)

    def _owner(self, spec: dg.AssetSpec) -> Owner:
        return Owner(spec.metadata[TABLE], self.source.bucket, spec.metadata[PREFIX])

    def load(self) -> TableLoad:
        """Put together what loading the table takes."""
        run = self.context.run
        tagged = run.tags.get(FULL_REFRESH_TAG, "").lower() == "true"
        owner = self._owner(self.spec)
        ahead = self._is_shared() and self.source.concurrency != 1
        prefetch = self.source.prefetch(self.io_manager)
        if self.context.retry_number:
            prefetch.close()  # what an attempt before this one left
        return TableLoad(
            plan=LoadPlan(
                spec=self.source,
                owner=owner,
                listing=self._listing(owner.prefix),
                options=LoadOptions(
                    full_refresh=self.config.full_refresh or tagged,
                    max_objects=self.config.max_objects,
                    retry_quarantined=self.config.retry_quarantined,
                    allow_empty_listing=self.config.allow_empty_listing,
                ),
            ),
            store=self.source.store,
            log=self.context.log,
            run_id=run.run_id,
            prefetch=prefetch if ahead else None,
            on_loaded=self._set_data_version,
            earlier=self.earlier,
        )

    def _set_data_version(self, report: LoadReport) -> None:
        self.context.set_data_version(self.spec.key, dg.DataVersion(report.fingerprint))

    def ranges(self, most: int) -> list[KeyRange]:
        """Share out what is pending; nothing where it is loaded as a whole, or only checked."""
        if self.spec.key not in self.context.selected_asset_keys:
            return []
        load = self.load()
        if load.plan.refresh or load.plan.options.max_objects is not None:
            return []
        return split(load.plan.difference(self._state(load.plan.owner)).pending, most)

    def shard(self, keys: KeyRange) -> LoadReport:
        """Load what is pending of a range of keys, while others load the rest."""
        return self.load().shard_into(self.io_manager.destination(self.context.log), keys)

    def _listing(self, prefix: str) -> Listing:
        """List the bucket once for all tables of the run, or this table where it is alone."""
        if not self._is_shared():
            return self.source.list_table(prefix, self.context.log)
        return self.source.list_tables(self.context.log).by_prefix.get(prefix, Listing.of([]))

    def _is_shared(self) -> bool:
        """Tell whether this step shares the resource with those of other tables."""
        in_one_process = runs_in_one_process(self.context.job_def)
        return in_one_process and not self.context.retry_number and len(self._in_run()) > 1

    def _in_run(self) -> list[dg.AssetSpec]:
        """Give our tables that are loaded or checked; a run without any selection has its job's."""
        run = self.context.run
        chosen = {check.asset_key for check in run.asset_check_selection or ()}
        chosen |= run.asset_selection or set()
        chosen = chosen or set(self.context.job_def.asset_layer.executable_asset_keys)
        return [spec for spec in self.ours if spec.key in chosen]

    def _proof(self, load: TableLoad) -> Proof:
        audit = self.io_manager.destination(self.context.log).audit(load.plan.owner)
        verified = (
            audit.state.ledger.loaded(load.plan.listing) if self.config.verify_footers else None
        )
        return Proof(
            audit=audit,
            listing=load.plan.listing,
            relist=lambda: self.source.list_table(load.plan.owner.prefix, self.context.log),
            mirror=self.source.write_mode == "mirror",
            footers=None if verified is None else footer_rows(load.store, verified),
        )


def _known(owner: Owner, state: TableState) -> dict[str, Any]:
    """Say what is loaded, as the materialization that loaded it says, if its run lived so long."""
    ledger = state.ledger
    return ledger_metadata(
        owner.bucket, owner.table, ledger.count(Status.LOADED), ledger.rows, ledger.cursor
    )


def _observe(
    context: Context,
    spec: dg.AssetSpec,
    load: TableLoad,
    io_manager: S3ParquetIOManager,
    state: TableState,
) -> None:
    """Say that there was nothing to do."""
    ledger = state.ledger
    version = fingerprint(ledger.accounted(load.plan.listing))
    metadata = {
        **table_metadata(
            source=f"s3://{load.plan.owner.bucket}/{load.plan.owner.prefix}",
            storage_kind=io_manager.storage_kind(),
            table_name=io_manager.table_name(load.plan.owner.table),
            schema=None,
            rows=state.rows,
        ),
        DESTINATION: io_manager.place(),
        **_known(load.plan.owner, state),
        OBJECTS_QUARANTINED: ledger.quarantined(load.plan.listing).height,
    }
    context.log_event(
        dg.AssetObservation(
            asset_key=spec.key,
            description="Nothing new: every listed object is in the ledger.",
            metadata=metadata,
            tags={DATA_VERSION_TAG: version},
        )
    )
    context.log.info(
        line(
            "nothing_new",
            table=load.plan.owner.table,
            objects=len(load.plan.listing),
            rows=state.rows,
        )
    )
