"""What is loaded, as a set: the difference to a listing, its fingerprint and its cursor."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import polars as pl

from s3pq_dagster.objects import Listing, ObjectMeta

FORMAT_VERSION = 1
"""Of the two tables in the destination."""

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


class Status(StrEnum):
    """What the ledger says of an object."""

    LOADED = "loaded"
    QUARANTINED = "quarantined"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object's line in the ledger, as it is written."""

    object: ObjectMeta
    status: Status
    rows: int
    """Rows of the object in the table; 0 when quarantined."""
    reason: str | None = None
    """Why it is quarantined."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a run has to do for a table."""

    pending: Listing
    """Objects to read, in reading order."""
    removed: list[str]
    """Keys whose rows are to go because S3 no longer has them (``mirror`` only)."""

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
        """Be the ledger of a table that is not there yet."""
        return cls(pl.DataFrame(schema=ENTRY_COLUMNS))

    def difference(
        self, listing: Listing, *, mirror: bool = False, retry_quarantined: bool = False
    ) -> Difference:
        """Take the set difference of a listing and this ledger, on ``(key, version)``.

        No time decides anything here, so late, tied, replicated and overwritten objects are all
        "in the listing, not in the ledger".

        Args:
            listing: The table's objects as S3 has them.
            mirror: Whether keys that are no longer listed are to be removed.
            retry_quarantined: Whether quarantined objects count as not in the ledger.
        """
        if self.frame.is_empty():
            return Difference(listing.in_reading_order(), [])
        keep = [Status.LOADED] if retry_quarantined else [Status.LOADED, Status.QUARANTINED]
        known = self._with_version().filter(pl.col("status").is_in(keep))
        pending = (
            listing.with_version().join(known, on=["key", "version"], how="anti").drop("version")
        )
        removed: list[str] = []
        if mirror:
            loaded = self.frame.filter(pl.col("status") == Status.LOADED)
            gone = loaded.join(listing.frame, on="key", how="anti")
            removed = gone["key"].unique().sort().to_list()
        return Difference(Listing(pending).in_reading_order(), removed)

    def accounted(self, listing: Listing) -> Listing:
        """Keep of a listing what is loaded or quarantined in this very version."""
        known = self._with_version().filter(pl.col("status") != Status.REMOVED)
        held = listing.with_version().join(known, on=["key", "version"], how="semi")
        return Listing(held.drop("version"))

    def loaded(self, listing: Listing) -> Listing:
        """Keep of a listing what is loaded in this very version."""
        return Ledger(self.frame.filter(pl.col("status") == Status.LOADED)).accounted(listing)

    def holds(self, found: ObjectMeta) -> bool:
        """Tell whether an object is loaded in this very version."""
        entries = self.frame.filter(
            (pl.col("key") == found.key) & (pl.col("status") == Status.LOADED)
        )
        return found.version in Listing(entries).with_version()["version"]

    def changed(self, now: "Ledger", keys: Sequence[str]) -> list[str]:
        """Find those of some keys of which a later look at the table has other entries."""
        one, other = (ledger.frame.filter(pl.col("key").is_in(keys)) for ledger in (self, now))
        same: dict[str, Any] = {"on": list(ENTRY_COLUMNS), "how": "anti", "nulls_equal": True}
        differing = pl.concat([one.join(other, **same), other.join(one, **same)])
        return differing["key"].unique().sort().to_list()

    @property
    def cursor(self) -> datetime | None:
        """The latest ``last_modified`` of what is loaded; a report, never a judge."""
        loaded = self.frame.filter(pl.col("status") == Status.LOADED)
        return latest(loaded["last_modified"].top_k(1))

    @property
    def rows(self) -> int:
        """Rows the table has of what is loaded, if nobody changed it by hand."""
        return int(self.frame.filter(pl.col("status") == Status.LOADED)["rows"].sum())

    def count(self, status: Status) -> int:
        """Count the entries of one status."""
        return self.frame.filter(pl.col("status") == status).height

    def quarantined(self, listing: Listing) -> pl.DataFrame:
        """Give key and reason of the objects of a listing that are quarantined in this version.

        One that was replaced or deleted since is not among them: it has freed itself.
        """
        held = self.frame.filter(pl.col("status") == Status.QUARANTINED)
        if held.is_empty():
            return held.select("key", "reason")
        held = Listing(held).with_version()
        same = listing.with_version().join(held, on=["key", "version"], how="inner")
        return same.select("key", "reason").sort("key")

    def reconcile(self, rows_by_key: pl.DataFrame) -> pl.DataFrame:
        """Find the keys of which the table has other rows than this ledger says.

        Args:
            rows_by_key: Each ``_s3_key`` of the table and its ``rows``; a missing key is one too.

        Returns:
            ``key``, ``ledger_rows`` and ``table_rows`` of those that differ, by key. What ledger
            or table knows nothing of has 0 there.
        """
        loaded = self.frame.filter(pl.col("status") == Status.LOADED)
        said = loaded.group_by("key").agg(ledger_rows=pl.col("rows").sum())
        found = rows_by_key.select("key", table_rows=pl.col("rows"))
        both = said.join(found, on="key", how="full", coalesce=True, nulls_equal=True)
        counts = both.with_columns(pl.col("ledger_rows", "table_rows").fill_null(0))
        return counts.filter(pl.col("ledger_rows") != pl.col("table_rows")).sort("key")

    def reconcile_footers(self, footers: pl.DataFrame) -> pl.DataFrame:
        """Find the loaded objects whose footers say other rows than this ledger, or none.

        Args:
            footers: ``key``, ``version`` and ``footer_rows`` of objects as they are listed.

        Returns:
            ``key``, ``ledger_rows`` and ``footer_rows`` of those that differ, by key.
        """
        loaded = self._with_version().filter(pl.col("status") == Status.LOADED)
        both = loaded.join(footers, on=["key", "version"]).filter(
            pl.col("footer_rows").ne_missing(pl.col("rows"))
        )
        return both.select("key", pl.col("rows").alias("ledger_rows"), "footer_rows").sort("key")

    def _with_version(self) -> pl.DataFrame:
        return Listing(self.frame).with_version()


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    """Choose the cursor: the latest of some ``last_modified``; ``None`` if there is none."""
    return max((moment for moment in moments if moment is not None), default=None)


