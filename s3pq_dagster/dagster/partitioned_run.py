"""What an op does for some partitions of one table in one run."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import dagster as dg

from s3pq_dagster.dagster.metadata import PREFIX
from s3pq_dagster.dagster.partition_events import PartitionEvents
from s3pq_dagster.dagster.table_run import TableRun
from s3pq_dagster.destinations.table_state import TableState
from s3pq_dagster.layout.table_rule import rule_of
from s3pq_dagster.loading.part import Part
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.reload import within
from s3pq_dagster.loading.table_load import TableLoad


@dataclass(frozen=True, slots=True)
class PartitionedRun(TableRun):
    """Some partitions of one table in one run.

    The op yields no output. Dagster would record every partition of a range with one data version,
    and none where the load fails half-way. So the load is handed to the IO manager here, and each
    partition is recorded by itself.
    """

    def _plan(self) -> LoadPlan:
        plan = self.tables.plan(self.spec, self.config)
        if self.spec.key not in self.tables.context.selected_asset_keys:
            return plan
        return within(plan, self._part())

    def _part(self) -> Part:
        rule = rule_of(self.tables.source.key_layout, self.spec.metadata[PREFIX])
        assert rule is not None  # noqa: S101 - the table's partitions come from it
        return Part(rule, self._partitions())

    def _partitions(self) -> list[str]:
        """Return the partitions that the run asks for; all, if it asks for none."""
        context, defined = self.tables.context, self.spec.partitions_def
        if context.has_partition_key or context.has_partition_key_range:
            return list(context.partition_keys)
        return [] if defined is None else list(defined.get_partition_keys())

    def _materialized(
        self,
        load: TableLoad,
        last: dg.EventLogEntry | None,  # noqa: ARG002 - of any partition
        state: TableState | None,
    ) -> Iterator[dg.MaterializeResult[TableLoad]]:
        """Load what is pending of the partitions, and record each of them."""
        plan, tables = load.plan, self.tables
        state = state or tables.state(plan.owner)
        part = self._part()
        events = PartitionEvents(tables.context, self.spec, tables.io_manager, plan, part)
        if plan.is_due(state):
            whole = partial(events.committed, events.tally(state.ledger))
            removes = bool(plan.difference(state).removed)  # they go last
            load = TableLoad(
                plan=plan.over_all(state),
                store=load.store,
                log=load.log,
                run_id=load.run_id,
                on_committed=load.on_committed if removes else whole,
            )
            tables.io_manager.load(load, load.log)
        else:
            plan.check_readable(plan.unreadable(state.ledger))
        events.finish(partial(tables.state, plan.owner), anew=plan.refresh)
        yield from ()
