"""Two ways to load a world: by the package's parts in this thread, or by runs of Dagster."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import boto3
import dagster as dg

from s3pq_dagster import S3ParquetDuckDBIOManager, S3ParquetResource, build_s3_parquet_definitions
from s3pq_dagster import errors as all_errors
from s3pq_dagster.dagster.discovery import discover
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import S3ParquetError, TableNameCollisionError
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.catalog import TableListing, group_by_prefix, tables_in
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.faults.world import World

OURS = {
    name
    for name, found in vars(all_errors).items()
    if isinstance(found, type) and issubclass(found, S3ParquetError)
}


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of discovery or of a table's load."""

    error: str
    """Name of the error's class."""
    message: str
    seconds: float
    """Duration of all attempts, without the pauses between them."""


class Engine(Protocol):
    """A way to find and load the tables of a world."""

    tables: set[str]

    def discover(self) -> Failure | None:
        """Find the tables as a starting code location does."""
        ...

    def load(self, *, retry_quarantined: bool = False) -> dict[str, Failure]:
        """Load the pending objects of each table; return the failures by table."""
        ...


def _log() -> logging.Logger:
    return logging.Logger("faults", logging.CRITICAL)  # noqa: LOG001 - outside the logger tree


def _refuse_collisions(tables: Iterable[TableListing | DiscoveredTable]) -> None:
    if collisions := [table.collision for table in tables if table.collision is not None]:
        raise TableNameCollisionError(collisions)


@dataclass
class Parts:
    """Discovery and loading without a Dagster run, and so without retries of steps."""

    world: World
    saves: bool = True
    """Whether discovery reads footers and saves its result, as in a code location."""
    tables: set[str] = field(default_factory=set)
    _prefixes: dict[str, str] = field(default_factory=dict)

    def discover(self) -> Failure | None:
        started = time.monotonic()
        try:
            self._prefixes = self._saved() if self.saves else self._listed()
        except S3ParquetError as error:
            return Failure(type(error).__name__, str(error), time.monotonic() - started)
        self.tables = set(self._prefixes)
        return None

    def _saved(self) -> dict[str, str]:
        found = discover(S3ParquetResource(**self.world.spec), _log())
        _refuse_collisions(found)
        return {table.name: table.prefix for table in found}

    def _listed(self) -> dict[str, str]:
        with self._opened() as store:
            found = group_by_prefix(list_prefix(store, ""))
        tables = tables_in(found, bucket="lake", tables=["*"], skip_tables=[])
        _refuse_collisions(tables)
        return {table.name: table.pattern for table in tables}

    def load(self, *, retry_quarantined: bool = False) -> dict[str, Failure]:
        failed = {}
        options = LoadOptions(retry_quarantined=retry_quarantined)
        with self._opened() as store:
            started = time.monotonic()
            try:
                found = group_by_prefix(list_prefix(store, "")).by_pattern
            except S3ParquetError as error:
                seconds = time.monotonic() - started
                return {"*": Failure(type(error).__name__, str(error), seconds)}
            for table in sorted(self.tables):
                started = time.monotonic()
                listing = found.get(self._prefixes[table], Listing.of([]))
                try:
                    self._load(store, table, listing, options)
                except S3ParquetError as error:
                    seconds = time.monotonic() - started
                    failed[table] = Failure(type(error).__name__, str(error), seconds)
        return failed

    def _load(self, store: Store, table: str, listing: Listing, options: LoadOptions) -> None:
        load = TableLoad(
            plan=LoadPlan(
                spec=S3ParquetSpec(**self.world.spec),
                owner=Owner(table, self.world.bucket, self._prefixes[table]),
                listing=listing,
                options=options,
            ),
            store=store,
            log=_log(),
        )
        destination = DuckDBDestination(str(self.world.database))
        if load.plan.is_due(destination.state(load.plan.owner)):
            load.into(destination)

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        store = Store.open(S3ParquetSpec(**self.world.spec), _session())
        try:
            yield store
        finally:
            store.close()


@cache
def _session() -> boto3.session.Session:
    return boto3.session.Session()


@dataclass
class Runs:
    """Definitions and runs, steps tried again as by default."""

    world: World
    instance: dg.DagsterInstance
    tables: set[str] = field(default_factory=set)
    _definitions: dg.Definitions = field(default_factory=dg.Definitions)

    def discover(self) -> Failure | None:
        started = time.monotonic()
        try:
            self._definitions = build_s3_parquet_definitions(
                S3ParquetResource(**self.world.spec),
                destination=S3ParquetDuckDBIOManager(database=str(self.world.database)),
            )
        except S3ParquetError as error:
            return Failure(type(error).__name__, str(error), time.monotonic() - started)
        keys = self._definitions.resolve_asset_graph().get_all_asset_keys()
        self.tables = {key.path[-1] for key in keys}
        return None

    def load(self, *, retry_quarantined: bool = False) -> dict[str, Failure]:
        config = {"config": {"retry_quarantined": retry_quarantined}}
        job = self._definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=self.instance,
            run_config={"ops": {f"load_{table}": config for table in self.tables}},
            raise_on_error=False,
        )
        began: dict[str | None, float] = {}
        spent: defaultdict[str | None, float] = defaultdict(float)
        failed: dict[str, Failure] = {}
        for entry in self.instance.all_logs(result.run_id):
            event = entry.dagster_event
            if event is None:
                continue
            if event.event_type in _BEGINS:
                began[event.step_key] = entry.timestamp
            if event.event_type in _ENDS:
                spent[event.step_key] += entry.timestamp - began[event.step_key]
            if event.is_step_failure:
                table = str(event.step_key).removeprefix("load_")
                failed[table] = _failure(event, spent[event.step_key])
        return failed


_BEGINS = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_RESTARTED}
_ENDS = {dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_FAILURE}


def _failure(event: dg.DagsterEvent, seconds: float) -> Failure:
    """Find our error in a step's; a failure that is not retried has it in its description."""
    data = event.step_failure_data
    if data.user_failure_data is not None:
        name, _, message = str(data.user_failure_data.description).partition(": ")
        return Failure(name, message, seconds)
    error = data.error
    while error is not None and error.cls_name not in OURS and error.cause is not None:
        error = error.cause
    name = "?" if error is None else str(error.cls_name)
    return Failure(name, "" if error is None else error.message, seconds)
