"""Every fault at every stage at 1 %, 20 % and 100 %, through real runs of Dagster.

``python -m bench.faults --seed 1`` prints one table and exits with 1 if a promise does not hold.
"""

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import dagster as dg
from botocore.config import Config
from moto.server import ThreadedMotoServer

from s3pq_dagster_tests.faults.cases import Case, Outcome, all_cases, run_case
from s3pq_dagster_tests.faults.engines import Runs
from s3pq_dagster_tests.faults.plan import Kind
from s3pq_dagster_tests.faults.proxy import FaultyProxy
from s3pq_dagster_tests.faults.world import World
from s3pq_dagster_tests.servers import admin_client, use_credentials

PLAIN = Config(
    s3={"addressing_style": "path"},
    retries={"total_max_attempts": 3},
    request_checksum_calculation="when_required",
)


LONG = {Kind.STALLED, Kind.TOO_SLOW}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="which requests are hit")
    parser.add_argument("--workers", type=int, default=12, help="cases side by side")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    asked = parser.parse_args(arguments)
    cases = [case for case in all_cases(asked.seed) if asked.only in str(case)]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    outcomes: dict[Case, Outcome] = {}
    with (
        tempfile.TemporaryDirectory(prefix="s3pq-faults-") as home,
        ProcessPoolExecutor(asked.workers, context, _start, (home,)) as pool,
    ):
        endpoint = f"http://{host}:{port}"
        running = [
            pool.submit(_outcome, case, f"lake-{number}", endpoint, Path(home))
            for number, case in enumerate(sorted(cases, key=_turn))
        ]
        for done in as_completed(running):
            outcome = done.result()
            outcomes[outcome.case] = outcome
            said = f"{len(outcomes)}/{len(cases)} {outcome.case}: {outcome.result}"
            print(said, *outcome.wrong, sep="\n  WRONG ", file=sys.stderr, flush=True)
    server.stop()
    print(_table([outcomes[case] for case in cases], asked.seed, time.monotonic() - started))
    return 1 if any(outcome.wrong for outcome in outcomes.values()) else 0


def _turn(case: Case) -> tuple[bool, float]:
    """Order the cases: those that mostly wait first, then those with the highest rate."""
    return case.kind not in LONG, -case.rate


def _start(home: str) -> None:
    """Keep the user's AWS files and Dagster home out of a worker process."""
    os.environ |= {
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    for name in ("DAGSTER_HOME", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        os.environ.pop(name, None)
    use_credentials()
    logging.disable(logging.CRITICAL)


@cache
def _instance() -> dg.DagsterInstance:
    """Make a worker's Dagster instance."""
    return dg.DagsterInstance.ephemeral()


def _outcome(case: Case, bucket: str, endpoint: str, home: Path) -> Outcome:
    client = admin_client(endpoint, config=PLAIN)
    client.create_bucket(Bucket=bucket)
    try:
        with FaultyProxy(endpoint) as proxy:
            proxy.slow_seconds = 5
            world = World(bucket, client, proxy, home / f"{bucket}.duckdb")
            return run_case(case, world, Runs(world, _instance()))
    except Exception:  # noqa: BLE001 - one case's failure must not end the others
        return Outcome(case, wrong=[traceback.format_exc()])
    finally:
        client.close()


def _table(outcomes: Sequence[Outcome], seed: int, seconds: float) -> str:
    """Write the results as a Markdown table, with broken promises below it."""
    names = ("s3pq-dagster", "dagster", "boto3", "urllib3", "pyarrow", "duckdb")
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    counts = f"{len(outcomes)} cases, {len(wrong)} wrong"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        f"Faults, {today}, seed {seed}, {seconds:.0f} s: {counts}; {versions}.",
        "",
        "| fault | stage | rate | hit | ended | seconds | as it should |",
        "|---|---|--:|--:|---|--:|---|",
    ]
    lines += [
        f"| {o.case.kind} | {o.case.stage} | {o.case.rate:.0%} | {o.hit} of {o.asked} | "
        f"{o.result} | {o.seconds:.1f} | {'**no**' if o.wrong else 'yes'} |"
        for o in outcomes
    ]
    for outcome in wrong:
        lines += ["", f"{outcome.case}:", *(f"- {found}" for found in outcome.wrong)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