def fingerprint(listing: Listing) -> str:
    """Hash the set of ``(key, version)`` of a listing, whatever its order.

    Returns:
        The first 128 bits, in hex, of SHA-256 over the pairs, sorted, each part behind its length
        in bytes. Stable across releases of every library in use.
    """
    pairs = listing.with_version().sort("key", "version")
    digest = hashlib.sha256()
    for chunk in pairs.iter_slices(65_536):
        digest.update(
            "".join(
                chunk.select(
                    pl.format(
                        "{}:{}{}:{}",
                        pl.col("key").str.len_bytes(),
                        pl.col("key"),
                        pl.col("version").str.len_bytes(),
                        pl.col("version"),
                    )
                ).to_series()
            ).encode()
        )
    return digest.hexdigest()[:32]


def cursor_key(bucket: str, table: str) -> str:
    """Name a table's cursor, as cq-source-s3's backend state does."""
    return f"s3/{bucket}/{table}/last_modified_cursor"


def format_cursor(moment: datetime) -> str:
    """Write a moment as Go's ``time.RFC3339Nano`` does, in UTC.

    As many fractional digits as it needs, none for a whole second.
    """
    utc = moment.astimezone(UTC)
    fraction = f".{utc.microsecond:06d}".rstrip("0").rstrip(".") if utc.microsecond else ""
    return f"{utc.replace(tzinfo=None, microsecond=0).isoformat()}{fraction}Z"
