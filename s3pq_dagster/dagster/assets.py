"""Assets of the tables of a bucket."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import dagster as dg

from s3pq_dagster.dagster.discovery import discover
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.metadata import COLLISION, TABLE
from s3pq_dagster.dagster.names import IO_MANAGER_KEY, SOURCE_KEY, named, op_name
from s3pq_dagster.dagster.op_settings import Execute, OpSettings, load_and_check
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.retries import as_failures
from s3pq_dagster.dagster.run_config import LoadConfig
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.dagster.sharded_asset import STEPS_IO_MANAGER_KEY, build_sharded_asset
from s3pq_dagster.dagster.table_specs import GroupBy, TableSpecs
from s3pq_dagster.dagster.translator import S3ParquetTranslator
from s3pq_dagster.errors import ConfigurationError

DEFAULT_RETRY_POLICY = dg.RetryPolicy(
    max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


# Long by its arguments and what is said of each.
def build_s3_parquet_assets(
    source: S3ParquetResource,
    *,
    destination: S3ParquetIOManager,
    tables: Sequence[DiscoveredTable] | None = None,
    granularity: Literal["table", "all"] = "table",
    shards: Mapping[str, int] | None = None,
    checks: bool = True,
    translator: S3ParquetTranslator | None = None,
    name: str | None = None,
    source_key: str | None = None,
    io_manager_key: str | None = None,
    retry_policy: dg.RetryPolicy | None = DEFAULT_RETRY_POLICY,
    pool: str | None = None,
    op_tags: Mapping[str, str] | None = None,
    execute: Execute = load_and_check,
    group_by: GroupBy = "bucket",
    source_assets: bool = False,
) -> list[dg.AssetsDefinition]:
    """Build one asset for each table of a bucket.

    Args:
        source: The bucket; bind it under ``source_key``.
        destination: Where rows are written; bind it under ``io_manager_key``.
        tables: The result of :func:`discover`, which is called by default.
        granularity: ``"table"`` makes an op for each table, and one that fails leaves the others
            alone. ``"all"`` makes one op for all tables without partitions, which ends at the first
            failure.
        shards: For tables that are too large for one machine: the table's name, and the number of
            steps that load its pending objects. The executor decides whether they run at the same
            time. A name that no table has is ignored.
        checks: Whether each asset has the checks ``complete``, ``rows_reconciled`` and
            ``no_quarantine``.
        translator: Decides key, group, tags and description of each asset.
        name: Tells the source from others in the same code location: the ops are then called
            ``load_<name>__<table>``, and the resource keys end in ``__<name>``. Unset, the ops are
            called ``load_<table>``.
        source_key: Resource key of the source, ``s3_parquet`` by default.
        io_manager_key: Resource key of the destination, ``s3_parquet_io_manager`` by default.
        retry_policy: The retries of each op, for errors that a retry may mend.
        pool: Dagster's concurrency pool of each op. It limits how many of them load at a time, in
            all runs and processes.
        op_tags: Dagster's tags of each op.
        execute: What an op does with a table; by default ``table.results()``, which a function in
            its place yields too, between what it adds.
        group_by: ``"bucket"`` puts all tables into one group. ``"first_segment"`` has a group for
            each first segment of keys, below the folder of ``path_prefix``; a table whose own
            folder that is stays in the bucket's.
        source_assets: Whether each table depends on an external asset, of its objects in the
            bucket, and says which of their columns its columns are. Nothing materializes external
            assets: an automation condition that waits for all parents never fires for a table.

    Returns:
        Definitions that hold one asset for each table and its checks, and can be subset. If there
        are no tables, one definition without assets. With ``source_assets`` those follow.

    Raises:
        ConfigurationError: The destination's packages are not installed, a number of shards is
            below 1, ``shards`` are given and ``io_manager_key`` is ``"io_manager"``, a table has
            both partitions and shards, or ``name`` cannot be a part of names.
        StoreError: The bucket cannot be listed, and no earlier result is saved.
    """
    destination.check_installed()
    source_key = source_key or named(SOURCE_KEY, name)
    io_manager_key = io_manager_key or named(IO_MANAGER_KEY, name)
    shards = _checked(shards or {}, io_manager_key)
    tables = discover(source) if tables is None else tables
    described = TableSpecs(
        source, destination, translator or S3ParquetTranslator(), name, group_by, source_assets
    )
    specs = [described.of(table) for table in tables]
    settings = OpSettings(
        source_key, io_manager_key, checks, retry_policy, pool, op_tags or {}, name, execute
    )
    whole, apart = [], []
    for table, spec in zip(tables, specs, strict=True):
        stored = spec.with_io_manager_key(io_manager_key)
        number = shards.get(table.name, 1)
        if stored.partitions_def is not None:
            _check_one_shard(table, number)
            apart.append(_load_op(settings.op_name("load", stored), [stored], [], settings))
        elif number > 1:
            apart.append(build_sharded_asset(stored, number, settings))
        else:
            whole.append(stored)
    by_name = sorted(whole, key=lambda spec: str(spec.metadata[TABLE]))
    if granularity == "table" and tables:
        ops = [_load_op(settings.op_name("load", s), [s], by_name, settings) for s in whole]
    elif whole or not tables:
        # What fails for its name comes last: a failure ends the op.
        last = sorted(whole, key=lambda spec: COLLISION in spec.metadata)
        common = op_name("load", _common_name(tables, shards), name)
        ops = [_load_op(common, last, by_name, settings)]
    else:
        ops = []
    return ops + apart + described.source_assets(tables, specs)


def _load_op(
    name: str, specs: Sequence[dg.AssetSpec], by_name: Sequence[dg.AssetSpec], settings: OpSettings
) -> dg.AssetsDefinition:
    """Build an op that loads tables one after the other.

    Args:
        name: The op's.
        specs: The tables it loads.
        by_name: All tables that are loaded by ops like this one, sorted by name.
        settings: Resources, checks, retries and pool.
    """

    @dg.multi_asset(
        name=name,
        specs=specs,
        check_specs=[check for spec in specs for check in settings.check_specs(spec.key)],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        op_tags=settings.tags,
        **settings.op_arguments(),
    )
    def load(context: dg.AssetExecutionContext, config: LoadConfig) -> Iterator[Any]:
        for spec in specs:
            with as_failures():
                table = settings.table_run(context, config, spec, whole=by_name)
                yield from settings.execute(context, table)

    return load


def _checked(shards: Mapping[str, int], io_manager_key: str) -> Mapping[str, int]:
    if shards and io_manager_key == STEPS_IO_MANAGER_KEY:
        msg = (
            f"with `shards`, Dagster's own IO manager {STEPS_IO_MANAGER_KEY!r} carries what goes "
            f"from step to step: bind the destination under another io_manager_key"
        )
        raise ConfigurationError(msg)
    for table, number in shards.items():
        if number < 1:
            msg = (
                f"table {table!r} cannot have {number} shards: give `shards` the number of steps "
                f"that load it, 1 or more"
            )
            raise ConfigurationError(msg)
    return shards


def _check_one_shard(table: DiscoveredTable, number: int) -> None:
    if number > 1:
        msg = (
            f"table {table.name!r} has partitions, and cannot have {number} shards: leave it out "
            f"of `shards`; several runs load ranges of its partitions"
        )
        raise ConfigurationError(msg)


def _common_name(tables: Sequence[DiscoveredTable], shards: Mapping[str, int]) -> str:
    """Name the one op of all tables after their bucket, whose name may be an ``EnvVar``."""
    bucket = re.sub(r"\W", "_", tables[0].bucket) if tables else SOURCE_KEY
    is_taken = bucket in shards  # by the graph of a table of that name
    return f"{bucket}_others" if is_taken else bucket
