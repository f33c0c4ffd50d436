"""A seeded day of objects in each write mode, and how other tools load the same day."""

import argparse
import itertools
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from hypothesis import given, seed, settings
from moto.server import ThreadedMotoServer

from bench.arrivals_peers import Score, scores
from s3pq_dagster_tests.arrivals.engines import DATED, SensorAndRuns
from s3pq_dagster_tests.arrivals.plan import Day, drifting, make_day
from s3pq_dagster_tests.arrivals.play import Player
from s3pq_dagster_tests.arrivals.small_days import Step, small_days
from s3pq_dagster_tests.arrivals.small_plays import played_by_loads, played_by_runs
from s3pq_dagster_tests.arrivals.verdict import Verdict, judge
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.proxy import Proxy
from s3pq_dagster_tests.servers import admin_client, use_credentials

WRITE_MODES = ("append", "replace", "mirror")
DRIFTING = tuple(f"{write}, {schema}" for write in WRITE_MODES for schema in ("evolve", "rescue"))
"""Days whose objects are in partitions that appear, in schemas that drift."""
PARTITIONED = tuple(f"{write}, evolve, partitions" for write in WRITE_MODES)
"""The same, where Dagster knows the partitions, and each range of them is a run of its own."""
PEERS = "peers"
SMALL = "small days"
Play = Callable[[Bucket, str, list[list[Step]]], dict[str, Any]]
"""Bucket, write mode and what happens to what is wrong then."""
_RELOADS = 4
_LOADS_A_RUN = 10
"""How many small days go through the load layer for each one through sensor and runs."""


def main() -> int:
    """Run the bench, or one part of it in this process."""
    arguments = _arguments()
    if arguments.part:
        return _part(arguments)
    started = time.monotonic()
    parts = [*WRITE_MODES, *DRIFTING, *PARTITIONED, *([] if arguments.no_peers else [PEERS])]
    parts += [SMALL] if arguments.small_days else []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = list(pool.map(_apart, parts))
    print(_heading(arguments, time.monotonic() - started))
    print(_table([score for part in found for score in part["scores"]]))
    print("".join(f"\n{said}\n" for part in found for said in part["said"]))
    problems = {part["part"]: part["problems"] for part in found if part["problems"]}
    if problems:
        print(json.dumps(problems, indent=2))
    return 1 if problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.arrivals", description=__doc__)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=4, help="of the simulated day")
    parser.add_argument("--every-seconds", type=int, default=300, help="from look to look")
    parser.add_argument("--tables", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2, help="parts side by side, a process each")
    parser.add_argument(
        "--small-days", type=int, default=100, help="days by Hypothesis, in each write mode"
    )
    parser.add_argument("--no-peers", action="store_true", help="only ours")
    parser.add_argument(
        "--part",
        choices=[*WRITE_MODES, *DRIFTING, *PARTITIONED, PEERS, SMALL],
        help=argparse.SUPPRESS,
    )
    return parser.parse_args()


def _apart(part: str) -> dict[str, Any]:
    """Run one part in its own process: each has a server, and one process has one Python lock."""
    command = [sys.executable, "-m", "bench.arrivals", *sys.argv[1:], "--part", part]
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=said, text=True)
        if not done.returncode:
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            print(f"{part} is done:", _table(found["scores"]), *found["said"], file=sys.stderr)
            return found
        said.seek(0)
        tail = "".join(said.readlines()[-40:])
    print(f"{part} ended with {done.returncode}:\n{tail}", file=sys.stderr)
    return {"part": part, "scores": [], "said": [], "problems": {"failed": [done.returncode]}}


def _part(arguments: argparse.Namespace) -> int:
    part: dict[str, Any] = {"part": arguments.part, "scores": [], "said": [], "problems": {}}
    with tempfile.TemporaryDirectory() as directory, _bucket(Path(directory)) as bucket:
        if arguments.part == SMALL:
            part["said"] = [_small_days(bucket, arguments)]
        elif arguments.part == PEERS:
            part["scores"], part["said"] = scores(_day(arguments), bucket)
        else:
            modes = arguments.part.split(", ")
            score, verdict = _ours(_day(arguments), bucket, Path(directory), modes)
            part["scores"], part["problems"] = [score], verdict.problems
    part["scores"] = [asdict(score) for score in part["scores"]]
    print(json.dumps(part, default=str), flush=True)
    return 0


