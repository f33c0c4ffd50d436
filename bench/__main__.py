"""Time this package against alternatives: the same objects into the same destination.

A table goes to standard output and, with ``--docs``, into docs/speed.md; what happens goes to
standard error. Objects and results are kept in ``.bench``, so that works may be run one by one.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import report
from bench.contest import (
    CONTENDERS,
    DAGSTER,
    FILES,
    HIVE_READERS,
    LONG_BATCHES,
    OURS,
    Contender,
    Contest,
    Score,
)
from bench.environments import ROOT
from bench.memory import Huge
from bench.network import Network, network
from bench.standing import Standing, wall
from bench.workloads import BIG, HIVE, SMALL, TINY, WIDE, Workload
from s3pq_dagster_tests.servers import seaweedfs, use_credentials

KEPT = ROOT / ".bench"
_ALL = (*CONTENDERS, LONG_BATCHES)
_LATENCY_SECONDS = 0.03


def main() -> int:
    """Run the chosen works, and report these and all earlier results."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--work", choices=list(_WORKS), action="append", help="default: all")
    parser.add_argument("--contender", choices=[c.module for c in _ALL], action="append")
    parser.add_argument("--times", type=int, default=3, help="runs of each contender")
    parser.add_argument("--limit", type=float, default=600, help="seconds of a run, at most")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/speed.md")
    parser.add_argument("--into", type=Path, help="write the table into another document")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    parser.add_argument("--directory", type=Path, default=KEPT, help="where things are kept")
    asked = parser.parse_args()
    asked.directory.mkdir(exist_ok=True)
    use_credentials()
    if not asked.report_only:
        chosen = [c for c in _ALL if not asked.contender or c.module in asked.contender]
        _run(asked.work or list(_WORKS), chosen, asked)
    table = report.table(_kept(asked.directory))
    print(table)
    if asked.docs:
        report.into(ROOT / "docs" / "speed.md", table)
    if asked.into:
        report.into(asked.into, table)
    return 0


def _run(works: Sequence[str], chosen: Sequence[Contender], asked: argparse.Namespace) -> None:
    with seaweedfs(asked.directory / "seaweedfs") as server, network(server) as way:
        for work in works:
            ground = _Ground(server, way, chosen, asked.directory, asked.times, asked.limit)
            _keep(asked.directory, work, _WORKS[work](ground))


@dataclass(frozen=True, slots=True)
class _Ground:
    """The bucket, files and network that a work uses."""

    server: str
    network: Network
    chosen: Sequence[Contender]
    directory: Path
    times: int
    limit_seconds: float


def _contest(
    workload: Workload, latency_seconds: float, among: Sequence[Contender] = CONTENDERS
) -> Callable[[_Ground], list[Score]]:
    def play(ground: _Ground) -> list[Score]:
        files = workload.prepare(ground.directory, ground.server)
        contest = Contest(
            workload, files, ground.network, latency_seconds, ground.times, ground.limit_seconds
        )
        return contest.play([contender for contender in among if contender in ground.chosen])

    return play


def _standing(ground: _Ground) -> Standing:
    return Standing(ground.directory, ground.server, ground.network)


_WORKS: dict[str, Callable[[_Ground], list[Score]]] = {
    "big": _contest(BIG, 0, _ALL),
    "small-0ms": _contest(SMALL, 0),
    "small-30ms": _contest(SMALL, _LATENCY_SECONDS),
    "tiny": _contest(TINY, _LATENCY_SECONDS),
    "hive-0ms": _contest(HIVE, 0, HIVE_READERS),
    "hive-30ms": _contest(HIVE, _LATENCY_SECONDS, HIVE_READERS),
    "idle": lambda ground: _standing(ground).idle(ground.times),
    "drip": lambda ground: _standing(ground).drip(ground.times),
    "wide": _contest(WIDE, 0, (OURS, DAGSTER, FILES)),
    "huge": lambda g: Huge(g.directory, g.server, g.network).scores(g.times),
    "wall": lambda ground: wall(ground.directory, ground.times),
}


def _keep(directory: Path, work: str, scores: list[Score]) -> None:
    """Store scores, replacing earlier ones of the same contenders."""
    path = directory / "results" / f"{work}.json"
    path.parent.mkdir(exist_ok=True)
    kept = {(score.work, score.name): score for score in [*_read(path), *scores]}
    path.write_text(json.dumps([score.as_json() for score in kept.values()], indent=1))


def _kept(directory: Path) -> list[Score]:
    paths = [directory / "results" / f"{work}.json" for work in _WORKS]
    return [score for path in paths for score in _read(path)]


def _read(path: Path) -> list[Score]:
    if not path.exists():
        return []
    places = {contender.name: number for number, contender in enumerate(_ALL)}
    scores = [Score.of_json(found) for found in json.loads(path.read_text())]
    return sorted(scores, key=lambda score: places.get(score.name, 0))


if __name__ == "__main__":
    sys.exit(main())
