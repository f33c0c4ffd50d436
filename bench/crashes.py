"""Kill runs at every step and at random moments, and count what is lost, doubled or read again.

A table of what was found goes to standard output, each fault to standard error. Exits with 1 unless
there is none.
"""

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import redirect_stderr
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import dagster as dg
from moto.server import ThreadedMotoServer

from s3pq_dagster.dagster.discovery import LOGGER
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.crashes.held import Verdict
from s3pq_dagster_tests.crashes.scenarios import MANY, SCENARIOS, Scenario
from s3pq_dagster_tests.crashes.trial import Stage, moments
from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.proxy import Proxy
from s3pq_dagster_tests.servers import admin_client, use_credentials


def main() -> int:
    """Run the chosen scenarios."""
    asked = _arguments()
    _quiet()
    chosen = [s for s in [MANY, *SCENARIOS] if asked.scenario in (None, s.name)]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    started = time.monotonic()
    print("| destination | scenario | killed at | kills | lost | duplicated | re-read | other |")
    print("|---|---|---|---:|---:|---:|---:|---:|", flush=True)
    right = True
    try:
        for scenario in chosen:
            found = list(_judged(scenario, asked, f"http://{host}:{port}"))
            _print(scenario, found, asked)
            right = right and all(verdict.is_right for verdict in found)
    finally:
        server.stop()
    versions = ", ".join(f"{name} {version(name)}" for name in ("dagster", "duckdb", "pyarrow"))
    seconds = time.monotonic() - started
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}, ", end=""
    )
    print(f"{seconds:.0f} s")
    return 0 if right else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="at random moments")
    parser.add_argument("--seed", type=int, default=1, help="of those moments")
    parser.add_argument("--workers", type=int, default=2, help="kills at a time")
    parser.add_argument("--most", type=int, help="so many of a scenario's kills at its steps")
    parser.add_argument("--destination", choices=PLACES, default="duckdb")
    parser.add_argument("--scenario", choices=[s.name for s in [*SCENARIOS, MANY]])
    return parser.parse_args()


def _quiet() -> None:
    use_credentials()
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    dg.get_dagster_logger(LOGGER).setLevel(logging.ERROR)


def _judged(scenario: Scenario, asked: argparse.Namespace, upstream: str) -> Iterator[Verdict]:
    """Prepare a scenario in its own bucket, kill its runs, and report progress."""
    name = f"lake-{[*SCENARIOS, MANY].index(scenario)}"
    client = admin_client(upstream)
    client.create_bucket(Bucket=name)
    shown = sys.stderr
    with (
        tempfile.TemporaryDirectory(prefix="s3pq-") as directory,
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stderr(nowhere),  # the server's complaints about clients that died
        Proxy(upstream) as proxy,
    ):
        os.environ["XDG_CACHE_HOME"] = directory
        stage = Stage(
            scenario, Bucket(name, client, proxy), upstream, Path(directory), asked.destination
        )
        kills = _at_random if scenario is MANY else _at_every_step
        with ThreadPoolExecutor(asked.workers) as pool:
            for number, verdict in enumerate(kills(stage, asked, pool), 1):
                if not verdict.is_right:
                    print(scenario, verdict, file=shown, flush=True)
                elif number % 20 == 0:
                    print(f"{scenario}: {number} kills", file=shown, flush=True)
                yield verdict


def _at_every_step(stage: Stage, asked: argparse.Namespace, pool: Executor) -> Iterator[Verdict]:
    kills = stage.kills(stage.steps())
    number = min(asked.most or len(kills), len(kills))
    some = [kills[each * len(kills) // number] for each in range(number)]  # evenly spread
    yield from pool.map(stage.killed_at, some)


def _at_random(stage: Stage, asked: argparse.Namespace, pool: Executor) -> Iterator[Verdict]:
    """Kill until so many runs have died; runs that end before their moment do not count."""
    drawn = moments(stage.seconds(), asked.seed)
    left = asked.kills
    while left:
        died = [v for v in pool.map(stage.killed_after, islice(drawn, left)) if v is not None]
        left -= len(died)
        yield from died


def _print(scenario: Scenario, found: list[Verdict], asked: argparse.Namespace) -> None:
    every = "every step, before and after" if asked.most is None else "steps, before and after"
    where = f"random moments, seed {asked.seed}" if scenario is MANY else every
    counts = [
        len(found),
        sum(v.lost for v in found),
        sum(v.duplicated for v in found),
        sum(v.re_read for v in found),
        sum(bool(v.inconsistent) for v in found),
    ]
    print(
        f"| {asked.destination} | {scenario} | {where} | {' | '.join(map(str, counts))} |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