def _day(arguments: argparse.Namespace) -> Day:
    day = make_day(
        arguments.seed,
        objects=arguments.objects,
        seconds=round(arguments.hours * 3600),
        every=arguments.every_seconds,
        tables=arguments.tables,
    )
    is_dated = arguments.part in PARTITIONED
    return drifting(day, dated=is_dated) if is_dated or arguments.part in DRIFTING else day


def _small_days(bucket: Bucket, arguments: argparse.Namespace) -> str:
    """Let Hypothesis generate days; a failure raises with the smallest day that fails."""
    examples = {
        played_by_loads: arguments.small_days,
        played_by_runs: max(1, arguments.small_days // _LOADS_A_RUN),
    }
    played = [
        sum(_made_up(play, bucket, mode, number, arguments.seed) for mode in WRITE_MODES)
        for play, number in examples.items()
    ]
    return (
        f"Small days by Hypothesis, in {len(WRITE_MODES)} write modes together: {played[0]} "
        f"through the load layer and {played[1]} through sensor and runs; all right."
    )


def _made_up(play: Play, bucket: Bucket, write_mode: str, examples: int, first: int) -> int:
    played = itertools.count()

    @seed(first)
    @settings(max_examples=examples, deadline=None, database=None)
    @given(looks=small_days(4))
    def one(looks: list[list[Step]]) -> None:
        assert play(bucket, write_mode, looks) == {}
        next(played)

    one()
    return next(played)


@contextmanager
def _bucket(directory: Path) -> Iterator[Bucket]:
    """Start a server whose ``LastModified`` can be set, and a proxy that counts requests."""
    os.environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(directory / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(directory / "aws-credentials"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "XDG_CACHE_HOME": str(directory / "cache"),
    }
    os.environ.pop("DAGSTER_HOME", None)
    use_credentials()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("dagster").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = admin_client(f"http://{host}:{port}")
    client.create_bucket(Bucket="lake")
    try:
        with Proxy(f"http://{host}:{port}") as proxy:
            yield Bucket("lake", client, proxy)
    finally:
        server.stop()


def _ours(day: Day, bucket: Bucket, directory: Path, modes: Sequence[str]) -> tuple[Score, Verdict]:
    write_mode, schema_mode = (*modes, "strict")[:2]
    layout = DATED if "partitions" in modes else None
    with dg.DagsterInstance.ephemeral() as instance:
        lake = Lake(bucket, instance, directory / "lake.duckdb")
        player = Player(
            bucket,
            day,
            SensorAndRuns(lake, write_mode, schema_mode, layout),
            reload_every=len(day.looks) // _RELOADS,
            mirror=write_mode == "mirror",
        )
        record = player.play()
        verdict = judge(player, lake.database, write_mode)
    held = list(record.sightings.held(write_mode))
    return Score(
        name=f"**s3pq_dagster, {', '.join([write_mode, schema_mode, *modes[2:]])}**",
        code=f"real: s3pq-dagster {version('s3pq-dagster')}",
        looks=record.looks,
        versions=len(held),
        lost=Verdict.objects(verdict.lost),
        duplicated=Verdict.objects(verdict.duplicated),
        re_read=len(verdict.re_read),
        note=f"{record.runs} runs; {sum(record.reads.values())} reads; "
        f"{record.explained.total()} versions changed between listing and reading",
    ), verdict


def _heading(arguments: argparse.Namespace, seconds: float) -> str:
    day = f"{arguments.objects} objects in {arguments.tables} tables over {arguments.hours:g} h"
    versions = ", ".join(f"{name} {version(name)}" for name in ("dagster", "duckdb", "moto"))
    return (
        f"{day}, a look every {arguments.every_seconds} s, seed {arguments.seed}; "
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}; "
        f"took {seconds:.0f} s\n"
    )


def _table(found: list[dict[str, Any]]) -> str:
    names = ["name", "code", "looks", "versions", "lost", "duplicated", "re_read", "note"]
    titles = ["who", "code", "looks", "versions", "lost", "duplicated", "re-read", "note"]
    lines = [titles, ["---"] * 2 + ["--:"] * 5 + ["---"]]
    lines += [[str(score[name]) for name in names] for score in found]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
