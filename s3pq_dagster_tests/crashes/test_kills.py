"""A run killed with SIGKILL leaves rows and ledger in agreement, and the next one completes it.

``python -m bench.crashes`` does it before and after every step of every scenario.
"""

from itertools import islice
from pathlib import Path

import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.crashes.held import Verdict
from s3pq_dagster_tests.crashes.scenarios import PARTITIONED, SCENARIOS, checkpoints
from s3pq_dagster_tests.crashes.steps import kills
from s3pq_dagster_tests.crashes.trial import Stage, moments
from s3pq_dagster_tests.crashes.watches import TELLING
from s3pq_dagster_tests.destinations.places import PLACES

pytestmark = pytest.mark.timeout(600)
thorough, nightly = pytest.mark.thorough, pytest.mark.nightly
SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}
RANDOM_KILLS = 2
HERE = [
    pytest.param("duckdb", "nothing new", marks=nightly),
    pytest.param("duckdb", "deleted, mirror", marks=nightly),
    pytest.param("duckdb", "overwritten, replace", marks=nightly),
    pytest.param("delta", "overwritten, replace", marks=nightly),
    pytest.param("delta", "columns grow", marks=nightly),
    pytest.param("postgres", "overwritten, replace", marks=nightly),
    pytest.param("parquet", "overwritten, replace", marks=nightly),
    *(pytest.param(kind, "columns grow", marks=nightly) for kind in PLACES if kind != "delta"),
    *(pytest.param(kind, "full refresh", marks=nightly) for kind in PLACES),
    *(pytest.param(kind, each.name, marks=nightly) for kind in PLACES for each in PARTITIONED),
]
"""Destination and scenario; the rest of them is `make bench-crashes`."""


def wrong(verdicts: list[Verdict]) -> list[Verdict]:
    """Return the trials that broke a promise."""
    return [verdict for verdict in verdicts if not verdict.is_right]


@nightly
@pytest.mark.parametrize("kind", PLACES)
def test_a_first_load_may_be_killed_after_each_kind_of_step(
    bucket: Bucket, moto: str, tmp_path: Path, kind: str
) -> None:
    """Nothing is lost, doubled or read again, with a large and a malformed object."""
    stage = Stage(SCENARIOS[0], bucket, moto, tmp_path, kind)
    steps = stage.steps()
    assert sum(name in TELLING[kind] for name in steps) >= 3  # two small, the large one, the rest
    verdicts = [stage.killed_at(kill) for kill in kills(dict.fromkeys(steps), after=True)]
    assert verdicts
    assert not wrong(verdicts)


@pytest.mark.parametrize(("kind", "name"), HERE)
def test_a_run_may_be_killed_where_others_begin_to_see_what_it_did(
    bucket: Bucket, moto: str, tmp_path: Path, kind: str, name: str
) -> None:
    """A run is killed after each commit, for every kind of change to loaded rows.

    Of a table with partitions, the event log sees each of them apart.
    """
    stage = Stage(SCENARIO[name], bucket, moto, tmp_path, kind)
    steps, telling = stage.steps(), (*TELLING[kind], "store ASSET_OBSERVATION")
    if stage.scenario.partitions:
        telling = (*telling, "store ASSET_MATERIALIZATION")
    verdicts = [stage.killed_at(kill) for kill in kills(steps, after=True) if kill.name in telling]
    assert verdicts
    assert not wrong(verdicts)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=thorough if k == "duckdb" else nightly) for k in PLACES]
)
def test_a_run_may_be_killed_at_any_moment(
    bucket: Bucket, moto: str, tmp_path: Path, kind: str
) -> None:
    """A sync of many checkpoints is killed; in the end each object's rows are there once."""
    stage = Stage(checkpoints(18), bucket, moto, tmp_path, kind)
    verdicts = map(stage.killed_after, moments(stage.seconds(), seed=1))
    died = [verdict for verdict in islice(verdicts, 2 * RANDOM_KILLS) if verdict is not None]
    assert died
    assert not wrong(died)
