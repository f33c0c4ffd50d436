"""What is loaded, as a set: the difference to a listing, its fingerprint and its cursor."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import polars as pl

from s3pq_dagster.objects import IDENTITY, Listing, ObjectMeta

FORMAT_VERSION = 3
"""Format version of the ledger's tables in a destination. Format 2 had no ``refreshed`` in
``_s3pq_objects``; format 1 no ``_s3pq_schemas`` either, and no ``layout`` in ``_s3pq_tables``."""

ENTRY_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "key": pl.String,
    "e_tag": pl.String,
    "size": pl.Int64,
    "last_modified": pl.Datetime("us", "UTC"),
    "rows": pl.Int64,
    "status": pl.String,
    "reason": pl.String,
}
"""The columns of :attr:`Ledger.frame`, and their types."""


UNDONE = "undone: run "
"""What the reason of an entry begins with whose load was taken back; the run's id follows."""


class Status(StrEnum):
    """What became of an object."""

    LOADED = "loaded"
    QUARANTINED = "quarantined"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Entry:
    """The ledger's entry for one object."""

    object: ObjectMeta
    status: Status
    rows: int
    """Number of the object's rows in the table; 0 when quarantined."""
    reason: str | None = None
    """Reason for the quarantine; ``None`` otherwise."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a run has to do for a table."""

    pending: Listing
    """Objects to read, in reading order."""
    removed: list[str]
    """Keys whose rows are to be deleted because S3 no longer has them (``mirror`` only)."""

    def __bool__(self) -> bool:
        return bool(len(self.pending) or self.removed)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries of one table at one moment.

    ``frame`` has the columns of :data:`ENTRY_COLUMNS`, one row an entry, any order.
    """

    frame: pl.DataFrame

    @classmethod
    def empty(cls) -> "Ledger":
        """Make the ledger of a table that does not exist yet."""
        return cls(pl.DataFrame(schema=ENTRY_COLUMNS))

    def difference(
        self, listing: Listing, *, mirror: bool = False, retry_quarantined: bool = False
    ) -> Difference:
        """Return the set difference of a listing and this ledger, by key, version and size.

        Times are not compared. So a late, a replicated and an overwritten object are all alike: in
        the listing, but not in the ledger.

        Args:
            listing: The table's objects as S3 has them.
            mirror: Whether keys that are no longer listed are removed.
            retry_quarantined: Whether quarantined objects are pending again.
        """
        if self.frame.is_empty():
            return Difference(listing.in_reading_order(), [])
        keep = [Status.LOADED] if retry_quarantined else [Status.LOADED, Status.QUARANTINED]
        known = self._with_version().filter(pl.col("status").is_in(keep))
        pending = listing.with_version().join(known, on=IDENTITY, how="anti").drop("version")
        removed: list[str] = []
        if mirror:
            removed = self.unlisted(listing)
        return Difference(Listing(pending).in_reading_order(), removed)

    def unlisted(self, listing: Listing) -> list[str]:
        """Return the keys that are loaded and not listed, sorted."""
        loaded = self.frame.filter(pl.col("status") == Status.LOADED)
        return loaded.join(listing.frame, on="key", how="anti")["key"].unique().sort().to_list()

    def accounted(self, listing: Listing) -> Listing:
        """Filter a listing to the objects that are loaded or quarantined in the listed version."""
        known = self._with_version().filter(pl.col("status") != Status.REMOVED)
        held = listing.with_version().join(known, on=IDENTITY, how="semi")
        return Listing(held.drop("version"))

    def loaded(self, listing: Listing) -> Listing:
        """Filter a listing to the objects that are loaded in the listed version."""
        return Ledger(self.frame.filter(pl.col("status") == Status.LOADED)).accounted(listing)

    def holds(self, found: ObjectMeta) -> bool:
        """Return whether an object is loaded in this version."""
        entries = self.frame.filter(
            (pl.col("key") == found.key) & (pl.col("status") == Status.LOADED)
        )
        same = entries.filter(pl.col("size") == found.size)
        return found.version in Listing(same).with_version()["version"]

    def resized(self, pending: Listing) -> pl.DataFrame:
        """Find pending objects that the ledger has with the same e_tag and another size.

        Returns:
            ``key``, ``e_tag``, ``ledger_size`` and the listed ``size``, sorted by key.
        """
        known = self.frame.filter(pl.col("status") != Status.REMOVED)
        held = known.select("key", "e_tag", ledger_size="size")
        both = pending.frame.join(held, on=["key", "e_tag"])
        differing = both.filter(pl.col("ledger_size") != pl.col("size"))
        return differing.select("key", "e_tag", "ledger_size", "size").sort("key")

    def is_mixed(self, found: ObjectMeta) -> bool:
        """Return whether an object's e_tag is loaded with another size, beside other versions.

        Where rows of earlier versions are kept, nothing then tells which rows are of this e_tag.
        """
        loaded = self.frame.filter(
            (pl.col("key") == found.key) & (pl.col("status") == Status.LOADED)
        )
        same = loaded.filter(pl.col("e_tag") == found.e_tag)
        return 0 < same.filter(pl.col("size") != found.size).height < loaded.height

    def changed(self, now: "Ledger", keys: Sequence[str]) -> list[str]:
        """Return those of the given keys whose entries differ in a later ledger of the table."""
        one, other = (ledger.frame.filter(pl.col("key").is_in(keys)) for ledger in (self, now))
        same: dict[str, Any] = {"on": list(ENTRY_COLUMNS), "how": "anti", "nulls_equal": True}
        differing = pl.concat([one.join(other, **same), other.join(one, **same)])
        return differing["key"].unique().sort().to_list()

    @property
    def cursor(self) -> datetime | None:
        """The latest ``last_modified`` of loaded objects, for reports: nothing decides by it."""
        loaded = self.frame.filter(pl.col("status") == Status.LOADED)
        return latest(loaded["last_modified"].top_k(1))

    @property
    def rows(self) -> int:
        """Number of rows in the table, unless somebody changed it by hand."""
        return int(self.frame.filter(pl.col("status") == Status.LOADED)["rows"].sum())

    def rows_of(self, keys: Sequence[str]) -> int:
        """Number of rows of those of the keys that are loaded."""
        loaded = self.frame.filter(pl.col("status") == Status.LOADED)
        return int(loaded.filter(pl.col("key").is_in(list(keys)))["rows"].sum())

    def count(self, status: Status) -> int:
        """Count the entries of one status."""
        return self.frame.filter(pl.col("status") == status).height

    def quarantined(self, listing: Listing) -> pl.DataFrame:
        """Return key and reason of the listed objects that are quarantined in the listed version.

        An object that was replaced or deleted since then is not among them.
        """
        held = self.frame.filter(pl.col("status") == Status.QUARANTINED)
        if held.is_empty():
            return held.select("key", "reason")
        held = Listing(held).with_version()
        same = listing.with_version().join(held, on=IDENTITY, how="inner")
        return same.select("key", "reason").sort("key")

    def undone(self, listing: Listing) -> list[str]:
        """Return those of the quarantined objects whose load was taken back, sorted."""
        return self.quarantined(listing).filter(_IS_UNDONE)["key"].to_list()

    def faulty(self, listing: Listing) -> pl.DataFrame:
        """Return :meth:`quarantined` without the objects whose load was taken back."""
        return self.quarantined(listing).filter(~_IS_UNDONE)

    def reconcile(self, rows_by_key: pl.DataFrame) -> pl.DataFrame:
        """Find the keys whose number of rows in the table differs from this ledger.

        Args:
            rows_by_key: Each ``_s3_key`` of the table, null included, and its number of ``rows``.

        Returns:
            ``key``, ``ledger_rows`` and ``table_rows`` of those that differ, sorted by key; 0
            where the ledger or the table has no such key.
        """
        loaded = self.frame.filter(pl.col("status") == Status.LOADED)
        said = loaded.group_by("key").agg(ledger_rows=pl.col("rows").sum())
        found = rows_by_key.select("key", table_rows=pl.col("rows"))
        both = said.join(found, on="key", how="full", coalesce=True, nulls_equal=True)
        counts = both.with_columns(pl.col("ledger_rows", "table_rows").fill_null(0))
        return counts.filter(pl.col("ledger_rows") != pl.col("table_rows")).sort("key")

    def reconcile_footers(self, footers: pl.DataFrame) -> pl.DataFrame:
        """Find the loaded objects whose footers give another number of rows, or none.

        Args:
            footers: ``key``, ``version``, ``size`` and ``footer_rows`` of listed objects.

        Returns:
            ``key``, ``ledger_rows`` and ``footer_rows`` of those that differ, sorted by key.
        """
        loaded = self._with_version().filter(pl.col("status") == Status.LOADED)
        both = loaded.join(footers, on=IDENTITY).filter(
            pl.col("footer_rows").ne_missing(pl.col("rows"))
        )
        return both.select("key", pl.col("rows").alias("ledger_rows"), "footer_rows").sort("key")

    def _with_version(self) -> pl.DataFrame:
        return Listing(self.frame).with_version()


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    """Choose the cursor: the latest of some ``last_modified``; ``None`` if there is none."""
    return max((moment for moment in moments if moment is not None), default=None)


def fingerprint(listing: Listing, layout: str = "") -> str:
    """Hash the set of keys, versions and sizes of a listing; its order does not matter.

    Args:
        listing: The objects.
        layout: Hash of the columns that the objects' keys make; empty where they make none.

    Returns:
        The first 128 bits, in hex, of SHA-256 over the sorted triples, key and version preceded by
        their length in bytes. It is stored, so it must not change with a release of any library.
    """
    triples = listing.with_version().sort(IDENTITY)
    digest = _digest_of(layout)
    for chunk in triples.iter_slices(65_536):
        digest.update("".join(chunk.select(_TRIPLE).to_series()).encode())
    return digest.hexdigest()[:32]


def fingerprints(listing: Listing, names: pl.Series, layout: str = "") -> dict[str, str]:
    """Return what :func:`fingerprint` returns of each part of a listing.

    Args:
        listing: The objects.
        names: For each object the name of its part; null for one that is in none.
        layout: As for :func:`fingerprint`.
    """
    named = listing.with_version().with_columns(part=names).filter(pl.col("part").is_not_null())
    texts = named.sort(IDENTITY).select("part", text=_TRIPLE).group_by("part").agg("text")
    found = {}
    for name, parts in texts.iter_rows():
        digest = _digest_of(layout)
        digest.update("".join(parts).encode())
        found[name] = digest.hexdigest()[:32]
    return found


_IS_UNDONE = pl.col("reason").str.starts_with(UNDONE).fill_null(value=False)
_TRIPLE = pl.format(
    "{}:{}{}:{}{};",
    pl.col("key").str.len_bytes(),
    pl.col("key"),
    pl.col("version").str.len_bytes(),
    pl.col("version"),
    pl.col("size"),
)


def _digest_of(layout: str) -> "hashlib._Hash":
    return hashlib.sha256(f"layout {layout};".encode() if layout else b"")


def cursor_key(bucket: str, table: str) -> str:
    """Return the key of a table's cursor in the backend state of cq-source-s3."""
    return f"s3/{bucket}/{table}/last_modified_cursor"


def format_cursor(moment: datetime) -> str:
    """Format a time in UTC as Go's ``time.RFC3339Nano`` does: no trailing zeros in the fraction."""
    utc = moment.astimezone(UTC)
    fraction = f".{utc.microsecond:06d}".rstrip("0").rstrip(".") if utc.microsecond else ""
    return f"{utc.replace(tzinfo=None, microsecond=0).isoformat()}{fraction}Z"
