"""A table that several steps load side by side, as one asset."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.op_settings import OpSettings
from s3pq_dagster.dagster.retries import as_failures
from s3pq_dagster.dagster.run_config import LoadConfig
from s3pq_dagster.loading.key_ranges import KeyRange
from s3pq_dagster.loading.report import LoadReport

STEPS_IO_MANAGER_KEY = "io_manager"
"""The IO manager that carries ranges and reports between steps; Dagster's own by default."""
_RESULT = "result"


def build_sharded_asset(
    spec: dg.AssetSpec, shards: int, settings: OpSettings
) -> dg.AssetsDefinition:
    """Build the asset of a table that is too large for one machine.

    The step ``split_<table>`` divides the pending objects into ranges of keys, and a step
    ``shard_<table>`` loads each range. The last step, ``rest_of_<table>``, loads what they left,
    removes the rows of deleted objects and evaluates the checks. It does everything alone where
    the table has to be loaded as a whole. A step that dies leaves its committed checkpoints in the
    ledger, so the attempt that follows reads only the rest.

    Args:
        spec: The asset, with the table's name in its metadata.
        shards: The most ranges to divide the pending objects into.
        settings: Resources, checks, retries and pool of each step.
    """
    checks = settings.check_specs(spec.key)
    outputs = {
        _RESULT: dg.Out(is_required=False, io_manager_key=settings.io_manager_key),
        **{check.get_python_identifier(): dg.Out(is_required=False) for check in checks},
    }
    graph = _graph(
        settings.op_name("load", spec),
        split=_split_op(spec, shards, settings),
        shard=_shard_op(spec, settings),
        rest=_rest_op(spec, outputs, settings),
        outputs=outputs,
        upstream=_upstream(spec),
    )
    asset = dg.AssetsDefinition.from_graph(
        graph,
        keys_by_input_name=_upstream(spec),
        keys_by_output_name={_RESULT: spec.key},
        check_specs=checks,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    return asset.map_asset_specs(lambda _spec: spec)


def _upstream(spec: dg.AssetSpec) -> dict[str, dg.AssetKey]:
    """Return what the asset depends on, by the names of the first step's inputs.

    Dagster lets no asset that is a graph have dependencies beside its inputs.
    """
    return {f"after_{number}": dep.asset_key for number, dep in enumerate(spec.deps)}


def _split_op(spec: dg.AssetSpec, shards: int, settings: OpSettings) -> dg.OpDefinition:
    @dg.op(
        name=settings.op_name("split", spec),
        ins={name: dg.In(dg.Nothing) for name in _upstream(spec)},
        out=dg.DynamicOut(KeyRange),
        tags=settings.tags,
        **settings.op_arguments(),
    )
    def split(
        context: dg.OpExecutionContext, config: LoadConfig
    ) -> Iterator[dg.DynamicOutput[KeyRange]]:
        with as_failures():
            ranges = settings.table_run(context, config, spec).ranges(shards)
        for number, keys in enumerate(ranges, start=1):
            yield dg.DynamicOutput(keys, mapping_key=str(number))

    return split


def _shard_op(spec: dg.AssetSpec, settings: OpSettings) -> dg.OpDefinition:
    @dg.op(name=settings.op_name("shard", spec), tags=settings.tags, **settings.op_arguments())
    def shard(context: dg.OpExecutionContext, config: LoadConfig, keys: KeyRange) -> LoadReport:
        with as_failures():
            return settings.table_run(context, config, spec).shard(keys)

    return shard


def _rest_op(
    spec: dg.AssetSpec, outputs: Mapping[str, dg.Out], settings: OpSettings
) -> dg.OpDefinition:
    @dg.op(
        name=settings.op_name("rest_of", spec),
        out=dict(outputs),
        tags=settings.tags,
        **settings.op_arguments(),
    )
    def rest(
        context: dg.OpExecutionContext, config: LoadConfig, reports: list[LoadReport]
    ) -> Iterator[Any]:
        if reports:  # the shards have read the quarantined objects again
            config = config.model_copy(update={"retry_quarantined": False})
        with as_failures():
            table = settings.table_run(context, config, spec, earlier=reports)
            yield from settings.execute(context, table)

    return rest


def _graph(
    name: str,
    *,
    split: dg.OpDefinition,
    shard: dg.OpDefinition,
    rest: dg.OpDefinition,
    outputs: Collection[str],
    upstream: Collection[str],
) -> dg.GraphDefinition:
    """Connect the steps; run config for the graph is passed to each of them."""

    @dg.config_mapping
    def for_each_step(config: LoadConfig) -> dict[str, Any]:
        given = {"config": config.model_dump()}
        return {op.name: given for op in (split, shard, rest)}

    @dg.graph(
        name=name,
        ins={each: dg.GraphIn() for each in upstream},
        out={output: dg.GraphOut() for output in outputs},
        config=for_each_step,
    )
    def load(**inputs: Any) -> Any:
        found = rest(split(**inputs).map(shard).collect())
        # Dagster gives an op's only output itself, and several as attributes.
        return found if len(outputs) == 1 else {name: getattr(found, name) for name in outputs}

    return load
