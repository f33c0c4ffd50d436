"""A planned day: which objects appear when, and with which LastModified."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum

import pyarrow as pa

from s3pq_dagster_tests.buckets import parquet

LISTED_AFTER_SECONDS = 5
"""Seconds from the sensor's listing to that of the run it requests."""
READ_AFTER_SECONDS = 15
"""Seconds from the sensor's listing to the first byte that the run reads of a table."""
LARGE_BYTES = 4096
"""Objects above this size are spooled and read in ranges."""
_LARGE_ROWS = 2_000
_QUIET_LOOKS = 3
"""The number of looks at the end of a day, when nothing happens any more."""


FIRST_DATE = date(2024, 1, 1)
"""The partition of the first hour, where partitions are dates."""


class Form(StrEnum):
    """How an object is uploaded."""

    PLAIN = "plain"
    MULTIPART = "multipart"
    """A multipart upload: its e_tag is no MD5, and S3 stamps it when it is initiated."""
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Content:
    """One version of one object; its rows say which version they belong to."""

    number: int
    version: int
    rows: int
    form: Form = Form.PLAIN
    drifts: bool = False
    """Whether its columns are those of few other objects; see :attr:`extra`."""

    @property
    def extra(self) -> str | None:
        """Return the value of the column that a third of drifting objects have beside others."""
        return f"of {self.number}" if self.drifts and self.number % 3 == 1 else None

    @property
    def is_good(self) -> bool:
        return self.form is not Form.MALFORMED

    @property
    def body(self) -> bytes:
        """Return the bytes; equal content has equal bytes, and other content has others."""
        if not self.is_good:
            return f"not Parquet: object {self.number}, version {self.version}".encode()
        columns = {
            "object": pa.array([self.number] * self.rows, pa.int64()),
            "version": pa.array([self.version] * self.rows, pa.int64()),
            "row": pa.array(range(self.rows), pa.int64()),
        }
        if self.drifts:
            kinds = (pa.int64(), pa.int16(), pa.float64(), pa.uint32())
            columns["row"] = columns["row"].cast(kinds[self.number % len(kinds)])
        if self.extra is not None:
            columns["extra"] = pa.array([self.extra] * self.rows, pa.string())
        if self.drifts and not self.number % 4:
            del columns["version"]
            columns["VERSION"] = pa.array([self.version] * self.rows, pa.int8())
        compression = "none" if self.rows == _LARGE_ROWS else "snappy"
        return parquet(pa.table(columns), compression=compression)


@dataclass(frozen=True, slots=True)
class Event:
    """A change to a key."""

    at: int
    """When the change becomes visible, in seconds of the day."""
    key: str
    content: Content | None
    """The new content; ``None`` deletes the object."""
    stamp: int = 0
    """The LastModified in seconds of the day; before the day if negative."""
    why: str = ""
    """The kind of event, for the counts."""

    @property
    def table(self) -> str:
        return table_of(self.key)


@dataclass(frozen=True, slots=True)
class Day:
    """Events in the order in which they happen, and the moments of the looks."""

    events: Sequence[Event]
    looks: Sequence[int]

    @property
    def at_end(self) -> dict[str, Content]:
        """Return what is in the bucket after all events."""
        state: dict[str, Content | None] = {event.key: event.content for event in self.events}
        return {key: content for key, content in state.items() if content is not None}


def table_of(key: str) -> str:
    """Name the table of a key; every key of a plan has exactly one ``/``."""
    return key.split("/", 1)[0]


def look_times(first: int, last: int, every: int) -> list[int]:
    """Return the looks of a day whose last event is at ``last``, quiet ones included."""
    end = last + READ_AFTER_SECONDS + _QUIET_LOOKS * every
    return list(range(first, end + every, every))


@dataclass(frozen=True, slots=True)
class Shares:
    """How often each thing happens, as a share of the objects.

    The first three are what S3 buckets show (a day simulated for the notes on peers used them);
    the others are rare in life and here often enough to meet each other.
    """

    multipart: float = 0.05
    replica: float = 0.005
    overwritten: float = 0.005
    deleted: float = 0.005
    put_again: float = 0.005
    put_back: float = 0.001
    """Objects overwritten, then put back as they were."""
    malformed: float = 0.005
    spoilt: float = 0.002
    """Good objects overwritten by something malformed."""
    large: float = 0.01
    empty: float = 0.005


