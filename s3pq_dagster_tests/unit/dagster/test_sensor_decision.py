"""Which tables have something to load, decided on values."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from s3pq_dagster.dagster.sensor_cursor import Asked
from s3pq_dagster.dagster.sensor_decision import (
    Candidate,
    Decision,
    LastFailure,
    LastLoad,
    NotLoaded,
)
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.unit.made import listing, meta

A, B, C = meta("a"), meta("b"), meta("c")
NOTHING = listing()


@dataclass
class Sensor:
    """A table's sensor: what it remembers from tick to tick."""

    mirror: bool = False
    running: set[str] = field(default_factory=set)
    asked: Asked = field(default_factory=Asked)
    last_complete: dict[str, Listing] = field(default_factory=dict)
    now: float = 1000.0
    reported_at: float | None = None
    verify_interval: float = 0
    verified: dict[str, float] = field(default_factory=dict)
    look_ups: int = 0

    def look_up(self, _since: float) -> float | None:
        """Answer when the table was last reported."""
        self.look_ups += 1
        return self.reported_at

    def tick(
        self, listed: Listing, loaded: Listing | None, run_id: str | None = None
    ) -> tuple[str, str]:
        """Decide once; return ``"up to date"``, ``"due"`` or ``"not now"``, and the summary."""
        decision = Decision(
            now=self.now,
            is_in_flight=self.running.__contains__,
            last_complete=self.last_complete,
            verify_interval=self.verify_interval,
            verified=self.verified,
        )
        last = LastLoad(None if loaded is None else fingerprint(loaded), None, run_id)
        facts = fingerprint(listed), last, self.asked, self.look_up
        decision.add(Candidate("t", listed, *facts, mirror=self.mirror))
        state = "due" if decision.due else "up to date" if decision.up_to_date else "not now"
        return state, decision.summary(tables=1, not_loaded=NotLoaded(), cursors={})


@pytest.mark.parametrize(
    ("listed", "loaded", "state"),
    [
        (listing(A, B), listing(A, B), "up to date"),
        (listing(A, B), listing(A), "due"),
        (listing(A), None, "due"),
        (NOTHING, None, "up to date"),
    ],
)
def test_a_table_is_due_if_its_listing_is_not_all_loaded(
    listed: Listing, loaded: Listing | None, state: str
) -> None:
    """A table that was never loaded is due if it has objects."""
    assert Sensor().tick(listed, loaded)[0] == state


def test_a_deletion_after_everything_was_loaded_needs_no_run() -> None:
    """The sensor remembers the listing that was all loaded, and the deletions it has accepted."""
    sensor = Sensor()
    assert sensor.tick(listing(A, B, C), listing(A, B, C))[0] == "up to date"
    assert sensor.tick(listing(A, B), listing(A, B, C))[0] == "up to date"
    assert sensor.tick(listing(A), listing(A, B, C))[0] == "up to date"
    sensor.last_complete.clear()  # as after a restart, with the cursor kept
    assert sensor.tick(listing(A), listing(A, B, C))[0] == "up to date"


def test_a_deletion_needs_a_run_if_the_sensor_knows_nothing() -> None:
    """Without a listing that was all loaded, a deletion could hide a new object."""
    assert Sensor().tick(listing(A), listing(A, B))[0] == "due"


@pytest.mark.parametrize(("at", "attempts"), [(990.0, 0), (500.0, 1), (2000.0, 1), (None, 1)])
def test_a_request_is_remembered_until_a_run_has_reported_it(
    at: float | None, attempts: int
) -> None:
    """A report from before it, or from the future as after a clock was set back, says nothing."""
    asked = Asked()
    asked.ask("f", now=900.0)
    decision = Decision(now=1000.0, is_in_flight=lambda _run: False, last_complete={})
    decision.add(Candidate("t", listing(A), "f", LastLoad("f", None, None, at), asked))
    assert (decision.up_to_date, asked.attempts) == (1, attempts)


def test_accepted_deletions_are_forgotten_with_what_they_were_compared_with() -> None:
    """Something else was loaded since."""
    sensor = Sensor()
    sensor.tick(listing(A, B), listing(A, B))
    sensor.tick(listing(A), listing(A, B))
    assert sensor.asked.accepted is not None
    sensor.tick(listing(A, C), listing(A, C))
    assert sensor.asked == Asked()


