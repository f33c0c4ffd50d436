"""`make demo`: real Parquet from a bucket to tables, then one more object, then nothing new."""

import argparse
import operator
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from tenacity import RetryError, stop_after_delay

from demo import data
from demo.lake import BUCKET, DIRECTORY, Lake, TableFacts, put
from demo.webserver import PROJECT, Webserver, WebserverError, dagster_dev
from s3pq_dagster.ledger import format_cursor
from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.proxy import Proxy
from s3pq_dagster_tests.servers import admin_client, free_port
from s3pq_dagster_tests.waiting import again_while

SYNC = ["dagster", "asset", "materialize", "-m", "s3pq_dagster.definitions", "--select", "*"]
_SENSOR_SECONDS = 90
_SOMETHING = 2
"""Exit code of `s3pq plan` where a run would load something."""
_print = Console(highlight=False, soft_wrap=True).print


class UnexpectedError(Exception):
    """A result is not what the demo promises."""


def main() -> int:
    """Run the demo; return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--directory", type=Path, default=DIRECTORY)
    arguments.add_argument("--destination", choices=PLACES, default="duckdb")
    asked = arguments.parse_args()
    lake = Lake(asked.directory, asked.destination)
    try:
        with lake.opened(fresh=True) as endpoint, Proxy(endpoint) as proxy:
            _Demo(lake, admin_client(endpoint), proxy).run()
    except BlockingIOError:
        _print(f"[red]{lake.directory} is in use: stop the other `make demo` or `make dev`.[/]")
        return 1
    except (UnexpectedError, WebserverError) as error:
        if lake.log.exists():
            _print("\n".join(lake.log.read_text(errors="replace").splitlines()[-60:]), markup=False)
        _print(f"[red]Not as expected: {error}[/]\nDagster's log: {lake.log}")
        return 1
    _print(f"\n[green]Everything is as expected.[/] Dagster's log is {lake.log}")
    if lake.kind == "postgres":
        lake.place.discard()
        _print("  the tables were in a PostgreSQL server that ends now")
        _print(f"  next, Dagster's UI on a new one:  make dev DESTINATION={lake.kind}")
    else:
        _print(f"  the tables are in  {lake.place.url}")
        _print(f"  next, Dagster's UI on them:  make dev DESTINATION={lake.kind}")
    return 0


class _Demo:
    """The demo's acts, on a bucket behind a proxy that counts requests."""

    def __init__(self, lake: Lake, client: Any, proxy: Proxy) -> None:
        self._lake = lake
        self._client = client
        self._proxy = proxy
        self._environment = lake.environment(proxy.endpoint)
        self._expected: dict[str, int] = {}
        """The number of rows of each object in the bucket, by key."""

    def run(self) -> None:
        held_back = self._fill()
        self._first_sync()
        self._one_more_object(data.LATER[0], held_back)
        self._nothing_new()

    def _fill(self) -> pa.Table:
        """Upload all but the objects that come later; return the rows of the first of those."""
        _heading("A bucket")
        self._client.create_bucket(Bucket=BUCKET)
        held_back = None
        for key, rows in data.objects():
            if key not in data.LATER:
                self._put(key, rows)
            elif key == data.LATER[0]:
                held_back = rows
        _print(
            f"  {len(self._expected)} Parquet objects with {sum(self._expected.values()):,} rows "
            f"are in s3://{BUCKET}: flights from New York in 2013, weather, planes, airports"
        )
        return held_back

    def _first_sync(self) -> None:
        _heading("First sync: every prefix becomes a table, partitions become columns")
        self._s3pq("plan", code=_SOMETHING)
        self._sync()
        self._check_rows()
        tables = self._lake.tables()
        reads = len(self._proxy.object_reads)
        _print(_as_table(tables))
        _print(
            f"  {len(self._proxy.listings)} listings, {reads} object requests: one for each of "
            f"{len(self._expected)} objects, one footer for each of {len(tables)} tables"
        )
        _expect(reads, len(self._expected) + len(tables), "object requests")

    def _one_more_object(self, key: str, rows: pa.Table) -> None:
        _heading("A partition arrives with a column more, and the sensor finds it")
        before = {table.name: table for table in self._lake.tables()}
        self._put(key, rows)
        _print(f"  put s3://{BUCKET}/{key} with {rows.num_rows:,} rows")
        said = self._s3pq("plan", "--footers", "--table", "flights", code=_SOMETHING)
        foretold = [line.split()[:3] for line in said.splitlines() if "gains" in line]
        _expect(foretold, [["flights:", "gains", data.NEW_COLUMN]], "the column that is foretold")
        self._proxy.forget()
        port = free_port()
        with dagster_dev(port, self._environment, self._lake.log) as webserver:
            _print("  dagster dev runs; the sensor is turned on")
            started = time.monotonic()
            webserver.start_sensor()
            run = self._run_by_sensor(webserver)
            asked = ["/".join(path["path"]) for path in run["assetSelection"]]
            _print(
                f"  after {time.monotonic() - started:.0f} s its run {run['runId'][:8]} has loaded "
                f"{', '.join(asked)}"
            )
            tick = webserver.preview_tick()
        table = "flights"
        _expect(asked, [f"{BUCKET}/{table}"], "assets asked for")
        self._check_rows()
        after = {found.name: found for found in self._lake.tables()}
        changed = [name for name in after if after[name] != before.get(name)]
        _expect(changed, [table], "tables changed")
        _expect(after[table].rows - before[table].rows, rows.num_rows, "new rows")
        _expect(self._lake.run_of(key), run["runId"], "run in the ledger")
        _expect([r.key for r in self._proxy.object_reads], [key], "objects read")
        _print(
            f"  {table}: {before[table].rows:,} + {rows.num_rows:,} = {after[table].rows:,} rows, "
            f"{before[table].objects} + 1 = {after[table].objects} objects; one object request"
        )
        self._check_new_column(key, rows)
        _expect(tick["runRequests"] or [], [], "runs asked for next")
        _print(f"  its next tick says: {tick['skipReason'].split(';')[0]}")

    def _check_new_column(self, key: str, rows: pa.Table) -> None:
        """Compare the column that came with an object, and what its key says, with the table's."""
        found = self._lake.place.select("flights", ["_s3_key", "month", "day", data.NEW_COLUMN])
        new = [row[1:] for row in found if row[0] == key]
        _expect(
            {row[:2] for row in new}, {tuple(re.findall("=([^/]*)", key))}, "columns of the key"
        )
        speeds = sorted(speed for *_, speed in new if speed is not None)
        _expect(speeds, sorted(rows[data.NEW_COLUMN].drop_null().to_pylist()), "the new column")
        old = {row[3] for row in found if row[0] != key}
        _expect(old, {None}, "the new column in the rows before")
        _print(
            f"  column {data.NEW_COLUMN!r} is new in it: null in the rows that were there before"
        )

    def _nothing_new(self) -> None:
        _heading("Once more: nothing to do")
        before = self._lake.tables()
        self._s3pq("plan", code=0)
        self._sync()
        _expect(self._lake.tables(), before, "tables")
        _expect(self._proxy.object_reads, [], "object requests")
        _print(f"  {len(self._proxy.listings)} listings, no object request, no row written")
        self._s3pq("status", code=0)

    def _put(self, key: str, rows: pa.Table) -> None:
        put(self._client, key, rows)
        self._expected[key] = rows.num_rows

    def _sync(self) -> None:
        _print(f"  $ {' '.join(SYNC)}", markup=False)
        started = time.monotonic()
        with self._lake.log.open("ab") as log:
            done = subprocess.run(
                [sys.executable, "-m", *SYNC],
                cwd=PROJECT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        _expect(done.returncode, 0, "exit code")
        _print(f"  done in {time.monotonic() - started:.0f} s")

    def _s3pq(self, *words: str, code: int) -> str:
        """Run the command line, which writes nothing, and print what it says."""
        _print(f"  $ s3pq {' '.join(words)}", markup=False)
        done = subprocess.run(
            [sys.executable, "-m", "s3pq_dagster.cli", *words],
            cwd=PROJECT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        _expect(done.returncode, code, f"exit code of s3pq {words[0]}: {done.stderr}")
        _print("".join(f"    {line}\n" for line in done.stdout.splitlines()), end="", markup=False)
        self._proxy.forget()  # its requests are not those of the loads
        return done.stdout

    def _check_rows(self) -> None:
        """Compare the rows of every object with what was uploaded."""
        found = self._lake.rows_by_key()
        wrong = sorted(key for key, _ in found.items() ^ self._expected.items())
        if wrong:
            msg = f"rows of {len(wrong)} objects differ, {wrong[0]!r} among them"
            raise UnexpectedError(msg)

    def _run_by_sensor(self, webserver: Webserver) -> dict[str, Any]:
        def asked() -> list[dict[str, Any]]:
            return [run for run in webserver.runs() if _is_by_sensor(run)]

        until_it_asks = again_while(operator.not_, stop_after_delay(_SENSOR_SECONDS))
        try:
            run: dict[str, Any] = until_it_asks(asked)[0]
        except RetryError:
            msg = f"the sensor asked for nothing within {_SENSOR_SECONDS} s"
            raise UnexpectedError(msg) from None
        _expect(webserver.finished(run["runId"]), "SUCCESS", "status of the run")
        return run


def _is_by_sensor(run: dict[str, Any]) -> bool:
    return any(tag["key"] == "dagster/sensor_name" for tag in run["tags"])


def _heading(text: str) -> None:
    _print(f"\n[bold]{text}[/]")


def _as_table(tables: list[TableFacts]) -> Table:
    shown = Table("table", box=box.SIMPLE_HEAD)
    for name in ("rows", "objects"):
        shown.add_column(name, justify="right")
    shown.add_column("cursor (latest LastModified)")
    for table in tables:
        shown.add_row(
            table.name, f"{table.rows:,}", f"{table.objects:,}", format_cursor(table.cursor)
        )
    return shown


def _expect(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        msg = f"{what}: {found!r}, should be {expected!r}"
        raise UnexpectedError(msg)


if __name__ == "__main__":
    sys.exit(main())
