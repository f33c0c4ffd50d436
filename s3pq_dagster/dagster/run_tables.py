"""The tables of one run: their plans, and what they share in one process."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dagster as dg

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.metadata import COLLISION, PREFIX, TABLE, TOO_MANY_PARTITIONS
from s3pq_dagster.dagster.processes import runs_in_one_process
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.run_config import LoadConfig
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Owner, TableState
from s3pq_dagster.errors import TableNameCollisionError, TooManyPartitionsError
from s3pq_dagster.layout.table_rule import columns_hash
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.loading.reload import reloading
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing

_STATE_SECONDS = 2
"""How long a table waits for the state of the next one, whose objects it would prefetch."""


@dataclass(frozen=True, slots=True)
class RunTables:
    """The tables of a run, as one of its steps sees them.

    Tables that one process loads one after the other share a listing of the whole bucket, and the
    next table's objects are prefetched. A step that is alone in its process, or is retried, lists
    its own table only.
    """

    context: dg.AssetExecutionContext | dg.OpExecutionContext
    source: S3ParquetResource
    io_manager: S3ParquetIOManager
    whole: Sequence[dg.AssetSpec]
    """Assets that one op each loads, sorted by table, as Dagster runs them in one process."""

    def destination(self) -> Destination:
        """Return the destination, which logs into the run."""
        return self.io_manager.destination(self.context.log)

    def plan(self, spec: dg.AssetSpec, config: LoadConfig) -> LoadPlan:
        """Return a table's plan, with its listing.

        Raises:
            TableNameCollisionError: Other tables have its name, or one that differs only by case.
            TooManyPartitionsError: Its rule makes more partitions than Dagster is made for.
            NothingToReloadError: A pattern of the run config ``reload`` takes no listed object.
        """
        if (collision := spec.metadata.get(COLLISION)) is not None:
            raise TableNameCollisionError([(collision["table"], collision["prefixes"])])
        if (facts := spec.metadata.get(TOO_MANY_PARTITIONS)) is not None:
            raise TooManyPartitionsError(**facts)
        options = config.options(self.context.run.tags)
        anew = options.full_refresh or not self.source.incremental
        pattern = spec.metadata[PREFIX]
        layout = columns_hash(self.source.key_layout, pattern)
        owner = Owner(spec.metadata[TABLE], self.source.bucket, pattern, anew, layout)
        listing = self._listing(owner)
        asked = self.source.for_table(pattern)
        plan = LoadPlan(spec=asked, owner=owner, listing=listing, options=options)
        return reloading(plan)

    def state(self, owner: Owner) -> TableState:
        """Return what the destination holds of a table."""
        return self.destination().state(owner)

    def prefetch(self) -> Prefetch | None:
        """Return what is prefetched of the next table; ``None`` where tables share nothing."""
        prefetch = self.source.prefetch(self.io_manager)
        if self.context.retry_number:
            prefetch.close()  # left by an earlier attempt
        return prefetch if self._is_shared() and self.source.concurrency != 1 else None

    def prefetch_after(self, owner: Owner, prefetch: Prefetch) -> None:
        """Start to fetch the objects of the table that follows ``owner`` in this run.

        Nothing is prefetched if ops have run config, which may change what they read, or in a
        re-execution, which may leave tables out.
        """
        run, after = self.context.run, self._after(owner)
        if not after or run.run_config.get("ops") or run.parent_run_id:
            return
        try:
            plan = self.plan(after[0], LoadConfig())
            if plan.refresh:
                return  # it has to check what it replaces before it reads
            state = self._state_soon(plan.owner)
            pending = plan.difference(state).pending
        except Exception as error:  # noqa: BLE001 - the table's own op fails with it
            self.context.log.debug(
                line("not_prefetched", table=after[0].metadata[TABLE], reason=error)
            )
            return
        if pending:
            prefetch.start(plan.owner, state, pending, self.source.store, plan.spec, after=owner)

    def _state_soon(self, owner: Owner) -> TableState:
        """Return another table's state, if the destination answers within two seconds.

        Raises:
            TimeoutError: It does not, perhaps because somebody holds a lock.
        """
        pool = ThreadPoolExecutor(1, "s3pq-state")
        try:
            return pool.submit(self.state, owner).result(_STATE_SECONDS)
        finally:
            pool.shutdown(wait=False)

    def _listing(self, owner: Owner) -> Listing:
        """List the whole bucket once for all tables of the run, or one prefix for a lone table."""
        if not self._is_shared():
            return self.source.list_table(owner.prefix, self.context.log, owner.table)
        return self.source.list_tables(self.context.log).checked_listing(owner.table, owner.prefix)

    def _is_shared(self) -> bool:
        """Return whether this step shares the resource with steps of other tables."""
        in_one_process = runs_in_one_process(self.context.job_def)
        return in_one_process and not self.context.retry_number and len(self._in_run()) > 1

    def _after(self, owner: Owner) -> list[dg.AssetSpec]:
        """Return the assets whose ops run after a table's, in order."""
        return [spec for spec in self._in_run() if spec.metadata[TABLE] > owner.table]

    def _in_run(self) -> list[dg.AssetSpec]:
        """Return the assets that this run loads or checks."""
        run = self.context.run
        chosen = {check.asset_key for check in run.asset_check_selection or ()}
        chosen |= run.asset_selection or set()
        # A run without a selection has all assets of its job.
        chosen = chosen or set(self.context.job_def.asset_layer.executable_asset_keys)
        return [spec for spec in self.whole if spec.key in chosen]
