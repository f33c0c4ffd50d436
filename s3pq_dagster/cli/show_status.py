"""What `s3pq status` shows: the ledger of each table."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from s3pq_dagster.cli.looking import SeenTable, seen
from s3pq_dagster.cli.options import Asked
from s3pq_dagster.cli.output import Column, Output, print_json, told
from s3pq_dagster.cli.show_plan import error_json
from s3pq_dagster.cli.show_tables import heading_of
from s3pq_dagster.cli.target import OpenTarget, Target, check_found, targets
from s3pq_dagster.dagster.lag import Lag
from s3pq_dagster.destinations.table_look import SchemaVersion
from s3pq_dagster.drift.changes import schema_changes
from s3pq_dagster.ledger import Status, format_cursor
from s3pq_dagster.logs import counted, human_bytes, human_time

_COLUMNS = [
    Column("table"),
    Column("loaded", is_number=True),
    Column("rows", is_number=True),
    Column("set aside", is_number=True),
    Column("pending", is_number=True),
    Column("behind", is_number=True),
    Column("schema", is_number=True),
    Column("cursor"),
    Column("last load"),
    Column("run"),
]
_MOST_REASONS = 3
"""So many reasons are shown of a table that is not asked for by name."""
_KEPT = ("key", "size", "last_modified", "reason")


def run(asked: Asked) -> int:
    """Print the status of each source; return the exit code."""
    found = [_looked_at(target, asked) for target in targets(asked)]
    check_found(asked, [each.opened for each in found])
    if asked.as_json:
        print_json({"sources": [each.as_json() for each in found]})
    else:
        for each in found:
            each.show(Output(), in_full=bool(asked.tables))
    return int(any(table.seen.error is not None for each in found for table in each.tables))


@dataclass(frozen=True, slots=True)
class _Load:
    """The load that wrote the latest entries of loaded objects."""

    run_id: str
    at: datetime
    objects: int
    rows: int

    @classmethod
    def last(cls, runs: pl.DataFrame) -> "_Load | None":
        loaded = runs.filter(pl.col("status") == Status.LOADED).sort("at")
        if loaded.is_empty():
            return None
        found = loaded.row(-1, named=True)
        return cls(found["run_id"], found["at"], found["objects"], found["rows"])

    def as_json(self) -> dict[str, Any]:
        at = format_cursor(self.at)
        return {"run_id": self.run_id, "at": at, "objects": self.objects, "rows": self.rows}


@dataclass(frozen=True, slots=True)
class _Table:
    """What the ledger has of a table."""

    seen: SeenTable
    lag: Lag

    @property
    def last(self) -> _Load | None:
        return _Load.last(self.seen.look.runs)

    @property
    def set_aside(self) -> pl.DataFrame:
        """The entries that are quarantined, whether they are still listed or not."""
        frame = self.seen.look.state.ledger.frame
        return frame.filter(pl.col("status") == Status.QUARANTINED).select(_KEPT).sort("key")

    @property
    def cursor(self) -> str | None:
        found = self.seen.look.state.ledger.cursor
        return None if found is None else format_cursor(found)

    def cells(self) -> list[str]:
        state, last, lag = self.seen.look.state, self.last, self.lag
        return [
            self.seen.name,
            f"{state.ledger.count(Status.LOADED):,}",
            f"{state.rows:,}",
            f"{self.set_aside.height:,}",
            f"{lag.objects:,}",
            human_time(lag.seconds) if lag.objects else "-",
            f"v{self.seen.look.versions[-1].version}" if self.seen.look.versions else "-",
            self.cursor or "-",
            format_cursor(last.at.replace(microsecond=0)) if last else "-",
            last.run_id if last else "-",
        ]

    def lines(self, *, in_full: bool) -> Iterator[str]:
        """Yield what does not fit into a row."""
        if self.seen.error is not None:
            yield told(self.seen.error)
        aside = self.set_aside
        for row in (aside if in_full else aside.head(_MOST_REASONS)).iter_rows(named=True):
            yield f"set aside {row['key']}: {row['reason']}"
        if not in_full and (more := aside.height - _MOST_REASONS) > 0:
            yield f"set aside {counted(more, 'object')} more: --table {self.seen.name} lists all"
        if in_full:
            yield from _version_lines(self.seen.look.versions)
            if self.lag.objects:
                size = human_bytes(self.lag.bytes)
                yield f"pending {counted(self.lag.objects, 'object')}, {size}"

    def as_json(self) -> dict[str, Any]:
        look, ledger, last = self.seen.look, self.seen.look.state.ledger, self.last
        return {
            "table": self.seen.name,
            "pattern": self.seen.plan.owner.prefix,
            "exists": look.state.exists,
            "rows": look.state.rows,
            "loaded_objects": ledger.count(Status.LOADED),
            "loaded_rows": ledger.rows,
            "removed_objects": ledger.count(Status.REMOVED),
            "quarantined": [
                {"key": key, "bytes": size, "last_modified": format_cursor(at), "reason": reason}
                for key, size, at, reason in self.set_aside.iter_rows()
            ],
            "cursor": self.cursor,
            "pending_objects": self.lag.objects,
            "pending_bytes": self.lag.bytes,
            "pending_seconds": self.lag.seconds,
            "last_load": None if last is None else last.as_json(),
            "schema_versions": list(map(_version_json, look.versions)),
            "error": error_json(self.seen.error),
        }


@dataclass(frozen=True, slots=True)
class _Status:
    """The tables of a source."""

    opened: OpenTarget
    place: str
    tables: Sequence[_Table]

    def as_json(self) -> dict[str, Any]:
        return {
            **self.opened.named(),
            "destination": self.place,
            "tables": [table.as_json() for table in self.tables],
        }

    def show(self, out: Output, *, in_full: bool) -> None:
        heading_of(self.opened, out)
        out.line(f"into {self.place}")
        if not self.tables:
            out.line("no table")
            return
        out.table(_COLUMNS, [table.cells() for table in self.tables])
        for table in self.tables:
            for line in table.lines(in_full=in_full):
                out.line(f"{table.seen.name}: {line}")


def _looked_at(target: Target, asked: Asked) -> _Status:
    with target.opened() as opened:
        place = opened.io_manager.place()
        found, now = list(seen(opened, opened.tables(asked))), time.time()
        tables = [_Table(table, Lag.of(table.found.pending, now)) for table in found]
        return _Status(opened, place, tables)


def _version_json(version: SchemaVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "changed_at": format_cursor(version.changed_at),
        "since_key": version.since_key,
        "columns": [{"name": each.name, "type": str(each.type)} for each in version.schema],
    }


def _version_lines(versions: Sequence[SchemaVersion]) -> Iterator[str]:
    """Yield a line for each version: what it changed, when, and with which object."""
    before = None
    for each in versions:
        if before is None or not set(before.schema.names) <= set(each.schema.names):
            what = f"{counted(len(each.schema), 'column')}"
        else:
            changes = schema_changes(before.schema, each.schema)
            steps = [f"new {name}" for name in changes.added_names()]
            what = ", ".join([*steps, *changes.retyped_names()]) or "other facts"
        since = "" if each.since_key is None else f", with {each.since_key}"
        at = format_cursor(each.changed_at.replace(microsecond=0))
        yield f"schema v{each.version} since {at}{since}: {what}"
        before = each
