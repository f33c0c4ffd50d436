"""Which tables have something to load, decided on values alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from s3pq_dagster.dagster.sensor_cursor import Asked
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.objects import IDENTITY, Listing

_MOST_NAMED = 10
_UNTIL = "objects, definitions or configuration change"


@dataclass(frozen=True, slots=True)
class LastLoad:
    """What Dagster's event log says of a table."""

    version: str | None
    """The data version last materialized or observed; ``None`` if there is none."""
    cursor: str | None
    """The LastModified cursor in the same event."""
    run_id: str | None
    """The run that last planned to materialize the table."""
    at: float | None = None
    """When that event was logged, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class LastFailure:
    """What the newest run of a table says, if it failed."""

    error: str
    """Name of the error's class."""
    lasting: bool
    """Whether each run fails in the same way while ``listing`` and ``settings`` stay."""
    listing: str
    """What was to be loaded."""
    settings: str
    """A hash of what was asked for."""

    def lasts(self, listing: str, settings: str | None) -> bool:
        """Return whether a run fails in the same way, given what it would load and is asked for."""
        return self.lasting and (listing, settings) == (self.listing, self.settings)


@dataclass(frozen=True, slots=True)
class LoggedLag:
    """What was last logged of how far a table is behind."""

    is_pending: bool
    """Whether an object was pending."""
    at: float
    """When it was logged, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A table for which a run may be requested."""

    name: str
    listing: Listing
    """The objects it has now."""
    fingerprint: str
    """The fingerprint of ``listing``: the data version once everything listed is loaded."""
    last: LastLoad
    asked: Asked
    """What the sensor's cursor remembers of the table; may be changed."""
    reported_at: Callable[[float], float | None] = lambda _since: None
    """Looks up when a run last reported the table, in seconds since the epoch. It need not be the
    last time if it is later than the given one."""
    layout: str = ""
    """Hash of the columns that its keys make, which is part of its fingerprints."""
    mirror: bool = False
    """Whether rows of objects deleted from S3 are removed."""
    failure: Callable[[], LastFailure | None] = lambda: None
    """Looks up why the newest run failed."""
    conditions: Callable[[], tuple[str, str | None]] = lambda: ("", None)
    """Returns what a run would load now, and a hash of what it is asked for, if that is known."""
    logged_lag: Callable[[], LoggedLag | None] = lambda: None
    """Looks up what was last logged of how far the table is behind."""
    of: str | None = None
    """The table, if this is a range of its partitions."""
    partitions: Sequence[str] = ()
    """The partitions that a run is to load, in order; none where the table has none."""
    recorded_at: int = 0
    """Number in the event log of what was last recorded of these partitions."""

    @property
    def table(self) -> str:
        """The table's name."""
        return self.of or self.name

    def accounted(self) -> set[str | None]:
        """Return the fingerprints of listings of which nothing is left to load."""
        version, asked = self.last.version, self.asked
        return {version, asked.accepted if asked.accepted_for == version else None}


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """What is listed and loaded by no table that the sensor watches."""

    undefined: Sequence[str] = ()
    """Tables that have no asset, or one whose name collided when it was made, and partitions that a
    table has not."""
    problems: Sequence[str] = ()
    """Why others can have none, or none that loads."""
    remedy: str = "reload the code location"
    """What brings ``undefined`` into the definitions, or became of it."""

    def with_remedy(self, remedy: str | None) -> "NotLoaded":
        """Return the same with another remedy, if there is one."""
        return self if remedy is None else replace(self, remedy=remedy)

    def parts(self) -> list[str]:
        """Describe it; nothing where there is nothing."""
        new = f"not in the definitions yet, {self.remedy}"
        said = [f"{new}: {_some(self.undefined)}"] if self.undefined else []
        said += self.problems
        return [f"not loaded: {said[0]}", *said[1:]] if said else []


