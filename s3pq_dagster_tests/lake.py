"""A bucket, its definitions and a DuckDB file, driven as a user would drive them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from s3pq_dagster import (
    S3ParquetDuckDBIOManager,
    S3ParquetResource,
    build_s3_parquet_definitions,
)
from s3pq_dagster_tests.buckets import Bucket

CHECKS = ("complete", "rows_reconciled", "no_quarantine")
LEDGER_COLUMNS = "key, e_tag, size, last_modified, rows, status, reason, run_id"


@dataclass
class Lake:
    """Definitions of a bucket over one instance and one DuckDB file."""

    bucket: Bucket
    instance: dg.DagsterInstance
    database: Path
    spec: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    namespace: str = "main"

    def definitions(self, **spec: Any) -> dg.Definitions:
        """Build the definitions, as a code location does when it starts."""
        return build_s3_parquet_definitions(
            S3ParquetResource(**(self.bucket.spec | self.spec | spec)),
            **({"destination": self._duckdb(), "retry_policy": None} | self.options),
        )

    def _duckdb(self) -> S3ParquetDuckDBIOManager:
        return S3ParquetDuckDBIOManager(
            database=str(self.database), namespace=self.namespace, lock_timeout_seconds=5
        )

    def run(
        self,
        *tables: str,
        definitions: dg.Definitions | None = None,
        config: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        **spec: Any,
    ) -> dg.ExecuteInProcessResult:
        """Materialize tables, all by default; ``config`` is the run config of each op."""
        definitions = definitions or self.definitions(**spec)
        job = definitions.resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey([self.bucket.name, table]) for table in tables]
        chosen = tables or [key.path[-1] for key in job.asset_layer.executable_asset_keys]
        ops = {f"load_{table}": {"config": config} for table in chosen} if config else {}
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=keys or None,
            run_config={"ops": ops},
            tags=tags,
            raise_on_error=False,
        )

    def check(
        self,
        table: str,
        *names: str,
        definitions: dg.Definitions | None = None,
        config: dict[str, Any] | None = None,
        **spec: Any,
    ) -> dg.ExecuteInProcessResult:
        """Evaluate checks of a table, all by default, without loading."""
        definitions = definitions or self.definitions(**spec)
        asset = dg.AssetKey([self.bucket.name, table])
        job = definitions.resolve_implicit_global_asset_job_def()
        wanted = {dg.AssetCheckKey(asset, name) for name in names or CHECKS}
        return job.get_subset(
            asset_selection=set(), asset_check_selection=wanted
        ).execute_in_process(
            instance=self.instance,
            run_config={"ops": {f"load_{table}": {"config": config}}} if config else None,
            raise_on_error=False,
        )

    def execute(self, sql: str) -> None:
        """Run a statement that changes the DuckDB file."""
        with duckdb.connect(str(self.database)) as connection:
            connection.execute(sql)

    def tick(
        self,
        cursor: str | None = None,
        *,
        definitions: dg.Definitions | None = None,
        **spec: Any,
    ) -> Any:
        """Evaluate the sensor once, as the daemon does."""
        definitions = definitions or self.definitions(**spec)
        sensor = definitions.get_repository_def().get_sensor_def("s3_parquet_sensor")
        with dg.build_sensor_context(
            instance=self.instance, cursor=cursor, definitions=definitions
        ) as context:
            return sensor.evaluate_tick(context)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the DuckDB file."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def rows(self, table: str) -> int:
        """Count a table's rows."""
        return int(self.query(f'SELECT count(*) FROM "{table}"')[0][0])

    def rows_by_key(self, table: str) -> dict[str, int]:
        """Count a table's rows by the key of their object."""
        return dict(self.query(f'SELECT _s3_key, count(*) FROM "{table}" GROUP BY 1'))

    def tables(self) -> set[str]:
        """Return the names of all tables in the file, the ledger's included."""
        return {name for (name,) in self.query("SELECT table_name FROM duckdb_tables()")}

    def ledger(self, table: str) -> list[dict[str, Any]]:
        """Return a table's ledger entries, sorted by key."""
        found = self.query(
            f"SELECT {LEDGER_COLUMNS} FROM _s3pq_objects WHERE table_name = '{table}' ORDER BY ALL"
        )
        return [dict(zip(LEDGER_COLUMNS.split(", "), row, strict=True)) for row in found]

    def statuses(self, table: str) -> dict[str, str]:
        """Return each key's status; with several versions, that of the last."""
        return {entry["key"]: entry["status"] for entry in self.ledger(table)}


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetMaterialization]:
    """Return a run's materializations by table."""
    events = result.get_asset_materialization_events()
    return {
        event.asset_key.path[-1]: event.step_materialization_data.materialization
        for event in events
        if event.asset_key is not None
    }


def observed(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetObservation]:
    """Return a run's observations by table."""
    events = result.get_asset_observation_events()
    return {
        event.asset_key.path[-1]: event.asset_observation_data.asset_observation
        for event in events
        if event.asset_key is not None
    }


def checked(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """Return the check evaluations of a run of one table, by check name."""
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def values(
    event: dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation,
) -> dict[str, Any]:
    """Return an event's metadata as plain values."""
    return {key: value.value for key, value in event.metadata.items()}


def messages(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return a run's log lines."""
    return [entry.user_message for entry in instance.all_logs(run_id)]


def names(keys: Sequence[dg.AssetKey]) -> set[str]:
    """Return the table names of asset keys."""
    return {key.path[-1] for key in keys}
