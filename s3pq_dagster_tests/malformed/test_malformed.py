"""Whatever an object holds, it gives the right rows or is quarantined with a reason."""

import pytest

from s3pq_dagster_tests.malformed.bombs import BOMBS, BOUND
from s3pq_dagster_tests.malformed.harness import Result, run_cases
from s3pq_dagster_tests.malformed.judge import QUARANTINED, REFUSED, RIGHT

MUTATIONS = 150
FEW_MUTATIONS = 25
SEED = 3
SLOW = {
    "a long value repeated by a dictionary",
    "a long prefix repeated",
    "a dictionary that arrow would keep",
}
"""Bombs that stream for seconds, as ``a column in one run`` does in less."""
BOUNDS = {
    "a cell of zeros in zstd": "max_decoded_bytes",
    "a list of very many values": "max_decoded_bytes",
    "very many remarks": "max_decoded_bytes",
    "rows without end": "max_decode_seconds",
}
"""The field that bounds each of some bombs."""
ALLOWED = {RIGHT, QUARANTINED, REFUSED}


def is_thorough(config: pytest.Config) -> bool:
    """Return whether the tests marked ``thorough`` are run."""
    return bool(config.getoption("--thorough") or config.getoption("--nightly"))


def how_many(config: pytest.Config) -> int:
    """Return how many files are damaged."""
    return MUTATIONS if is_thorough(config) else FEW_MUTATIONS


@pytest.fixture(scope="module")
def mutated(pytestconfig: pytest.Config) -> list[Result]:
    """Read damaged files in a worker process."""
    cases = [{"seed": SEED, "number": number} for number in range(how_many(pytestconfig))]
    return list(run_cases(cases))


@pytest.fixture(scope="module")
def exploded(pytestconfig: pytest.Config) -> dict[str, Result]:
    """Read every bomb in a worker process; the slow ones in a thorough run only."""
    left_out = set() if is_thorough(pytestconfig) else SLOW
    results = run_cases([{"bomb": name} for name in BOMBS if name not in left_out])
    return {result.case["bomb"]: result for result in results}


def test_a_damaged_object_is_quarantined_or_its_rows_are_right(
    mutated: list[Result], pytestconfig: pytest.Config
) -> None:
    """No damage crashes or hangs a run, or makes rows that pyarrow would not read."""
    assert [result for result in mutated if result.verdict.outcome not in ALLOWED] == []
    assert len(mutated) == how_many(pytestconfig)


def test_damage_is_found_and_harmless_damage_is_not(mutated: list[Result]) -> None:
    """Some damage quarantines and some does not; else the test above would show nothing."""
    outcomes = {result.verdict.outcome for result in mutated}
    assert outcomes >= {RIGHT, QUARANTINED}


def test_what_is_quarantined_has_a_reason(mutated: list[Result]) -> None:
    """Each quarantined file has a reason, for whoever repairs it."""
    reasons = [r.verdict.detail for r in mutated if r.verdict.outcome == QUARANTINED]
    assert all(reasons)


def test_a_damaged_object_stays_within_the_memory_bound(mutated: list[Result]) -> None:
    """The run's process grows by no more than `max_decoded_bytes`, whatever is read."""
    assert [result for result in mutated if result.verdict.peak > BOUND] == []


def test_a_bomb_is_quarantined_or_streams(exploded: dict[str, Result]) -> None:
    """A bomb is quarantined if it exceeds the bounds; otherwise all its rows are read.

    Whether it is refused or streams, the run's process grows by no more than the bound.
    """
    for name, result in exploded.items():
        wanted = QUARANTINED if BOMBS[name].rows is None else RIGHT
        assert result.verdict.outcome == wanted, result
        assert result.verdict.peak <= BOUND, result


@pytest.mark.thorough
def test_the_reason_names_the_bound(exploded: dict[str, Result]) -> None:
    """The reason names the field to raise, for users who have the memory or the time."""
    for name, field in BOUNDS.items():
        assert field in exploded[name].verdict.detail
