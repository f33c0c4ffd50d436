"""Which partitions of a table have something to load, as ranges that a run each can load."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import dagster as dg
import polars as pl

from s3pq_dagster.dagster.metadata import PREFIX
from s3pq_dagster.dagster.partition_history import PartitionHistory
from s3pq_dagster.dagster.partition_versions import is_of_version, partition_version
from s3pq_dagster.dagster.sensor_cursor import Asked
from s3pq_dagster.dagster.sensor_decision import Candidate, LastLoad, NotLoaded
from s3pq_dagster.dagster.sensor_history import LoadHistory
from s3pq_dagster.layout.key_partitions import partitions_of
from s3pq_dagster.layout.partitioning import STATIC, Partitioning
from s3pq_dagster.layout.rules import Layout, Rule
from s3pq_dagster.layout.table_rule import rule_of
from s3pq_dagster.ledger import fingerprint, fingerprints
from s3pq_dagster.objects import IDENTITY, Listing

_MOST_RANGES = 25
"""So many ranges of each kind are looked at in a tick: more runs are not requested in one."""
_MOST_BRIDGED = 24
"""So many partitions without objects may lie between two that one run loads."""


@dataclass(frozen=True, slots=True)
class PartitionWatch:
    """The partitions of one table, as its listing and the event log have them."""

    table: Candidate
    """The table as a whole."""
    names: Sequence[str]
    """All partitions that are defined, in order."""
    partitions: pl.Series
    """The partition of each listed object; null where it has none."""
    place: str | None
    """The destination's place, if it counts."""
    history: PartitionHistory
    versions: Mapping[str, str]
    """The fingerprint of each partition that has objects."""
    partitioning: Partitioning
    """What the table's rule declares."""

    @classmethod
    def of(
        cls,
        table: Candidate,
        rule: Rule,
        names: Sequence[str],
        place: str | None,
        history: PartitionHistory,
    ) -> "PartitionWatch":
        """Find the partition of each listed object by its table's rule."""
        found = partitions_of(rule, table.listing.frame["key"])
        versions = fingerprints(table.listing, found, table.layout)
        assert rule.partitioning is not None  # noqa: S101 - the table has partitions
        return cls(table, names, found, place, history, versions, rule.partitioning)

    def candidates(self, asked: Callable[[str, str], Asked]) -> list[Candidate]:
        """Return a candidate for each range that is not up to date; the table, if all is.

        Args:
            asked: Returns what the sensor's cursor remembers of a range, given its fingerprint.
        """
        if self.table.mirror and not len(self.table.listing):
            return [self.table]  # an empty listing removes nothing
        due = self._due()
        if not due:
            return [self._up_to_date()]
        running = self.history.running(due)
        # What was tried before may fail again: it is not joined with what was not.
        tried = [name for name in due if name in self.history.attempts and name not in running]
        fresh = [name for name in due if name not in self.history.attempts]
        ranges = chain.from_iterable(
            islice(self._ranges(some), _MOST_RANGES) for some in (fresh, tried, running)
        )
        return [self._candidate(names, asked, running) for names in ranges]

    def behind(self, before: Listing | None) -> Candidate:
        """Return the table with the objects alone of partitions that are not whole.

        Args:
            before: The listing with which the table was last up to date, if that is known.
        """
        due = self._due()
        if not due:
            return self._up_to_date()
        listing = self._objects_of(due)
        if before is not None:
            left = listing.with_version().join(before.with_version(), on=IDENTITY, how="anti")
            listing = Listing(left.select(listing.frame.columns))
        last = replace(self.table.last, version=None)
        return replace(self.table, listing=listing, last=last)

    def _objects_of(self, names: Sequence[str]) -> Listing:
        wanted = pl.Series(names, dtype=pl.String)
        is_in = self.partitions.is_in(wanted.implode()).fill_null(value=False)
        return Listing(self.table.listing.frame.filter(is_in))

    def _up_to_date(self) -> Candidate:
        """Return the table with all partitions that have objects whole.

        A run of the last of them verifies it, which asks the ledger about all.
        """
        names = [name for name in self.names if name in self.versions]
        if not names:
            last = replace(self.table.last, version=None)
            return replace(self.table, listing=Listing.of([]), last=last)
        last = replace(self.table.last, version=self.table.fingerprint)
        return replace(self.table, last=last, partitions=[names[-1]])

    def undefined(self) -> list[str]:
        """Name the partitions that the definitions would have after a reload, and lack."""
        found = set(self.versions) - set(self.names)
        return [
            f"{self.table.name} {name}" for name in sorted(found) if self._comes_by_reload(name)
        ]

    def outside(self) -> str | None:
        """Describe the listed objects that have no partition after a reload, either."""
        known = [*self.names, *filter(self._comes_by_reload, self.versions)]
        is_inside = self.partitions.is_in(pl.Series(known, dtype=pl.String).implode())
        keys = self.table.listing.frame["key"].filter(~is_inside.fill_null(value=False))
        if keys.is_empty():
            return None
        return f"{self.table.name}: {len(keys)} objects in no partition, {keys[0]!r} among them"

    def _comes_by_reload(self, name: str) -> bool:
        """Return whether a reload defines a partition: a new text, or a time before the first."""
        if self.partitioning.kind == STATIC:
            return True
        is_earlier = not self.names or name < self.names[0]
        return is_earlier and self.partitioning.start is None

    def _due(self) -> list[str]:
        """Return the partitions whose listed objects are not what was last recorded, in order."""
        found = self.versions
        if self.table.mirror:  # rows of deleted objects are to go
            empty = fingerprint(Listing.of([]), self.table.layout)
            found = {**dict.fromkeys(self.history.recorded, empty), **found}
        return [
            name
            for name in self.names
            if name in found
            and not is_of_version(
                self.history.recorded.get(name), partition_version(found[name], self.place)
            )
        ]

    def _ranges(self, due: Iterable[str]) -> Iterator[list[str]]:
        """Join partitions that follow each other, over a few others without objects."""
        index = {name: number for number, name in enumerate(self.names)}
        current: list[str] = []
        for name in due:
            between = self.names[index[current[-1]] + 1 : index[name]] if current else []
            if len(between) > _MOST_BRIDGED or any(each in self.versions for each in between):
                yield current
                current = [name]
            else:
                current += [*between, name]
        if current:
            yield current

    def _candidate(
        self, names: list[str], asked: Callable[[str, str], Asked], running: dict[str, str]
    ) -> Candidate:
        listing = self._objects_of(names)
        current = fingerprint(listing, self.table.layout)
        label = f"{self.table.name} {names[0]}"
        label = label if len(names) == 1 else f"{label}...{names[-1]}"

        def conditions() -> tuple[str, str | None]:
            listed, settings = self.table.conditions()
            return (current if listed == self.table.fingerprint else listed), settings

        last = LastLoad(None, None, running.get(names[0]))
        return replace(
            self.table,
            name=label,
            of=self.table.name,
            listing=listing,
            fingerprint=current,
            last=last,
            asked=asked(label, current),
            failure=lambda: self.history.failure(names, conditions()[0]),
            conditions=conditions,
            partitions=names,
            recorded_at=self.history.recorded_at(names),
        )


