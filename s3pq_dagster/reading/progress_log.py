"""How far a table's objects are read, and the log lines about it."""

import logging
import time

from s3pq_dagster.logs import human_bytes, human_time, line
from s3pq_dagster.objects import MOST_OBJECT_BYTES, Listing, ObjectMeta

_EVERY_SECONDS = 10


class ProgressLog:
    """Counts of the objects, bytes and rows of one table that are read so far."""

    def __init__(
        self,
        table: str,
        pending: Listing,
        log: logging.Logger,
        *,
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        """Start to count.

        Args:
            table: Name of the table, for the log lines.
            pending: The objects to read.
            log: Gets the lines.
            every_seconds: Shortest time between two progress lines.
        """
        self.table = table
        """Name of the table."""
        self._log = log
        self._every_seconds = every_seconds
        self._all_bytes = pending.total_bytes
        self._all_objects = len(pending)
        self._began = self._reported = time.monotonic()
        self.bytes = 0
        """Bytes of the objects counted."""
        self._within = 0
        """Bytes of the object whose rows are being handed on."""
        self.rows = 0
        """Rows handed on."""
        self.seen = 0
        """Objects read, quarantined, found missing or found loaded already."""

    @property
    def is_all_seen(self) -> bool:
        """Whether no object is left."""
        return self.seen == self._all_objects

    def count(self, found: ObjectMeta) -> None:
        """Count an object as dealt with, whatever became of it."""
        self.seen += 1
        self.bytes += _size(found)
        self._within = 0

    def count_within(self, found: ObjectMeta, rows: int, stated: int) -> None:
        """Count what is done of an object that is not counted yet.

        Args:
            found: The object.
            rows: How many of its rows are handed on.
            stated: How many there are, as its footer says.
        """
        self._within = _size(found) * min(rows, stated) // stated if stated > 0 else 0

    def log_quarantined(self, found: ObjectMeta, reason: str) -> None:
        """Log a warning for an object that is set aside."""
        self._log.warning(
            line(
                "object_quarantined",
                table=self.table,
                key=found.key,
                size=found.size,
                reason=reason,
            )
        )

    def count_missing(self, found: ObjectMeta) -> None:
        """Count an object that was deleted since it was listed, and log a warning."""
        self.count(found)
        reason = "deleted between listing and reading; skipped"
        self._log.warning(line("object_missing", table=self.table, key=found.key, reason=reason))

    def count_put_back(self, found: ObjectMeta) -> None:
        """Count an object that is again the version that is loaded, and log it."""
        self.count(found)
        reason = "when it was read it was again the version that is loaded; not loaded twice"
        self._log.info(line("object_put_back", table=self.table, key=found.key, reason=reason))

    def report(self) -> None:
        """Log a progress line, unless the last one is too recent."""
        now = time.monotonic()
        if now - self._reported < self._every_seconds:
            return
        self._reported = now
        seconds = now - self._began
        done = self.bytes + self._within
        left = (self._all_bytes - done) * seconds / done if done else None
        self._log.info(
            line(
                "progress",
                table=self.table,
                objects=f"{self.seen}/{self._all_objects}",
                bytes=f"{human_bytes(done)} of {human_bytes(self._all_bytes)}",
                rows=self.rows,
                rows_per_second=round(self.rows / seconds),
                time_left=None if left is None else human_time(left),
            )
        )


def _size(found: ObjectMeta) -> int:
    return min(max(found.size, 0), MOST_OBJECT_BYTES)
