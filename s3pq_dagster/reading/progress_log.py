"""How far a table's objects are read, and a log line about it now and then."""

import logging
import time

from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing, ObjectMeta

_SECONDS = 10
"""Between two lines."""


class ProgressLog:
    """Counts of a stream so far."""

    def __init__(self, table: str, pending: Listing, log: logging.Logger) -> None:
        """Begin to count.

        Args:
            table: For the log lines.
            pending: What is to be read.
            log: Gets them.
        """
        self._table = table
        self._log = log
        self._all_bytes = pending.total_bytes
        self._all_objects = len(pending)
        self._began = self._said = time.monotonic()
        self.bytes = 0
        """Of the objects seen."""
        self.rows = 0
        """Handed on."""
        self.seen = 0
        """Objects read, set aside or found missing."""

    @property
    def is_all_seen(self) -> bool:
        """Whether no object is left."""
        return self.seen == self._all_objects

    def see(self, found: ObjectMeta) -> None:
        """Count an object that was read, set aside or found missing."""
        self.seen += 1
        self.bytes += found.size

    def report(self) -> None:
        """Log a line, unless the last one is not ten seconds old."""
        now = time.monotonic()
        if now - self._said < _SECONDS:
            return
        self._said = now
        seconds = now - self._began
        left = (self._all_bytes - self.bytes) * seconds / self.bytes if self.bytes else None
        self._log.info(
            line(
                "progress",
                table=self._table,
                objects=f"{self.seen}/{self._all_objects}",
                bytes=f"{self.bytes}/{self._all_bytes}",
                rows=self.rows,
                rows_per_second=round(self.rows / seconds),
                seconds_left=None if left is None else round(left),
            )
        )
