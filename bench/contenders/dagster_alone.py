"""Dagster alone: a run of as many assets with three checks each, which do nothing."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from bench.contenders.task import Task, contend

_CHECKS = ("complete", "rows_reconciled", "no_quarantine")


def _asset(name: str) -> dg.AssetsDefinition:
    checks = [dg.AssetCheckSpec(check, asset=name) for check in _CHECKS]

    @dg.multi_asset(
        name=f"load_{name}", specs=[dg.AssetSpec(name)], check_specs=checks, can_subset=True
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[Any]:
        context.log.info("as many lines as s3pq_dagster logs for a table")
        yield dg.MaterializeResult(asset_key=name, metadata={"dagster/row_count": 0})
        for check in _CHECKS:
            yield dg.AssetCheckResult(asset_key=name, check_name=check, passed=True)

    return load


def load(task: Task) -> None:
    """Run one asset that does nothing per table."""
    defs = dg.Definitions(assets=[_asset(name) for name in task.tables])
    with dg.DagsterInstance.get() as instance:
        defs.get_implicit_global_asset_job_def().execute_in_process(instance=instance)


if __name__ == "__main__":
    contend(f"dagster {dg.__version__}", load)
