"""What `s3pq plan` shows: what a run would load, and what its requests would cost."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from s3pq_dagster.cli.looking import SeenTable, seen
from s3pq_dagster.cli.options import Asked
from s3pq_dagster.cli.output import Column, Output, print_json, told
from s3pq_dagster.cli.prices import Prices, shown
from s3pq_dagster.cli.progress import counted_off
from s3pq_dagster.cli.show_footers import footer_json, footer_lines
from s3pq_dagster.cli.show_tables import LeftOut, heading_of
from s3pq_dagster.cli.target import OpenTarget, Target, check_found, targets
from s3pq_dagster.dagster.lag import Lag
from s3pq_dagster.errors import S3ParquetError
from s3pq_dagster.loading.outlook import SchemaOutlook, requests_of, schema_outlook
from s3pq_dagster.loading.pending_schemas import MOST_LOOKED_AT, pending_footers
from s3pq_dagster.logs import counted, human_bytes, human_time

NOTHING, FAILS, SOMETHING = 0, 1, 2
"""Exit codes."""
_COLUMNS = [
    Column("table"),
    Column("pending", is_number=True),
    Column("size", is_number=True),
    Column("oldest", is_number=True),
    Column("requests", is_number=True),
    Column("what"),
]
_ROWS = Column("rows", is_number=True)


def run(asked: Asked, prices: Prices, *, footers: bool) -> int:
    """Print the plan of each source; return the exit code."""
    plans = [_looked_at(target, asked, footers=footers) for target in targets(asked)]
    check_found(asked, [plan.opened for plan in plans])
    if asked.as_json:
        print_json({"sources": [plan.as_json(prices) for plan in plans], **_total(plans, prices)})
    else:
        for plan in plans:
            plan.show(Output(), prices, footers=footers)
    tables = [table for plan in plans for table in plan.tables]
    if any(table.error is not None for table in tables):
        return FAILS
    return SOMETHING if any(table.seen.is_due for table in tables) else NOTHING


@dataclass(frozen=True, slots=True)
class _Table:
    """A table's plan."""

    seen: SeenTable
    lag: Lag
    footers: SchemaOutlook | None

    @property
    def error(self) -> S3ParquetError | None:
        return self.seen.error or (None if self.footers is None else self.footers.error)

    @property
    def gets(self) -> int:
        seen = self.seen
        return requests_of(seen.plan, seen.look.state, seen.found) if seen.is_due else 0

    def what(self) -> str:
        """Say in a few words what a run does."""
        if self.error is not None:
            return f"fails: {type(self.error).__name__}"
        seen, steps = self.seen, list[str]()
        if seen.plan.refresh:
            steps.append("loads the whole table again")
        elif self.lag.objects:
            steps.append("loads" if seen.look.state.exists else "makes the table")
        if seen.found.removed:
            steps.append(f"removes rows of {counted(len(seen.found.removed), 'object')}")
        if seen.quarantined:
            steps.append(f"leaves {counted(seen.quarantined, 'object')} in quarantine")
        return "; ".join(steps) if steps else "up to date"

    def cells(self, *, footers: bool) -> list[str]:
        lag = self.lag
        oldest = human_time(lag.seconds) if lag.objects else "-"
        size = human_bytes(lag.bytes) if lag.objects else "-"
        rows = [f"{self.footers.rows:,}" if self.footers else "-"] if footers else []
        counts = [f"{lag.objects:,}", size, oldest, *rows, f"{self.gets:,}"]
        return [self.seen.name, *counts, self.what()]

    def as_json(self) -> dict[str, Any]:
        plan, lag, error = self.seen.plan, self.lag, self.error
        return {
            "table": self.seen.name,
            "pattern": plan.owner.prefix,
            "write_mode": plan.spec.write_mode,
            "schema_mode": plan.spec.schema_mode,
            "listed_objects": len(plan.listing),
            "listed_bytes": plan.listing.total_bytes,
            "pending_objects": lag.objects,
            "pending_bytes": lag.bytes,
            "pending_seconds": lag.seconds,
            "removed_objects": len(self.seen.found.removed),
            "quarantined_objects": self.seen.quarantined,
            "whole_table": plan.refresh,
            "get_requests": self.gets,
            "footers": None if self.footers is None else footer_json(self.footers),
            "error": error_json(error),
        }


