"""Settings that all ops which load tables have in common."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.checks import check_specs
from s3pq_dagster.dagster.metadata import TABLE
from s3pq_dagster.dagster.names import op_name
from s3pq_dagster.dagster.partitioned_run import PartitionedRun
from s3pq_dagster.dagster.run_config import LoadConfig
from s3pq_dagster.dagster.run_tables import RunTables
from s3pq_dagster.dagster.table_run import TableRun
from s3pq_dagster.loading.report import LoadReport

Execute = Callable[[dg.AssetExecutionContext | dg.OpExecutionContext, TableRun], Iterator[Any]]
"""What an op does with a table."""


def load_and_check(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,  # noqa: ARG001 - for others
    table: TableRun,
) -> Iterator[Any]:
    """Load a table, then check it."""
    yield from table.results()


@dataclass(frozen=True, slots=True)
class OpSettings:
    """Resources, checks, retries and pool of the ops that load tables."""

    source_key: str
    """Resource key of the source."""
    io_manager_key: str
    """Resource key of the destination."""
    has_checks: bool
    """Whether each table's asset has checks."""
    retry_policy: dg.RetryPolicy | None
    pool: str | None
    tags: Mapping[str, str]
    """Dagster's tags of each op."""
    instance: str | None
    """The source's name, where there are several in a code location."""
    execute: Execute
    """What the op does that loads a table, or the rest that its shards left."""

    def op_name(self, verb: str, spec: dg.AssetSpec) -> str:
        """Name the op that does something with a table."""
        return op_name(verb, str(spec.metadata[TABLE]), self.instance)

    def op_arguments(self) -> dict[str, Any]:
        """Return arguments for Dagster's op decorators."""
        return {
            "required_resource_keys": {self.source_key, self.io_manager_key},
            "retry_policy": self.retry_policy,
            "pool": self.pool,
        }

    def check_specs(self, asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
        """Return the specs of the checks that an asset has."""
        return check_specs(asset) if self.has_checks else []

    def table_run(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        config: LoadConfig,
        spec: dg.AssetSpec,
        *,
        whole: Sequence[dg.AssetSpec] = (),
        earlier: Sequence[LoadReport] = (),
    ) -> TableRun:
        """Return what an op does for one table; see :class:`TableRun` and :class:`RunTables`."""
        source = getattr(context.resources, self.source_key)
        io_manager = getattr(context.resources, self.io_manager_key)
        tables = RunTables(context, source, io_manager, whole)
        retries = 0 if self.retry_policy is None else self.retry_policy.max_retries
        kind = TableRun if spec.partitions_def is None else PartitionedRun
        return kind(tables, config, spec, earlier, retries)