@dataclass(slots=True)
class Decision:
    """The tables of one tick, sorted by what is to be done about them."""

    now: float
    """Seconds since the epoch."""
    is_in_flight: Callable[[str], bool]
    """Whether a run, given by id, may still load its tables."""
    last_complete: dict[str, Listing]
    """The listing with which each table was last up to date. It outlives the tick."""
    verify_interval: float = 0
    """Seconds after which a table that is up to date is verified by a run; 0 for never."""
    verified: dict[str, float] = field(default_factory=dict)
    """When each table was last reported, as far as it was looked up. It outlives the tick."""
    due: list[Candidate] = field(default_factory=list)
    """Tables for which to request a run."""
    up_to_date: int = 0
    objects: int = 0
    _to_verify: list[str] = field(default_factory=list)
    _waiting: list[str] = field(default_factory=list)
    _backing_off: list[str] = field(default_factory=list)
    _emptied: list[str] = field(default_factory=list)
    _failing: list[str] = field(default_factory=list)
    _tried_again: list[str] = field(default_factory=list)

    def add_all(self, tables: Iterable[Candidate], *, objects: int) -> None:
        """Decide about tables, and ranges of the partitions of others; count what is listed."""
        for table in tables:
            self.add(table)
        self.objects = objects

    def add(self, table: Candidate) -> None:
        """Decide whether a table is up to date, in flight, backing off or due."""
        self.objects += len(table.listing)
        run_id = table.last.run_id
        is_up_to_date = self._is_up_to_date(table)
        if is_up_to_date:
            self._note_up_to_date(table)
        if is_up_to_date and not self._is_to_be_verified(table):
            return
        if table.mirror and not len(table.listing) and table.of is None:
            self._emptied.append(table.name)
        elif run_id is not None and self.is_in_flight(run_id):
            self._waiting.append(f"{table.name} (run {run_id[:8]})")
        elif not self._is_backing_off(table, table.failure()):
            self.due.append(table)
            if is_up_to_date:
                self._to_verify.append(table.name)

    def _is_backing_off(self, table: Candidate, failure: LastFailure | None) -> bool:
        """Return whether a run that failed is not to be followed by another one yet."""
        said = "" if failure is None else failure.error
        if failure is not None and failure.lasts(*table.conditions()):
            self._failing.append(f"{table.name} ({said})")
            table.asked.note_report(self.now)  # the event log remembers it
            return True
        if (seconds := table.asked.seconds_left(table.fingerprint, self.now)) > 0:
            when = f"attempt {table.asked.attempts} failed, next in {round(seconds)} s"
            self._backing_off.append(f"{table.name} ({when}{': ' * bool(said)}{said})")
            return True
        if said:
            self._tried_again.append(f"{table.name} ({said})")
        return False

    def _note_up_to_date(self, table: Candidate) -> None:
        self.up_to_date += 1
        self.last_complete[table.name] = table.listing
        # A report from the future, as after the clock was set back, would hide every failure.
        if table.last.at is not None and table.last.at <= self.now:
            table.asked.note_report(table.last.at)

    def _is_to_be_verified(self, table: Candidate) -> bool:
        """Return whether no run has asked the ledger about a table for a long time.

        Events tell what was loaded, and not whether it is still there: somebody may have put back
        an older copy of the destination.
        """
        if not self.verify_interval or table.last.version is None:
            return False
        known = self.verified.get(table.name)
        if known is None or not 0 <= self.now - known < self.verify_interval:
            found = table.reported_at(self.now - self.verify_interval)
            if found is None or found > self.now:
                # A report from the future says that the clock was set back: time counts from now.
                found = self.now if known is None else min(known, self.now)
            self.verified[table.name] = known = found
        table.asked.note_report(known)
        return self.now - known >= self.verify_interval

    def _is_up_to_date(self, table: Candidate) -> bool:
        version, asked = table.last.version, table.asked
        if table.of is not None:  # it was compared partition by partition
            return False
        if version is not None:
            asked.forget_deletions(version)
        if version == table.fingerprint:
            return True
        if version is None:
            return not len(table.listing)
        if table.mirror:
            return False
        if (table.fingerprint, version) == (asked.accepted, asked.accepted_for):
            return True
        if self._is_less_than_loaded(table):
            asked.accepted, asked.accepted_for = table.fingerprint, version
            return True
        return False

    def _is_less_than_loaded(self, table: Candidate) -> bool:
        """Return whether the listing lacks some of what is loaded, and has nothing else."""
        # Objects deleted from S3 change the fingerprint, but outside `mirror` a run has nothing to
        # do about them. A fingerprint does not tell deletions from arrivals, so the listing is
        # compared with the last one that was all loaded. If that one is not known, as after a
        # restart, a run is requested; it observes the new fingerprint.
        before = self.last_complete.get(table.name)
        if before is None:
            return not len(table.listing)
        was_loaded = fingerprint(before, table.layout) in table.accounted()
        return was_loaded and _is_part_of(table.listing, before)

    def summary(self, *, tables: int, not_loaded: NotLoaded, cursors: Mapping[str, str]) -> str:
        """Describe the tick in one line, which begins with what fails, or is not loaded.

        Args:
            tables: How many tables the sensor watches.
            not_loaded: What is listed, and loaded by none of them.
            cursors: LastModified cursors, shown if nothing is due.
        """
        wrong = [*self._failures(), *not_loaded.parts()]
        counts = f"{self.up_to_date} of {tables} tables up to date, {self.objects} objects listed"
        parts = [*wrong, counts if self.due or wrong else f"nothing new: {counts}"]
        parts += _parts(
            ("something to load", [t.name for t in self.due if t.name not in self._to_verify]),
            ("to be verified by the ledger", self._to_verify),
            ("run in flight", self._waiting),
            ("listing empty, nothing removed without allow_empty_listing", self._emptied),
        )
        shown = [f"{key} {value}" for key, value in sorted(cursors.items())]
        if shown and not self.due:
            parts.append(f"cursors: {', '.join(shown[:_MOST_NAMED])}")
        return "; ".join(parts)

    def _failures(self) -> list[str]:
        return _parts(
            (f"failing until {_UNTIL}", self._failing),
            ("failing, backing off", self._backing_off),
            ("failed before, tried again", self._tried_again),
        )


def _parts(*named: tuple[str, Sequence[str]]) -> list[str]:
    return [f"{heading}: {_some(names)}" for heading, names in named if names]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _is_part_of(listing: Listing, before: Listing) -> bool:
    """Return whether every object was there before, in the same version."""
    return listing.with_version().join(before.with_version(), on=IDENTITY, how="anti").height == 0
