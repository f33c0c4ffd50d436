"""Under faults between the package and S3, a load succeeds or ends in the right error."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bench.faults import PLAIN
from s3pq_dagster_tests.faults.cases import Case, Outcome, all_cases, run_case
from s3pq_dagster_tests.faults.engines import Parts
from s3pq_dagster_tests.faults.plan import Kind, Stage
from s3pq_dagster_tests.faults.proxy import FaultyProxy
from s3pq_dagster_tests.faults.world import World
from s3pq_dagster_tests.servers import admin_client

SEED = 1
LONG = {Kind.STALLED, Kind.TOO_SLOW, Kind.NO_HOST}
"""Faults of ten seconds and more, which `bench/faults.py` tries at every stage and rate."""
FEW = [
    Case(Kind.FLIPPED, Stage.RANGES, 0.2, SEED),
    Case(Kind.SLOW_DOWN, Stage.DATA, 0.2, SEED),
]
"""One spoilt body, and one answer that asks to slow down."""
MORE = [
    Case(Kind.HTML, Stage.FOOTER, 1.0, SEED),
    Case(Kind.TRUNCATED, Stage.RANGES, 0.2, SEED),
    Case(Kind.INTERNAL_ERROR, Stage.FOOTER, 1.0, SEED),
    Case(Kind.FLIPPED_SAME, Stage.RANGES, 1.0, SEED),
    Case(Kind.OVERWRITTEN, Stage.RANGES, 0.2, SEED),
    Case(Kind.STALLED, Stage.DATA, 0.01, SEED),
    Case(Kind.FLIPPED, Stage.DATA, 0.2, SEED),
]
_numbers = count()


def outcomes(cases: list[Case], endpoint: str, home: Path) -> list[Outcome]:
    """Run cases concurrently, since they mostly wait."""
    client = admin_client(endpoint, config=PLAIN)

    def run(case: Case) -> Outcome:
        bucket = f"faults-{next(_numbers)}"
        client.create_bucket(Bucket=bucket)
        with FaultyProxy(endpoint) as proxy:
            proxy.slow_seconds = 0.2
            world = World(bucket, client, proxy, home / f"{bucket}.duckdb", **SMALL)
            return run_case(case, world, Parts(world, saves=case.stage is Stage.FOOTER))

    with ThreadPoolExecutor(len(cases)) as pool:
        found = list(pool.map(run, cases))
    client.close()
    return found


SMALL: dict[str, Any] = {"tables": ("large", "many"), "small": 2, "concurrency": 2}


def wrong(found: list[Outcome]) -> dict[str, list[str]]:
    """Return the promises that did not hold, by case."""
    return {str(outcome.case): outcome.wrong for outcome in found if outcome.wrong}


def chosen(stage: Stage, rate: float) -> list[Case]:
    """Return every fault of a stage at a rate, except those that take long."""
    return [
        case
        for case in all_cases(SEED)
        if (case.stage, case.rate) == (stage, rate) and case.kind not in LONG
    ]


@pytest.mark.nightly
@pytest.mark.parametrize(("stage", "rate"), [(Stage.DATA, 0.2), (Stage.LISTING, 1.0)])
def test_a_fault_ends_right_or_in_the_right_error(
    moto: str, tmp_path: Path, stage: Stage, rate: float
) -> None:
    """Rows and ledger agree, no good object is quarantined, and the next run loads all."""
    assert wrong(outcomes(chosen(stage, rate), moto, tmp_path)) == {}


@pytest.mark.parametrize("cases", [pytest.param(MORE, marks=pytest.mark.thorough), FEW])
def test_a_fault_elsewhere_ends_right_or_in_the_right_error(
    moto: str, tmp_path: Path, cases: list[Case]
) -> None:
    """The same holds for footers, for ranges of large objects, and for a stalled answer."""
    assert wrong(outcomes(cases, moto, tmp_path)) == {}


@pytest.mark.thorough
def test_which_requests_are_hit_follows_from_the_seed(moto: str, tmp_path: Path) -> None:
    """Two runs of a case break the same number of requests."""
    case = Case(Kind.INTERNAL_ERROR, Stage.DATA, 0.2, SEED)
    one, other = outcomes([case, case], moto, tmp_path)
    assert (one.hit, one.asked) == (other.hit, other.asked)