def test_a_new_object_is_not_hidden_by_a_deletion() -> None:
    """An object that was not there before is pending, whatever else was deleted."""
    sensor = Sensor()
    sensor.tick(listing(A, B), listing(A, B))
    assert sensor.tick(listing(A, C), listing(A, B))[0] == "due"
    assert sensor.tick(listing(meta("a", "v2")), listing(A, B))[0] == "due"


def test_a_deletion_is_not_accepted_for_another_data_version() -> None:
    """If something else was loaded since, the remembered listing says nothing."""
    sensor = Sensor()
    sensor.tick(listing(A, B), listing(A, B))
    assert sensor.tick(listing(A), listing(C))[0] == "due"


def test_a_mirror_is_due_after_a_deletion_and_never_for_an_empty_listing() -> None:
    """A mirror removes rows, but an empty listing would remove them all."""
    sensor = Sensor(mirror=True)
    sensor.tick(listing(A, B), listing(A, B))
    assert sensor.tick(listing(A), listing(A, B))[0] == "due"
    state, summary = sensor.tick(NOTHING, listing(A, B))
    assert state == "not now"
    assert "listing empty, nothing removed without allow_empty_listing: t" in summary


def test_a_run_in_flight_and_a_backoff_are_waited_for() -> None:
    """The summary says which of them it is."""
    sensor = Sensor(running={"run-of-the-table"})
    state, summary = sensor.tick(listing(A), None, "run-of-the-table")
    assert (state, "run in flight: t (run run-of-t)" in summary) == ("not now", True)
    sensor.asked.ask(fingerprint(listing(A)), now=990.0)
    state, summary = sensor.tick(listing(A), None, "a run that has ended")
    assert (state, "backing off: t (attempt 1 failed, next in 50 s)" in summary) == (
        "not now",
        True,
    )


def test_a_summary_names_ten_tables_and_counts_the_rest() -> None:
    """A bucket may have thousands of tables, and a skip reason is one line."""
    decision = Decision(now=0.0, is_in_flight=lambda _run: False, last_complete={})
    for number in range(12):
        table = Candidate(f"t{number}", listing(A), "f", LastLoad(None, None, None), Asked())
        decision.add(table)
    summary = decision.summary(tables=12, not_loaded=NotLoaded(), cursors={"a cursor": "a time"})
    assert "something to load: t0, t1," in summary
    assert "t9 and 2 more" in summary
    assert "cursor" not in summary


def test_a_summary_begins_with_what_is_not_loaded() -> None:
    """Until it is: that something else is to be loaded, or nothing, comes behind it."""
    lacking = NotLoaded(["new"] * 11, ["table 'A / a' would come from prefixes 'A/', 'a/'"])
    decision = Decision(now=0.0, is_in_flight=lambda _run: False, last_complete={})
    for _ in range(2):
        summary = decision.summary(tables=1, not_loaded=lacking, cursors={})
        assert summary.startswith(
            "not loaded: not in the definitions yet, reload the code location: new, new, "
        )
        assert "and 1 more; table 'A / a' would come from prefixes 'A/', 'a/'; 0 of 1" in summary
        decision.add(Candidate("t", listing(A), "f", LastLoad(None, None, None), Asked()))
    only = NotLoaded(problems=["a problem"])
    assert decision.summary(tables=1, not_loaded=only, cursors={}).startswith(
        "not loaded: a problem; 0 of 1 tables"
    )


DAY = 86_400.0


def test_a_table_that_is_long_up_to_date_is_verified() -> None:
    """Once no run has reported it for the interval, one is requested to ask the ledger."""
    sensor = Sensor(now=10 * DAY, reported_at=10 * DAY - 5, verify_interval=DAY)
    assert sensor.tick(listing(A), listing(A))[0] == "up to date"
    sensor.now += DAY - 10
    assert sensor.tick(listing(A), listing(A))[0] == "up to date"
    assert sensor.look_ups == 1
    sensor.now += 10
    state, summary = sensor.tick(listing(A), listing(A))
    assert state == "due"
    assert "1 of 1 tables up to date" in summary
    assert "to be verified by the ledger: t" in summary
    sensor.reported_at = sensor.now
    assert sensor.tick(listing(A), listing(A))[0] == "up to date"


