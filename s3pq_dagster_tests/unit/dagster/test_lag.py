"""How far a table is behind, and when that is logged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from s3pq_dagster.dagster.lag import Lag, LagLog, pending, read_lag
from s3pq_dagster.dagster.sensor_cursor import Asked
from s3pq_dagster.dagster.sensor_decision import Candidate, LastLoad, LoggedLag
from s3pq_dagster.ledger import fingerprint, format_cursor
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.unit.made import NOON, listing, meta

A, B, LATE = meta("a"), meta("b", second=30), meta("late")
NOW = NOON.timestamp() + 3600
ASSET = dg.AssetSpec("t")


def candidate(
    listed: Listing, loaded: Listing | None, logged: LoggedLag | None = None
) -> Candidate:
    """Make a table of which something is loaded."""
    version = None if loaded is None else fingerprint(loaded)
    moments = [] if loaded is None else [each.last_modified for each in loaded]
    cursor = format_cursor(max(moments)) if moments else None
    last = LastLoad(version, cursor, None)
    return Candidate("t", listed, fingerprint(listed), last, Asked(), logged_lag=lambda: logged)


def keys(found: Listing | None) -> list[str] | None:
    """Return the keys of a listing."""
    return None if found is None else sorted(each.key for each in found)


def test_everything_is_pending_before_the_first_load() -> None:
    """No event tells of anything loaded."""
    assert keys(pending(candidate(listing(A, B), None), None)) == ["a", "b"]


def test_what_was_not_listed_when_all_was_loaded_is_pending() -> None:
    """Late and overwritten objects too, whatever their time."""
    before, overwritten = listing(A, B), meta("a", "v2")
    table = candidate(listing(overwritten, B, LATE), before)
    assert keys(pending(table, before)) == ["a", "late"]


def test_nothing_is_pending_of_the_listing_that_is_all_loaded() -> None:
    """The listing with which it was up to date is the present one."""
    listed = listing(A)
    assert keys(pending(candidate(listed, listing(A)), listed)) == []


@pytest.mark.parametrize("before", [None, listing(LATE)])
def test_after_a_restart_what_is_younger_than_the_cursor_is_pending(before: Listing | None) -> None:
    """A late object cannot be told then, nor by another listing than the loaded one."""
    assert keys(pending(candidate(listing(A, B, LATE), listing(A)), before)) == ["b"]
    assert pending(candidate(listing(A, LATE), listing(A)), before) is None


def test_the_numbers_count_objects_bytes_and_the_oldest_one() -> None:
    """An object from the future counts as one of now."""
    assert Lag.of(listing(A, B), NOW) == Lag(2, 20, 3600)
    assert Lag.of(listing(A), NOON.timestamp() - 5) == Lag(1, 10, 0)
    assert Lag.of(listing(), NOW) == Lag()


def test_an_event_is_read_as_it_was_written() -> None:
    """It has no data version, so that nothing counts as loaded by it."""
    event = Lag(2, 2048, 250).observation(dg.AssetKey("t"))
    assert read_lag(event, 5.0) == LoggedLag(is_pending=True, at=5.0)
    assert event.description == "2 objects, 2 KiB pending, the oldest for 4m10s"
    assert not event.tags
    assert read_lag(Lag().observation(dg.AssetKey("t")), 5.0) == LoggedLag(is_pending=False, at=5.0)
    assert read_lag(dg.AssetObservation("t", metadata={"s3pq/objects_pending": 1}), 5.0) is None


@dataclass
class Sensor:
    """A sensor that logs, and the event log that it reads."""

    log: LagLog = field(default_factory=LagLog)
    logged: list[LoggedLag] = field(default_factory=list)
    look_ups: int = 0

    def tick(self, listed: Listing, loaded: Listing | None, now: float = NOW) -> list[Any]:
        """Tick once; return objects, bytes and seconds of each event."""

        def look_up() -> LoggedLag | None:
            self.look_ups += 1
            return self.logged[-1] if self.logged else None

        complete: Mapping[str, Listing] = {}
        table = candidate(listed, loaded)
        if loaded is not None and fingerprint(loaded) == fingerprint(listed):
            complete = {"t": listed}
        elif loaded is not None:
            complete = {"t": loaded}
        known = Candidate("t", listed, table.fingerprint, table.last, Asked(), logged_lag=look_up)
        events = self.log.events([known], complete, {"t": ASSET}, now)
        found = [read_lag(event, now) for event in events]
        self.logged += [each for each in found if each is not None]
        return [[value.value for value in event.metadata.values()] for event in events]


def test_it_is_logged_when_it_becomes_and_when_it_ceases_to_be_zero() -> None:
    """Once each; a table that stays up to date costs no look-up after the first."""
    sensor = Sensor()
    assert sensor.tick(listing(A), listing(A)) == []
    assert sensor.tick(listing(A, B), listing(A)) == [[1, 10, 3570.0]]
    assert sensor.tick(listing(A, B), listing(A), NOW + 60) == []
    assert sensor.tick(listing(A, B), listing(A, B), NOW + 120) == [[0, 0, 0.0]]
    sensor.tick(listing(A, B), listing(A, B), NOW + 180)
    look_ups = sensor.look_ups
    for seconds in (240, 300):
        assert sensor.tick(listing(A, B), listing(A, B), NOW + seconds) == []
    assert sensor.look_ups == look_ups


def test_while_something_is_pending_it_is_logged_every_fifteen_minutes() -> None:
    """However often the sensor ticks, and also if the clock is set back."""
    sensor, seconds = Sensor(), range(0, 3600, 60)
    events = [sensor.tick(listing(A), None, NOW + second) for second in seconds]
    assert [second for second, found in zip(seconds, events, strict=True) if found] == [
        *(0, 900, 1800, 2700)
    ]
    assert sensor.tick(listing(A), None, NOW) != []


def test_a_zero_that_got_lost_is_logged_again() -> None:
    """The event log is asked until it has it."""
    sensor = Sensor()
    sensor.tick(listing(A), None)
    assert sensor.tick(listing(A), listing(A)) == [[0, 0, 0.0]]
    sensor.logged.pop()
    assert sensor.tick(listing(A), listing(A)) == [[0, 0, 0.0]]


def test_a_tick_logs_a_hundred_tables_and_the_next_one_the_others() -> None:
    """An event takes some 25 ms, and a tick a minute at most."""
    tables = [
        Candidate(f"t{n}", listing(A), "f", LastLoad(None, None, None), Asked()) for n in range(150)
    ]
    assets = {table.name: dg.AssetSpec(table.name) for table in tables}
    assert len(LagLog().events(tables, {}, assets, NOW)) == 100


def test_a_tick_looks_up_for_a_few_seconds_only() -> None:
    """Dagster gives up on a tick that takes long; the next one goes on."""
    sensor = Sensor(LagLog(seconds=0))
    assert sensor.tick(listing(A), None) == []
    sensor.log.seconds = 5
    assert len(sensor.tick(listing(A), None)) == 1
