"""Two ways to load what arrives: sensor and runs as the daemon does, or the load layer alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.source.store import Store
from s3pq_dagster_tests.arrivals.plan import LARGE_BYTES
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import Lake, messages, names
from s3pq_dagster_tests.unit.made import listed, logger, spec

SPEC = {
    "max_object_bytes_in_memory": LARGE_BYTES,
    "checkpoint_bytes": 4 * LARGE_BYTES,
    "concurrency": 8,
}
"""Small bounds, so that small objects take the ways of large ones too."""


@dataclass
class SensorAndRuns:
    """Evaluates the sensor, keeps its cursor, and runs what it requests."""

    lake: Lake
    write_mode: str
    schema_mode: str = "strict"
    definitions: dg.Definitions | None = None
    cursor: str | None = None
    run_keys: set[str | None] = field(default_factory=set)

    def reload(self) -> set[str]:
        modes = {"write_mode": self.write_mode, "schema_mode": self.schema_mode}
        self.definitions = self.lake.definitions(**modes, **SPEC)
        return names(list(self.definitions.resolve_all_asset_keys()))

    def tick(self) -> list[list[str]]:
        result = self.lake.tick(self.cursor, definitions=self.definitions)
        self.cursor = result.cursor
        due = []
        for request in result.run_requests or []:
            # The daemon launches nothing for a run key that was there before.
            if request.run_key not in self.run_keys:
                self.run_keys.add(request.run_key)
                due.append(sorted(names(request.asset_selection)))
        return due

    def run(self, tables: Sequence[str]) -> None:
        result = self.lake.run(*tables, definitions=self.definitions)
        assert result.success, "\n".join(messages(self.lake.instance, result.run_id)[-20:])


@dataclass
class LoadLayer:
    """Loads every table at every look, without Dagster."""

    bucket: Bucket
    store: Store
    database: Path
    write_mode: str

    def reload(self) -> set[str]:
        return {"t0", "t1"}

    def tick(self) -> list[list[str]]:
        return [["t0", "t1"]]

    def run(self, tables: Sequence[str]) -> None:
        fields: dict[str, Any] = self.bucket.spec | SPEC | {"write_mode": self.write_mode}
        for table in tables:
            found = listed(self.store, f"{table}/")
            if self.write_mode == "mirror" and not len(found):
                continue  # as the sensor does
            load = TableLoad(
                plan=LoadPlan(
                    spec=spec(**fields),
                    owner=Owner(table, self.bucket.name, f"{table}/"),
                    listing=found,
                    options=LoadOptions(),
                ),
                store=self.store,
                log=logger(),
            )
            destination = DuckDBDestination(str(self.database))
            if load.plan.is_due(destination.state(load.plan.owner)):
                load.into(destination)
