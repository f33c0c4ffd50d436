"""A run in a process of its own, which may be killed like any run worker.

Processes are forked from one that has everything imported, so that one costs a fraction of a
second. A code server starts its run workers through ``multiprocessing`` too.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dagster as dg

from s3pq_dagster import S3ParquetResource, build_s3_parquet_assets
from s3pq_dagster.dagster.io_managers import build_io_manager
from s3pq_dagster.dagster.metadata import DATA_VERSION_TAG
from s3pq_dagster.dagster.names import IO_MANAGER_KEY, SOURCE_KEY
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster_tests.crashes.scenarios import Range
from s3pq_dagster_tests.crashes.steps import Kill, Steps
from s3pq_dagster_tests.crashes.watches import WATCHES
from s3pq_dagster_tests.lake import materialized, observed
from s3pq_dagster_tests.servers import use_credentials

_SECONDS = 60
_started = multiprocessing.get_context("forkserver")
_started.set_forkserver_preload(["s3pq_dagster_tests.crashes.preload"])


@dataclass(frozen=True, slots=True)
class Run:
    """What a process has to run, and where."""

    home: Path
    """``DAGSTER_HOME``."""
    kind: str
    """The kind of destination, as ``PLACES`` and ``WATCHES`` name it."""
    url: str
    """The destination."""
    spec: dict[str, Any]
    tables: list[DiscoveredTable]
    """The tables that the code location found; a run worker does not discover again."""
    config: dict[str, Any] = field(default_factory=dict)
    partitions: Range | None = None
    kill: Kill | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, if it did."""

    success: bool
    steps: list[str]
    versions: dict[str, str]
    """Each table's data version as Dagster has it now: what the sensor compares."""


@contextmanager
def working(run: Run) -> Iterator[tuple[Any, Connection]]:
    """Start a process that runs; yield it and its result: ``None`` until the run ends."""
    heard, said = _started.Pipe(duplex=False)
    process = _started.Process(target=_work, args=(run, said))
    process.start()
    said.close()
    try:
        yield process, heard
    finally:
        process.kill()
        process.join()
        heard.close()


def ended(run: Run) -> Ended | None:
    """Run to the end; return ``None`` if the process was killed on the way."""
    with working(run) as (process, heard):
        try:
            heard.recv()
            found: Ended = heard.recv()
        except EOFError:
            process.join(_SECONDS)
            if process.exitcode != -signal.SIGKILL:
                log = (run.home / "worker.log").read_text(errors="replace")
                raise AssertionError(f"exit code {process.exitcode}:\n{log[-4000:]}") from None
            return None
        return found


def _work(run: Run, said: Connection) -> None:
    _set_up(run)
    steps = Steps(run.kill)
    WATCHES[run.kind](steps)
    with dg.DagsterInstance.get() as instance:
        steps.watch_events(instance)
        definitions = _definitions(run)
        said.send(None)
        result = _execute(definitions, instance, run)
        said.send(Ended(result.success, steps.names, _versions(result)))


def _set_up(run: Run) -> None:
    """Make this process a run worker of a copied home, with its output in a file."""
    os.environ["DAGSTER_HOME"] = str(run.home)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    use_credentials()
    log = os.open(run.home / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _definitions(run: Run) -> dg.Definitions:
    source = S3ParquetResource(**run.spec)
    io_manager = build_io_manager(run.url)
    assets = build_s3_parquet_assets(
        source, destination=io_manager, tables=run.tables, retry_policy=None
    )
    return dg.Definitions(
        assets=assets,
        resources={SOURCE_KEY: source, IO_MANAGER_KEY: io_manager},
        executor=dg.in_process_executor,
    )


def _execute(
    definitions: dg.Definitions, instance: dg.DagsterInstance, run: Run
) -> dg.ExecuteInProcessResult:
    ops = {f"load_{table.name}": {"config": run.config} for table in run.tables}
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        run_config={"ops": ops} if run.config else None,
        tags=_range_tags(*run.partitions) if run.partitions else None,
        raise_on_error=False,
    )


def _range_tags(first: str, last: str) -> dict[str, str]:
    name = "dagster/asset_partition_range"
    return {f"{name}_start": first, f"{name}_end": last}


def _versions(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    events = materialized(result) | observed(result)
    return {table: event.tags[DATA_VERSION_TAG] for table, event in events.items() if event.tags}