def make_day(
    seed: int,
    *,
    objects: int,
    seconds: int,
    every: int,
    tables: int,
    shares: Shares | None = None,
) -> Day:
    """Plan a day.

    Args:
        seed: The same one gives the same day.
        objects: How many keys appear.
        seconds: How long the day is.
        every: From one look to the next.
        tables: Over how many prefixes they are spread; the last one begins at half time.
        shares: How often each thing happens.
    """
    planner = _Planner(random.Random(seed), seconds, every, shares or Shares())
    events: list[Event] = []
    moments = planner.moments(objects)
    for number, moment in enumerate(moments):
        late_table = tables - 1 if moment > seconds // 2 and tables > 1 else tables - 2
        table = f"t{planner.random.randint(0, max(late_table, 0))}"
        # The first objects are anchors: no table is ever empty.
        table = f"t{number}" if number < tables - 1 else table
        key = f"{table}/{planner.random.randrange(16**6):06x}-{number}.parquet"
        anchor = number < tables
        events += planner.fate(key, number, 0 if anchor else moment, anchor=anchor)
    if tables > 1:
        last = f"t{tables - 1}/anchor.parquet"
        events.append(Event(seconds // 2, last, Content(objects, 0, 1), seconds // 2, "put"))
    ordered = sorted(events, key=lambda event: event.at)
    return Day(ordered, look_times(every, ordered[-1].at, every))


def drifting(day: Day, hours: int = 3600, *, dated: bool = False) -> Day:
    """Return a day whose objects are in a new partition each hour, in schemas that drift.

    Args:
        day: The day.
        hours: How many seconds of it an hour has.
        dated: Name the partitions by dates, one for each hour.
    """
    begun: dict[str, str] = {}
    events = []
    for event in day.events:
        table, _, name = event.key.partition("/")
        hour = max(event.at, 0) // hours
        folder = f"day={FIRST_DATE + timedelta(days=hour)}" if dated else f"hour={hour}"
        key = begun.setdefault(event.key, f"{table}/{folder}/{name}")
        content = event.content and replace(event.content, drifts=True)
        events.append(replace(event, key=key, content=content))
    return replace(day, events=events)


@dataclass(frozen=True, slots=True)
class _Planner:
    random: random.Random
    seconds: int
    every: int
    shares: Shares

    def moments(self, objects: int) -> list[int]:
        """Spread arrivals over the day, half of them a dozen or more to one second.

        A third of these seconds are those of a look or just beside it.
        """
        found: list[int] = []
        while len(found) < objects:
            moment = self.random.randrange(1, self.seconds)
            if self.random.random() < 0.04:
                if self.random.random() < 1 / 3:
                    moment += -moment % self.every + self.random.randint(-1, 2)
                found += [moment] * self.random.randint(12, 40)
            else:
                found.append(moment)
        return sorted(found[:objects])

    def fate(self, key: str, number: int, moment: int, *, anchor: bool) -> Iterator[Event]:
        """Choose what happens to one key, from its first appearance on."""
        draw = self.random.random
        multipart = draw() < self.shares.multipart
        first = Content(number, 0, self._rows(), Form.MULTIPART if multipart else Form.PLAIN)
        if not anchor and draw() < self.shares.malformed:
            yield Event(moment, key, Content(number, 0, 0, Form.MALFORMED), moment, "malformed")
            if draw() < 0.8:
                moment = self._later(moment)
                yield self._put(moment, key, Content(number, 1, self._rows()), "repaired")
            return
        yield self._first(moment, key, first)
        if not anchor:
            yield from self._afterlife(moment, key, first)

    def _first(self, moment: int, key: str, content: Content) -> Event:
        if content.form is Form.MULTIPART:
            return Event(moment, key, content, moment - self.random.randint(30, 1200), "multipart")
        if self.random.random() < self.shares.replica:
            old = self.random.randint(1, 400) * 86_400
            return Event(moment, key, content, moment - old, "replica")
        return self._put(moment, key, content, "put")

    def _afterlife(self, moment: int, key: str, first: Content) -> Iterator[Event]:
        """Change an object later, often while a run reads it."""
        second = Content(first.number, 1, self._rows())
        spoilt = Content(first.number, 1, 0, Form.MALFORMED)
        draw, at = self.random.random(), self._later(moment)
        for share, events in (
            (self.shares.overwritten, [self._put(at, key, second, "overwritten")]),
            (self.shares.deleted, [Event(at, key, None, at, "deleted")]),
            (self.shares.put_again, [self._put(at, key, first, "put again")]),
            (
                self.shares.put_back,
                [
                    self._put(at, key, second, "overwritten"),
                    self._put(self._later(at), key, first, "put back"),
                ],
            ),
            (
                self.shares.spoilt,
                [
                    self._put(at, key, spoilt, "malformed"),
                    self._put(
                        self._later(at), key, Content(first.number, 2, self._rows()), "repaired"
                    ),
                ],
            ),
        ):
            if draw < share:
                # The last of them does not always come.
                yield from events if self.random.random() < 0.8 else events[:1]
                return
            draw -= share

    def _put(self, moment: int, key: str, content: Content, why: str) -> Event:
        """Put an object, stamped at the request and visible up to two seconds later."""
        return Event(moment, key, content, moment - self.random.choice((0, 0, 0, 1, 2)), why)

    def _rows(self) -> int:
        draw = self.random.random()
        if draw < self.shares.large:
            return _LARGE_ROWS
        return 0 if draw < self.shares.large + self.shares.empty else self.random.randint(1, 4)

    def _later(self, moment: int) -> int:
        """Choose a later moment, half of the time during the run of the next look."""
        if self.random.random() < 0.5:
            next_look = moment + -moment % self.every
            return next_look + LISTED_AFTER_SECONDS + self.random.randint(1, 10)
        return moment + self.random.randint(1, 6 * self.every)
