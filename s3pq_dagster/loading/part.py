"""What a load is limited to: some partitions or objects; and which partitions are whole."""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from s3pq_dagster.layout.key_partitions import partitions_of
from s3pq_dagster.layout.rules import Rule
from s3pq_dagster.ledger import Difference, Entry, Ledger, Status, fingerprint, fingerprints
from s3pq_dagster.objects import IDENTITY, Listing


class Limit(ABC):
    """Some of a table's objects, listed or loaded."""

    __slots__ = ()

    @abstractmethod
    def _has(self, keys: pl.Series) -> pl.Series:
        """Return for each key whether it is of these."""

    def of(self, listing: Listing) -> Listing:
        """Keep the objects that are of these."""
        return Listing(listing.frame.filter(self._has(listing.frame["key"])))

    def of_difference(self, found: Difference) -> Difference:
        """Keep what is to be done about these."""
        return Difference(self.of(found.pending), self.of_keys(found.removed))

    def of_keys(self, keys: Sequence[str]) -> list[str]:
        """Keep the keys that are of these."""
        series = pl.Series("key", keys, pl.String)
        return list(series.filter(self._has(series)))

    def only(self, ledger: Ledger) -> Ledger:
        """Return the entries of these."""
        return Ledger(ledger.frame.filter(self._has(ledger.frame["key"])))

    def without(self, ledger: Ledger) -> Ledger:
        """Return a ledger without the entries of these."""
        return Ledger(ledger.frame.filter(~self._has(ledger.frame["key"])))

    def holds_all(self, listing: Listing, ledger: Ledger) -> bool:
        """Return whether everything that is listed or loaded is of these."""
        loaded = ledger.frame.filter(pl.col("status") == Status.LOADED)
        return all(bool(self._has(keys).all()) for keys in (listing.frame["key"], loaded["key"]))


@dataclass(frozen=True, slots=True)
class Part(Limit):
    """Some of a table's partitions."""

    rule: Rule
    """The table's rule, which declares its partitions."""
    names: Sequence[str]
    """The partitions, by their names in Dagster."""

    def _has(self, keys: pl.Series) -> pl.Series:
        names = pl.Series(self.names, dtype=pl.String)
        return partitions_of(self.rule, keys).is_in(names.implode()).fill_null(value=False)


@dataclass(frozen=True, slots=True)
class ChosenObjects(Limit):
    """Objects that a person has named."""

    keys: pl.Series

    def _has(self, keys: pl.Series) -> pl.Series:
        return keys.is_in(self.keys.implode())


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """What a table holds of one partition."""

    name: str
    """The partition's name in Dagster."""
    fingerprint: str
    """Hash of the listed objects that the ledger accounts for."""
    rows: int = 0
    objects: int = 0
    """Loaded objects."""
    quarantined: int = 0
    """Quarantined objects."""
    bytes: int = 0
    """Size of the objects, loaded or quarantined."""


class PartTally:
    """Which of a part's listed objects the ledger accounts for, while a load goes on."""

    def __init__(self, part: Part, listing: Listing, ledger: Ledger, layout: str) -> None:
        """Compare a listing with a ledger.

        Args:
            part: The partitions.
            listing: The table's objects.
            ledger: The table's ledger before the load, or after it.
            layout: Hash of the columns that keys make, which is part of fingerprints.
        """
        self._layout = layout
        names = partitions_of(part.rule, listing.frame["key"])
        wanted = pl.Series(part.names, dtype=pl.String)
        listed = listing.with_version().with_columns(partition=names)
        listed = listed.filter(pl.col("partition").is_in(wanted.implode()))
        known = Listing(ledger.frame.filter(pl.col("status") != Status.REMOVED)).with_version()
        # An object may be loaded and quarantined; the first of these words sorts first.
        known = known.sort("status").unique(IDENTITY, keep="first")
        held = listed.join(known.select(*IDENTITY, "status", "rows"), on=IDENTITY, how="left")
        is_held = pl.col("status").is_not_null()
        self._held = held.filter(is_held).drop("version")
        left = held.filter(~is_held)
        self._partitions = dict(zip(left["key"], left["partition"], strict=True))
        self._left = Counter(left["partition"].to_list())
        self._new: defaultdict[str, list[Entry]] = defaultdict(list)
        self.names = part.names

    def whole(self) -> list[str]:
        """Return the partitions of which every listed object is accounted for, in order."""
        return [name for name in self.names if not self._left[name]]

    @property
    def is_left(self) -> bool:
        """Whether some partition is not whole yet."""
        return bool(self._partitions)

    def add(self, entries: Iterable[Entry]) -> tuple[set[str], list[str]]:
        """Count committed entries.

        Returns:
            The partitions that they are of, and those that are whole by them.
        """
        touched, done = set(), []
        for entry in entries:
            name = self._partitions.pop(entry.object.key, None)
            if name is None:
                continue
            touched.add(name)
            self._new[name].append(entry)
            self._left[name] -= 1
            if not self._left[name]:
                done.append(name)
        return touched, done

    def reports(self, names: Sequence[str]) -> list[PartitionReport]:
        """Report some of the partitions, in order."""
        frame = self._frame(names)
        is_loaded = pl.col("status") == Status.LOADED
        found = frame.group_by("partition").agg(
            rows=pl.col("rows").filter(is_loaded).sum(),
            objects=is_loaded.sum(),
            quarantined=(~is_loaded).sum(),
            bytes=pl.col("size").sum(),
        )
        numbers = {row.pop("partition"): row for row in found.iter_rows(named=True)}
        versions = fingerprints(Listing(frame), frame["partition"], self._layout)
        empty = fingerprint(Listing.of([]), self._layout)
        return [
            PartitionReport(name, fingerprint=versions.get(name, empty), **numbers.get(name, {}))
            for name in names
        ]

    def _frame(self, names: Sequence[str]) -> pl.DataFrame:
        """Return what is accounted for of some partitions."""
        wanted = pl.Series(names, dtype=pl.String)
        entries = [(name, each) for name in names for each in self._new.get(name, ())]
        new = Listing.of(each.object for _, each in entries).frame.with_columns(
            pl.Series("partition", [name for name, _ in entries], pl.String),
            pl.Series("status", [each.status for _, each in entries], pl.String),
            pl.Series("rows", [each.rows for _, each in entries], pl.Int64),
        )
        before = self._held.filter(pl.col("partition").is_in(wanted.implode()))
        return pl.concat([before.select(new.columns), new])