def error_json(error: S3ParquetError | None) -> dict[str, str] | None:
    """Return an error for scripts."""
    return None if error is None else {"type": type(error).__name__, "message": str(error)}


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan of a source."""

    opened: OpenTarget
    place: str
    tables: Sequence[_Table]
    left_out: LeftOut
    lists: int
    """How many requests the listing took, as that of a run takes."""

    @property
    def gets(self) -> int:
        return sum(table.gets for table in self.tables)

    def as_json(self, prices: Prices) -> dict[str, Any]:
        return {
            **self.opened.named(),
            "destination": self.place,
            "tables": [table.as_json() for table in self.tables],
            **self.left_out.as_json(),
            **_requests([self], prices),
        }

    def show(self, out: Output, prices: Prices, *, footers: bool) -> None:
        heading_of(self.opened, out)
        columns = [*_COLUMNS[:4], _ROWS, *_COLUMNS[4:]] if footers else _COLUMNS
        if self.tables:
            out.table(columns, [table.cells(footers=footers) for table in self.tables])
        for line in self._lines():
            out.line(line)
        self.left_out.show(out)
        out.line(self._summary(prices))

    def _lines(self) -> Iterator[str]:
        """Yield what does not fit into a row."""
        for table in self.tables:
            if table.footers is not None:
                for line in footer_lines(
                    table.footers,
                    table.seen.plan.spec.schema_mode,
                    is_new=table.seen.look.state.schema is None,
                    not_looked_at=max(0, table.lag.objects - MOST_LOOKED_AT),
                ):
                    yield f"{table.seen.name}: {line}"
            if table.error is not None:
                yield f"{table.seen.name}: {told(table.error)}"

    def _summary(self, prices: Prices) -> str:
        objects = sum(table.lag.objects for table in self.tables)
        size = human_bytes(sum(table.lag.bytes for table in self.tables))
        cost = shown(prices.dollars(lists=self.lists, gets=self.gets))
        pending = f"{counted(objects, 'object')}, {size} pending" if objects else "nothing pending"
        return f"{pending}; a run: {self.lists:,} LIST + {self.gets:,} GET, {cost}"


def _requests(plans: Sequence[_Plan], prices: Prices) -> dict[str, Any]:
    lists, gets = sum(plan.lists for plan in plans), sum(plan.gets for plan in plans)
    dollars = round(prices.dollars(lists=lists, gets=gets), 9)
    return {"list_requests": lists, "get_requests": gets, "dollars": dollars}


def _total(plans: Sequence[_Plan], prices: Prices) -> dict[str, Any]:
    lags = [table.lag for plan in plans for table in plan.tables]
    return {
        "pending_objects": sum(lag.objects for lag in lags),
        "pending_bytes": sum(lag.bytes for lag in lags),
        **_requests(plans, prices),
    }


def _looked_at(target: Target, asked: Asked, *, footers: bool) -> _Plan:
    with target.opened() as opened:
        place = opened.io_manager.place()  # told now if it cannot be used: before the listing
        every = opened.tables(Asked())
        wanted = [table for table in every if asked.is_wanted(table.name)]
        found, now = list(seen(opened, wanted)), time.time()
        tables = [
            _Table(
                table,
                Lag.of(table.found.pending, now),
                _footers(opened, table) if footers and len(table.found.pending) else None,
            )
            for table in found
        ]
        return _Plan(opened, place, tables, LeftOut.of(opened), opened.listing.requests)


def _footers(opened: OpenTarget, table: SeenTable) -> SchemaOutlook:
    plan, state, pending = table.plan, table.look.state, table.found.pending
    known = None if plan.starts_empty else state.schema
    number = min(len(pending), MOST_LOOKED_AT)
    footers = pending_footers(plan, opened.source.store, pending, known)
    shown = counted_off(footers, f"reading footers of {table.name}", "footers", number)
    return schema_outlook(plan, state, table.found, shown)