@dataclass(frozen=True, slots=True)
class Divided:
    """The tables of a tick, of which those with partitions are divided into ranges."""

    whole: Sequence[Candidate]
    """Tables without partitions."""
    watches: Sequence[PartitionWatch]
    candidates: Sequence[Candidate]
    """Tables without partitions, and ranges of partitions."""

    def added_to(self, lacking: NotLoaded) -> NotLoaded:
        """Add what is listed of tables, and is in none of their partitions."""
        undefined = [name for watch in self.watches for name in watch.undefined()]
        outside = [text for watch in self.watches if (text := watch.outside()) is not None]
        return replace(
            lacking,
            undefined=[*lacking.undefined, *undefined],
            problems=[*lacking.problems, *outside],
        )

    def lagging(self, last_complete: Mapping[str, Listing]) -> list[Candidate]:
        """Return a candidate for each table, by which to tell how far it is behind.

        Args:
            last_complete: The listing with which each table was last up to date.
        """
        behind = [watch.behind(last_complete.get(watch.table.name)) for watch in self.watches]
        return [*self.whole, *behind]


def divided(
    tables: Sequence[Candidate],
    assets: Mapping[str, dg.AssetSpec],
    layout: Layout,
    history: LoadHistory,
    asked: Callable[[str, str], Asked],
) -> Divided:
    """Divide the tables that have partitions.

    Args:
        tables: What is listed and known of the tables.
        assets: The assets, by table.
        layout: Its rules declare the partitions.
        history: The event log.
        asked: Returns what the sensor's cursor remembers of a range, given its fingerprint.
    """
    whole, watches = list[Candidate](), list[PartitionWatch]()
    for table in tables:
        spec = assets[table.name]
        rule = rule_of(layout, spec.metadata[PREFIX])
        if spec.partitions_def is None or rule is None:
            whole.append(table)
            continue
        names, known = (
            spec.partitions_def.get_partition_keys(),
            PartitionHistory.of(history, spec.key),
        )
        watches.append(PartitionWatch.of(table, rule, names, history.place, known))
    ranges = [each for watch in watches for each in watch.candidates(asked)]
    return Divided(whole, watches, [*whole, *ranges])


def range_tags(table: Candidate) -> dict[str, str]:
    """Return the tags by which a run asks for a range of partitions; none for a table without."""
    if not table.partitions:
        return {}
    start, end = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    return {start: table.partitions[0], end: table.partitions[-1]}
