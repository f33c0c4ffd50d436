"""One run is killed, inspected, and followed by another: what was lost, doubled or read again."""

import logging
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg

from s3pq_dagster import S3ParquetResource
from s3pq_dagster.dagster.discovery import discover
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.layout.table_rule import columns_hash
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.crashes.held import Held, Verdict, check_schema_versions, look
from s3pq_dagster_tests.crashes.recorded import Bookkeeping, recorded
from s3pq_dagster_tests.crashes.scenarios import Rows, Scenario, Versions, rows_of
from s3pq_dagster_tests.crashes.steps import Kill, kills
from s3pq_dagster_tests.crashes.worker import Ended, Run, ended, working
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.places.all_places import ALL_PLACES
from s3pq_dagster_tests.proxy import Proxy

_LEDGER = {"_s3pq_objects", "_s3pq_tables", "_s3pq_schemas"}

INSTANCE = """
telemetry:
  enabled: false
nux:
  enabled: false
compute_logs:  # the default starts four processes a run
  module: dagster.core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


class Stage:
    """A scenario made ready: a bucket as the run finds it, and a home to copy for each run."""

    def __init__(
        self, scenario: Scenario, bucket: Bucket, upstream: str, directory: Path, kind: str
    ) -> None:
        self.scenario = scenario
        self._kind = kind
        self._bucket = bucket
        self._upstream = upstream
        self._directory = directory
        self._template = directory / "template"
        self._template.mkdir()
        (self._template / "dagster.yaml").write_text(INSTANCE)
        dg.DagsterInstance.from_config(str(self._template)).dispose()  # makes its databases
        self._place = ALL_PLACES[kind](self._template)
        self._spec = bucket.spec | scenario.fields
        self._tables: list[DiscoveredTable] = []
        self._versions: Versions = scenario.put(bucket, dict(scenario.before))
        if scenario.before:
            self._discover()
            with Proxy(upstream) as proxy:
                first = ended(self._run(self._template, self._place, proxy))
            assert first is not None
            assert first.success
        self._versions |= scenario.put(bucket, scenario.then)
        self._discover()
        self._bookkeeping = self._books() if scenario.partitions else []
        self._numbers = iter(range(1_000_000))

    def steps(self) -> list[str]:
        """Return the names of the steps of a run that is not killed."""
        with self._home() as (home, place), Proxy(self._upstream) as proxy:
            found = ended(self._killed_run(home, place, proxy))
        assert found is not None
        return found.steps

    def kills(self, steps: list[str]) -> list[Kill]:
        """Return every moment at which such a run can be killed."""
        return [*kills(steps, after=False), *kills(steps, after=True)]

    def seconds(self) -> float:
        """Return how long a run takes that is not killed."""
        with self._home() as (home, place), Proxy(self._upstream) as proxy:
            run = self._killed_run(home, place, proxy)
            with working(run) as (_, heard):
                heard.recv()
                started = time.monotonic()
                heard.recv()
                return time.monotonic() - started

    def killed_at(self, kill: Kill) -> Verdict:
        """Kill a run at one of its steps, and return the verdict."""
        with self._home() as (home, place), Proxy(self._upstream) as proxy:
            run = replace(self._killed_run(home, place, proxy), kill=kill)
            verdict = Verdict(str(kill))
            if ended(run) is not None:
                verdict.inconsistent.append("the run never came there")
            self._follow(home, place, verdict)
            return verdict

    def killed_after(self, seconds: float) -> Verdict | None:
        """Kill a run so long after its start; return ``None`` if it had ended before."""
        with self._home() as (home, place), Proxy(self._upstream) as proxy:
            with working(self._killed_run(home, place, proxy)) as (process, heard):
                heard.recv()
                process.join(seconds)
                process.kill()
                process.join()
                if _has_ended(heard):
                    return None
            verdict = Verdict(f"after {seconds:.3f} s")
            self._follow(home, place, verdict)
            return verdict

    def _discover(self) -> None:
        self._tables = discover(S3ParquetResource(**self._spec))

    def _run(self, home: Path, place: Place, proxy: Proxy) -> Run:
        spec = self._spec | {"endpoint_url": proxy.endpoint}
        return Run(
            home, self._kind, place.url, spec, self._tables, partitions=self.scenario.partitions
        )

    def _killed_run(self, home: Path, place: Place, proxy: Proxy) -> Run:
        run, scenario = self._run(home, place, proxy), self.scenario
        return replace(run, config=scenario.config, partitions=scenario.killed)

    @contextmanager
    def _home(self) -> Iterator[tuple[Path, Place]]:
        home = self._directory / f"home-{next(self._numbers)}"
        shutil.copytree(self._template, home)
        place = self._place.copied_to(home)
        try:
            yield home, place
        finally:
            place.discard()
            shutil.rmtree(home)

    def _follow(self, home: Path, place: Place, verdict: Verdict) -> None:
        """Inspect what a killed run left, run again, and inspect once more."""
        left = self._look(place, verdict)
        self._check_left(left, verdict)
        for each in self._bookkeeping:
            each.check_left(home, left, verdict)
        with Proxy(self._upstream) as proxy:
            again = ended(self._run(home, place, proxy))
            reads = Counter(read.key for read in proxy.object_reads)
        if again is None or not again.success:
            verdict.inconsistent.append("the plain re-run failed")
        elif not self.scenario.partitions and again.versions != self._fingerprints():
            verdict.inconsistent.append(f"the sensor would ask again: {again.versions}")
        self._check_reads(left, reads, verdict)
        expected = rows_of(self.scenario.held_after)
        found = self._look(place, verdict).rows
        self._check_raw(place, verdict)
        verdict.lost += (expected - found).total()
        verdict.duplicated += (found - expected).total()
        for each in self._bookkeeping:
            each.check_end(home, verdict)

    def _check_left(self, left: Held, verdict: Verdict) -> None:
        """Check that each object of the table is as before the run or as after it."""
        before, after = self.scenario.held_before, self.scenario.held_by_killed
        whole = [rows_of(before), rows_of(after)]
        if self.scenario.config.get("full_refresh"):
            if left.rows not in whole:
                verdict.inconsistent.append("the table is neither the old one nor the new one")
            return
        for key in before | after | {key: [] for key, _ in left.rows}:
            found = Counter({row: n for row, n in left.rows.items() if row[0] == key})
            if found not in [rows_of({key: held.get(key, [])}) for held in (before, after)]:
                verdict.inconsistent.append(f"{key} is neither as before nor as after the run")

    def _fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each table's listing, as the sensor does."""
        return {table: fingerprint(listing) for table, listing in self._listings().items()}

    def _books(self) -> list[Bookkeeping]:
        """Return what Dagster may have recorded of the partitions of each table."""
        layout = S3ParquetResource(**self._spec).key_layout
        return [
            Bookkeeping(
                self.scenario,
                asset := dg.AssetKey([self._bucket.name, table]),
                recorded(self._template, asset),
                listing,
                columns_hash(layout, self.scenario.pattern(table)),
            )
            for table, listing in self._listings().items()
        ]

    def _listings(self) -> dict[str, Listing]:
        with S3ParquetResource(**self._spec).process_config_and_initialize_cm() as opened:
            found = opened.list_tables(logging.getLogger(__name__))
        return {each.name: found.checked_listing(each.name, each.prefix) for each in self._tables}

    def _check_reads(self, left: Held, reads: Counter[str], verdict: Verdict) -> None:
        """Check that exactly what the ledger did not hold was read, each part once."""
        part = self.scenario.fields["max_object_bytes_in_memory"]
        listed = self._bucket.client.list_objects_v2(Bucket=self._bucket.name)["Contents"]
        expected = Counter(
            {
                found["Key"]: -(-found["Size"] // part)
                for found in listed
                if (found["Key"], found["ETag"].strip('"')) not in left.known
            }
        )
        more = reads - expected
        if self.scenario.grows:  # footers of what is pending are read before the rest of it
            more = Counter({key: number for key, number in more.items() if key not in expected})
        verdict.re_read += more.total()
        if expected - reads:
            verdict.inconsistent.append(f"pending but not read: {expected - reads}")

    def _check_raw(self, place: Place, verdict: Verdict) -> None:
        """Check that the ledger has the same entries when it is read as an ordinary table."""
        columns = ["key", "e_tag", "rows", "status"]
        entries = place.select("_s3pq_objects", columns)
        raw = Counter((k, e.strip('"'), n) for k, e, n, status in entries if status == "loaded")
        if raw != Counter(look(place, self.scenario, self._bucket.name).loaded):
            verdict.inconsistent.append(f"_s3pq_objects says otherwise: {raw}")

    def _look(self, place: Place, verdict: Verdict) -> Held:
        """Read everything, and check that rows and ledger agree, row by row."""
        held = look(place, self.scenario, self._bucket.name)
        stated: Rows = Counter()
        for key, e_tag, rows in held.loaded:
            version = self._versions.get((key, e_tag), range(-1))
            stated.update((key, row) for row in version)
            if len(version) != rows:
                verdict.inconsistent.append(f"the ledger has {rows} rows of {key} as {e_tag}")
        if stated != held.rows:
            extra, missing = held.rows - stated, stated - held.rows
            verdict.inconsistent.append(
                f"{extra.total()} rows are in no entry, {missing.total()} are entered and not there"
            )
        if "_s3pq_schemas" in held.tables:
            check_schema_versions(place, verdict)
        if strangers := held.tables - _LEDGER - self.scenario.tables:
            verdict.inconsistent.append(f"tables that are not ours: {strangers}")
        return held


def _has_ended(heard: object) -> bool:
    try:
        return isinstance(heard.recv(), Ended)  # type: ignore[attr-defined]
    except EOFError:
        return False


def moments(seconds: float, seed: int) -> Iterator[float]:
    """Draw moments of a run that takes so long, without end."""
    drawn = random.Random(seed)
    while True:
        yield drawn.uniform(0, seconds)
