"""A table in a real bucket that tests load into a real DuckDB file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.unit.made import Lines, listed, logger, opened, spec


@dataclass
class Table:
    """One table of a bucket, and the DuckDB file that it is loaded into."""

    bucket: Bucket
    database: Path
    lines: Lines = field(default_factory=Lines)

    @property
    def owner(self) -> Owner:
        return Owner("t", self.bucket.name, "t/")

    @property
    def destination(self) -> DuckDBDestination:
        return DuckDBDestination(str(self.database), lock_timeout_seconds=5)

    def load(
        self,
        listing: Listing | None = None,
        *,
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> LoadReport:
        """Load what is pending of the prefix."""
        with opened(self.bucket) as store:
            found = listed(store, "t/") if listing is None else listing
            load = TableLoad(
                plan=LoadPlan(
                    spec=spec(**(self.bucket.spec | fields)),
                    owner=self.owner,
                    listing=found,
                    options=LoadOptions(**(options or {})),
                ),
                store=store,
                log=logger(self.lines),
                run_id="run",
            )
            return load.into(self.destination)

    def listing(self) -> Listing:
        with opened(self.bucket) as store:
            return listed(store, "t/")

    def rows_by_key(self) -> dict[str, int]:
        with duckdb.connect(str(self.database)) as connection:
            found = connection.execute("SELECT _s3_key, count(*) FROM t GROUP BY 1").fetchall()
        return dict(found)

    def statuses(self) -> dict[str, str]:
        frame = self.destination.state(self.owner).ledger.frame
        return dict(frame.sort("key").select("key", "status").rows())

    def stored_fingerprint(self) -> str | None:
        with duckdb.connect(str(self.database)) as connection:
            row = connection.execute("SELECT fingerprint FROM _s3pq_tables").fetchone()
        assert row is not None
        return None if row[0] is None else str(row[0])
