"""Runs a load with one fault at one stage and rate, and judges the outcome."""

import time
from dataclasses import dataclass, field

from s3pq_dagster_tests.faults.engines import Engine, Failure
from s3pq_dagster_tests.faults.plan import LISTINGS_ONLY, Kind, Plan, Stage
from s3pq_dagster_tests.faults.proxy import PAGE
from s3pq_dagster_tests.faults.world import RANGES, World

RATES = (0.01, 0.2, 1.0)
_DEAD_SECONDS = 60
_MOST_SECONDS = 330
"""Four tries of a step, each with four tries of a body that stalls, and the pauses between."""

_BROKEN = {"BrokenAnswerError"}
_STORE = {"StoreError"}
_DEAD = {"StoreUnreachableError"}
_DENIED = {"AccessDeniedError"}
_EXPIRED = {"CredentialsError"}
_CHANGED = {"ObjectChangedError"}
_OF_LISTINGS: dict[Kind, set[str]] = {
    # botocore takes a listing that is no XML for a 500, and asks again.
    Kind.TRUNCATED: _STORE | _BROKEN,
    Kind.SHORT: _STORE | _BROKEN,
    Kind.SHORT_LENGTH: _STORE | _BROKEN,
    Kind.HTML: _STORE | _BROKEN,
    Kind.RESET_IN_BODY: _STORE | _BROKEN,
    Kind.STALLED: _DEAD,
    Kind.NO_HOST: _DEAD,
    Kind.NOT_FOUND: _STORE,
    Kind.TOKEN_REFUSED: _STORE,
    Kind.NO_TOKEN: _BROKEN,
    Kind.PAGE_AGAIN: _BROKEN,
    Kind.EMPTY_PAGE: {"EmptyListingError"},
    Kind.OVERWRITTEN: set(),
    # A flipped size or e_tag of a listing is noticed when the object is read; a flipped letter of
    # a key may give two prefixes one name.
    Kind.FLIPPED: _BROKEN | _CHANGED | _STORE | {"TableNameCollisionError", "TableNameError"},
    Kind.FLIPPED_SAME: _BROKEN | _CHANGED | _STORE | {"TableNameCollisionError", "TableNameError"},
}
_OF_ALL: dict[Kind, set[str]] = {
    Kind.INTERNAL_ERROR: _STORE,
    Kind.SLOW_DOWN: _STORE,
    Kind.TOO_MANY: _STORE,
    Kind.RESET_IN_HEADERS: _STORE,
    Kind.RESET_IN_BODY: _BROKEN | _STORE,
    Kind.GARBAGE: _STORE,
    Kind.TRUNCATED: _BROKEN,
    Kind.STALLED: _BROKEN,
    Kind.SLOW: set(),
    Kind.TOO_SLOW: _DEAD,
    Kind.SHORT_LENGTH: _BROKEN,
    Kind.SHORT: _BROKEN,
    Kind.FORBIDDEN: _DENIED,
    Kind.EXPIRED: _EXPIRED,
    Kind.OVERWRITTEN: _CHANGED,
    Kind.CHANGING: set(),
    Kind.HTML: _BROKEN,
    Kind.NOT_FOUND: _BROKEN,
    Kind.FLIPPED: _BROKEN,
    Kind.FLIPPED_SAME: _BROKEN,
}

_UNSEEN = {Kind.EMPTY_PAGE, Kind.FLIPPED, Kind.FLIPPED_SAME}
"""Faults that cannot be noticed in a listing, which has no checksum: objects and tables that are
missing from it are loaded by the next run."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, where it happens and how often."""

    kind: Kind
    stage: Stage
    rate: float
    seed: int

    @property
    def expected(self) -> set[str]:
        """The errors that the load may end in; an empty set means that it must succeed."""
        listing = _OF_LISTINGS if self.stage is Stage.LISTING else {}
        return listing.get(self.kind) or _OF_ALL.get(self.kind, set())

    def __str__(self) -> str:
        return f"{self.kind} at {self.stage}, {self.rate:.0%}"


@dataclass(slots=True)
class Outcome:
    """The outcome of a case."""

    case: Case
    hit: int = 0
    asked: int = 0
    ended: set[str] = field(default_factory=set)
    """Classes of the errors; empty when the load succeeded."""
    seconds: float = 0.0
    """Duration of discovery and load under the fault."""
    wrong: list[str] = field(default_factory=list)
    """Promises that did not hold."""

    @property
    def result(self) -> str:
        return ", ".join(sorted(self.ended)) or "right"


def all_cases(seed: int) -> list[Case]:
    """Return all combinations of fault, stage and rate."""
    cases = []
    for kind in Kind:
        stages = [Stage.LISTING] if kind in LISTINGS_ONLY | {Kind.NO_HOST} else list(Stage)
        rates = (1.0,) if kind is Kind.NO_HOST else RATES
        cases += [Case(kind, stage, rate, seed) for stage in stages for rate in rates]
    return cases