@pytest.mark.parametrize(("interval", "loaded"), [(0, listing(A)), (DAY, None)])
def test_some_tables_are_never_verified(interval: float, loaded: Listing | None) -> None:
    """An interval of 0 turns it off, and a table that was never loaded has no ledger to ask."""
    sensor = Sensor(now=10 * DAY, reported_at=0.0, verify_interval=interval)
    assert sensor.tick(loaded or NOTHING, loaded)[0] == "up to date"
    assert not sensor.look_ups


def test_a_report_from_the_future_puts_no_verification_off() -> None:
    """The clock was set back by years; the table is verified after the interval all the same."""
    sensor = Sensor(now=10 * DAY, reported_at=1000 * DAY, verify_interval=DAY)
    assert sensor.tick(listing(A), listing(A))[0] == "up to date"
    sensor.now = 5 * DAY
    assert sensor.tick(listing(A), listing(A))[0] == "up to date"
    sensor.now = 6 * DAY
    assert sensor.tick(listing(A), listing(A))[0] == "due"


def test_a_verification_is_not_requested_twice_for_one_run() -> None:
    """A run in flight is waited for, and one that failed is followed by another with backoff."""
    sensor = Sensor(now=10 * DAY, reported_at=0.0, verify_interval=DAY, running={"r"})
    state, summary = sensor.tick(listing(A), listing(A), "r")
    assert state == "up to date"
    assert "run in flight: t" in summary
    sensor.running.clear()
    sensor.asked.ask(fingerprint(listing(A)), sensor.now)
    assert "backing off: t" in sensor.tick(listing(A), listing(A), "r")[1]


def test_verifications_that_succeed_do_not_put_each_other_off() -> None:
    """However short the interval is: only requests without a report after them count as failed."""
    sensor = Sensor(now=10 * DAY, reported_at=10 * DAY, verify_interval=600)
    for _ in range(20):
        assert sensor.tick(listing(A), listing(A))[0] == "up to date"
        sensor.now += 600
        assert sensor.tick(listing(A), listing(A))[0] == "due"
        sensor.asked.ask(fingerprint(listing(A)), sensor.now)
        assert sensor.asked.attempts == 1
        sensor.reported_at = sensor.now = sensor.now + 5


def test_a_verification_that_fails_for_good_is_not_requested_again() -> None:
    """As with a load: not until objects, definitions or configuration change."""
    failure = LastFailure("LedgerVersionError", lasting=True, listing="f", settings="s")
    for settings, is_due in (("s", False), ("another", True), (None, True)):
        decision = Decision(
            now=10 * DAY, is_in_flight=lambda _run: False, last_complete={}, verify_interval=DAY
        )
        facts = LastLoad("f", None, None), Asked(), lambda _since: 0.0
        conditions = partial(lambda known: ("f", known), settings)
        decision.add(
            Candidate("t", listing(A), "f", *facts, failure=lambda: failure, conditions=conditions)
        )
        assert bool(decision.due) is is_due
        summary = decision.summary(tables=1, not_loaded=NotLoaded(), cursors={})
        assert ("failing until" in summary) is not is_due


def test_a_summary_begins_with_what_fails() -> None:
    """Before what is not loaded, and before the counts; each with the name of its error."""
    decision = Decision(now=1000.0, is_in_flight=lambda _run: False, last_complete={})
    never = LastLoad(None, None, None)
    last = LastFailure("SchemaMismatchError", lasting=True, listing="f", settings="s")
    for_now = LastFailure("AccessDeniedError", lasting=False, listing="f", settings="s")
    asked = Asked("f", 1, 990.0)
    found: dict[str, Any] = {"failure": lambda: for_now, "conditions": lambda: ("f", "s")}
    decision.add(Candidate("ok", listing(A), "f", LastLoad("f", None, None), Asked()))
    decision.add(Candidate("waits", listing(A), "f", never, asked, **found))
    decision.add(Candidate("again", listing(A), "f", never, Asked(), **found))
    decision.add(
        Candidate("bad", listing(A), "f", never, Asked(), **found | {"failure": lambda: last})
    )
    summary = decision.summary(tables=4, not_loaded=NotLoaded(["new"]), cursors={})
    assert summary.split("; ") == [
        "failing until objects, definitions or configuration change: bad (SchemaMismatchError)",
        "failing, backing off: waits (attempt 1 failed, next in 50 s: AccessDeniedError)",
        "failed before, tried again: again (AccessDeniedError)",
        "not loaded: not in the definitions yet, reload the code location: new",
        "1 of 4 tables up to date, 4 objects listed",
        "something to load: again",
    ]
