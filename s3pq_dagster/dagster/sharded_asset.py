"""A table too large for one machine, as an asset of several steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.metadata import TABLE
from s3pq_dagster.dagster.retries import as_failures
from s3pq_dagster.dagster.table_run import LoadConfig, TableRun
from s3pq_dagster.loading.key_ranges import KeyRange
from s3pq_dagster.loading.report import LoadReport

STEPS_IO_MANAGER_KEY = "io_manager"
"""Carries ranges and reports from step to step: Dagster's own, unless the user binds another."""
_RESULT = "result"


@dataclass(frozen=True, slots=True)
class Sharded:
    """What the steps of one table are made of.

    The first parts what is pending into ranges of keys, each of which is a step of its own. The
    last loads what they left, removes what is to go, and evaluates the checks; it alone where the
    table is loaded as a whole. A step that dies leaves its committed checkpoints in the ledger;
    whoever takes its place reads only the rest.

    What goes from step to step, ranges and reports, goes by ``io_manager``, which takes any object.
    """

    spec: dg.AssetSpec
    shards: int
    checks: Sequence[dg.AssetCheckSpec]
    source_key: str
    io_manager_key: str
    retry_policy: dg.RetryPolicy | None
    pool: str | None

    def asset(self) -> dg.AssetsDefinition:
        """Build the graph and its asset."""
        table = self.spec.metadata[TABLE]
        checked = {check.get_python_identifier(): check for check in self.checks}
        shared: dict[str, Any] = {
            "required_resource_keys": {self.source_key, self.io_manager_key},
            "retry_policy": self.retry_policy,
            "pool": self.pool,
        }

        @dg.op(name=f"split_{table}", out=dg.DynamicOut(KeyRange), **shared)
        def split(
            context: dg.OpExecutionContext, config: LoadConfig
        ) -> Iterator[dg.DynamicOutput[KeyRange]]:
            with as_failures():
                ranges = self._run(context, config).ranges(self.shards)
            for number, keys in enumerate(ranges, start=1):
                yield dg.DynamicOutput(keys, mapping_key=str(number))

        @dg.op(name=f"shard_{table}", **shared)
        def shard(context: dg.OpExecutionContext, config: LoadConfig, keys: KeyRange) -> LoadReport:
            with as_failures():
                return self._run(context, config).shard(keys)

        result = dg.Out(is_required=False, io_manager_key=self.io_manager_key)
        outs = {_RESULT: result, **{check: dg.Out(is_required=False) for check in checked}}

        @dg.op(name=f"rest_of_{table}", out=outs, **shared)
        def rest(
            context: dg.OpExecutionContext, config: LoadConfig, reports: list[LoadReport]
        ) -> Iterator[Any]:
            if reports:  # the shards have tried those again
                config = config.model_copy(update={"retry_quarantined": False})
            with as_failures():
                yield from self._run(context, config, reports).results()

        @dg.config_mapping
        def for_each(config: LoadConfig) -> dict[str, Any]:
            given = {"config": config.model_dump()}
            return {op.name: given for op in (split, shard, rest)}

        @dg.graph(
            name=f"load_{table}",
            out={output: dg.GraphOut() for output in outs},
            config=for_each,
        )
        def load() -> Any:
            found = rest(split().map(shard).collect())
            return {output: getattr(found, output) for output in outs} if checked else found

        asset = dg.AssetsDefinition.from_graph(
            load,
            keys_by_output_name={_RESULT: self.spec.key},
            check_specs=self.checks,
            can_subset=True,
        )
        return asset.map_asset_specs(lambda _spec: self.spec)

    def _run(
        self,
        context: dg.OpExecutionContext,
        config: LoadConfig,
        reports: Sequence[LoadReport] = (),
    ) -> TableRun:
        source = getattr(context.resources, self.source_key)
        io_manager = getattr(context.resources, self.io_manager_key)
        return TableRun(context, config, self.spec, source, io_manager, [], reports)
