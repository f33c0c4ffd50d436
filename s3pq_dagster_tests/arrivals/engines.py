"""Two ways to load what arrives: sensor and runs as the daemon does, or the load layer alone."""

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
from s3pq_dagster_tests.arrivals.play import Due
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import Lake, messages, names
from s3pq_dagster_tests.unit.made import listed, logger, spec

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
"""Dagster's tags of a run over some partitions."""
DATED = {
    "rules": [
        {
            "match": "{table}/{hive}/*.parquet",
            "types": {"day": "date"},
            "partitions": "daily(day)",
        }
    ]
}
"""The layout of a day whose partitions are dates."""
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
    layout: dict[str, Any] | None = None
    definitions: dg.Definitions | None = None
    cursor: str | None = None
    run_keys: set[str | None] = field(default_factory=set)

    def reload(self) -> set[str]:
        modes: dict[str, Any] = {"write_mode": self.write_mode, "schema_mode": self.schema_mode}
        modes |= {"layout": self.layout} if self.layout else {}
        self.definitions = self.lake.definitions(**modes, **SPEC)
        return names(list(self.definitions.resolve_all_asset_keys()))

    def tick(self) -> list[Due]:
        result = self.lake.tick(self.cursor, definitions=self.definitions)
        self.cursor = result.cursor
        due = []
        for request in result.run_requests or []:
            # The daemon launches nothing for a run key that was there before.
            if request.run_key not in self.run_keys:
                self.run_keys.add(request.run_key)
                tables = sorted(names(request.asset_selection))
                due.append(Due(tables, *map(request.tags.get, RANGE)))
        return due

    def run(self, due: Due) -> None:
        tags = {name: each for name, each in zip(RANGE, (due.first, due.last), strict=True) if each}
        result = self.lake.run(*due.tables, definitions=self.definitions, tags=tags)
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

    def tick(self) -> list[Due]:
        return [Due(["t0", "t1"])]

    def run(self, due: Due) -> None:
        fields: dict[str, Any] = self.bucket.spec | SPEC | {"write_mode": self.write_mode}
        for table in due.tables:
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