def run_case(case: Case, world: World, engine: Engine) -> Outcome:
    """Load under a fault, judge the table, lift the fault and load again."""
    outcome = Outcome(case)
    expected = _prepare(case, world, engine, outcome)
    plan = Plan(case.kind, case.stage, case.rate, case.seed, _certain(case), expected)
    before = world.rows()
    world.proxy.change = world.overwrite if case.kind is Kind.OVERWRITTEN else world.add_and_delete
    world.proxy.plan = plan
    world.elsewhere = "http://no-such-host.invalid" if case.kind is Kind.NO_HOST else None
    started = time.monotonic()
    plan.discovering = True
    failures = _discover(engine, outcome, set(world.tables))
    plan.discovering = False
    if not failures:
        failures = list(engine.load().values())
    outcome.seconds = time.monotonic() - started
    outcome.hit, outcome.asked = plan.hit, plan.asked
    _judge(outcome, failures, world, before)
    world.proxy.lift()
    world.elsewhere = None
    _run_again(outcome, world, engine)
    return outcome


def _prepare(case: Case, world: World, engine: Engine, outcome: Outcome) -> int:
    """Prepare the bucket for the fault; return about how many requests it may hit."""
    world.fill(1)
    if case.stage is Stage.LISTING:  # so that there are rows that a wrong listing might remove
        failed = engine.discover() or engine.load()
        if failed or not world.is_right():
            outcome.wrong.append(f"the load before failed: {failed}")
    world.fill(2)
    if case.stage in (Stage.DATA, Stage.RANGES) and (undiscovered := engine.discover()):
        outcome.wrong.append(f"the discovery before failed: {undiscovered}")
    world.proxy.forget()
    large = sum(key.startswith("large/") for key in world.now)
    return {
        Stage.LISTING: 2 * -(-len(world.now) // PAGE),  # discovery lists, and so does the run
        Stage.FOOTER: len(world.tables),
        Stage.DATA: len(world.now) - large,
        Stage.RANGES: large * RANGES,
    }[case.stage]


def _certain(case: Case) -> str:
    return {
        Stage.LISTING: "",
        Stage.FOOTER: "many/1-0.parquet",
        Stage.DATA: "many/2-1.parquet",
        Stage.RANGES: "large/2-plain.parquet",
    }[case.stage]


def _discover(engine: Engine, outcome: Outcome, tables: set[str]) -> list[Failure]:
    case, failed = outcome.case, engine.discover()
    short = case.kind in _UNSEEN and case.stage is Stage.LISTING
    if not failed and engine.tables != tables and not short:
        outcome.wrong.append(f"tables are {sorted(engine.tables)}")
    return [failed] if failed else []


def _judge(
    outcome: Outcome, failures: list[Failure], world: World, before: dict[str, list[int]]
) -> None:
    case, wrong = outcome.case, outcome.wrong
    outcome.ended = {failure.error for failure in failures}
    if case.stage is Stage.FOOTER and failures:
        wrong.append("a footer failed the table")
    if unexpected := outcome.ended - case.expected:
        wrong.append(f"ended in {unexpected}: {failures[0].message[:300]}")
    for failure in failures:
        limit = _DEAD_SECONDS if failure.error in _DEAD else _MOST_SECONDS
        if failure.seconds > limit:
            wrong.append(f"{failure.error} after {failure.seconds:.0f} s")
    if not outcome.hit and case.kind is not Kind.NO_HOST:
        wrong.append("nothing was hit")
    wrong += world.disagreements()
    wrong += _lost(outcome, world, before)
    wrong += _set_aside(case, world)
    if world.quarantined():
        outcome.ended.add("quarantined")


def _lost(outcome: Outcome, world: World, before: dict[str, list[int]]) -> list[str]:
    """Check that no rows were lost, and that a load that succeeded loaded everything."""
    rows = world.rows()
    if gone := [key for key in before if key in world.now and key not in rows]:
        return [f"rows of {gone[:3]} went"]
    late = outcome.case.stage is Stage.LISTING and outcome.case.kind in _UNSEEN
    changing = outcome.case.kind in (Kind.OVERWRITTEN, Kind.CHANGING)
    set_aside = bool(world.quarantined())
    if outcome.ended or changing or set_aside or world.is_right():
        return []
    outcome.ended = {"later"} if late else set()
    return [] if late else ["it ended well and not all rows are there"]


def _set_aside(case: Case, world: World) -> list[str]:
    """Check that no object is quarantined but those that came with the same fault each time."""
    found = world.quarantined()
    if case.kind is Kind.FLIPPED_SAME and case.stage in (Stage.DATA, Stage.RANGES):
        found = {key: why for key, why in found.items() if not _came_the_same(key, why)}
    return [f"{key} is set aside: {why}" for key, why in found.items()]


def _came_the_same(key: str, reason: str) -> bool:
    """Return whether the fault looks like a damaged object, as the reason for it says."""
    return "verify_e_tags" in reason or "multi" in key


def _run_again(outcome: Outcome, world: World, engine: Engine) -> None:
    """Check that a run without the fault succeeds, and reads no committed object again."""
    committed = world.loaded()
    set_aside = bool(world.quarantined())
    world.proxy.forget()
    failed = engine.discover() or engine.load(retry_quarantined=set_aside)
    if failed:
        outcome.wrong.append(f"the run after failed: {failed}")
    if not world.is_right():
        outcome.wrong.append("rows are wrong after the run after")
    outcome.wrong += world.disagreements()
    now = {key for key, e_tag in committed if world.now.get(key) == world.versions[key, e_tag]}
    reads = {r.key for r in world.proxy.object_reads if r.key in now and _is_data(r.range)}
    if reads:
        outcome.wrong.append(f"read again: {sorted(reads)[:3]}")


def _is_data(asked: str | None) -> bool:
    """Return whether a read is for data; one for a footer starts within the object."""
    return asked is None or asked.startswith("bytes=0-")
