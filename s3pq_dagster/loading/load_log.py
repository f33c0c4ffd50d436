"""The log lines of what a load committed."""

import logging
from collections.abc import Iterable, Sequence
from itertools import chain, islice

import polars as pl

from s3pq_dagster.drift.changes import SchemaChanges
from s3pq_dagster.ledger import Entry, Ledger, Status
from s3pq_dagster.logs import line

_LINES_PER_MESSAGE = 128
"""Dagster stores each message as an event of its own, which takes longer than to load an object."""


class LoadLog:
    """Writes what was committed to one table into a log."""

    def __init__(self, log: logging.Logger, table: str) -> None:
        self._log = log
        self._table = table

    def committed(self, entries: Sequence[Entry]) -> None:
        """Log a checkpoint and each object that it loaded."""
        loaded = [entry for entry in entries if entry.status is Status.LOADED]
        rows = sum(entry.rows for entry in loaded)
        objects = ((e.object.key, e.object.size, e.rows) for e in loaded)
        self._committed(len(entries), rows, objects)

    def evolved(self, changes: SchemaChanges, since_key: str | None) -> None:
        """Log what a checkpoint changed in the table's schema.

        Args:
            changes: What changed.
            since_key: Key of the object by which it did.
        """
        if not changes:
            return
        added, retyped = ", ".join(changes.added_names()), ", ".join(changes.retyped_names())
        found = {"added": added, "retyped": retyped}
        shown = {name: text for name, text in found.items() if text}
        text = line("schema_evolved", table=self._table, since_key=since_key, **shown)
        self._write([text], logging.WARNING)

    def schema_replaced(self, since_key: str | None) -> None:
        """Log that no row with the table's old columns was left, and it has others now."""
        text = line("schema_replaced", table=self._table, since_key=since_key)
        self._write([text], logging.WARNING)

    def refreshed(self, ledger: Ledger) -> None:
        """Log what a full refresh committed, as the ledger that it wrote says."""
        loaded = ledger.frame.filter(pl.col("status") == Status.LOADED)
        objects = loaded.select("key", "size", "rows").iter_rows()
        self._committed(ledger.frame.height, ledger.rows, objects)

    def removed(self, keys: Sequence[str], rows: int) -> None:
        """Log each object whose rows were removed, and how many rows those were."""
        self._write([line("object_removed", table=self._table, key=key) for key in keys])
        self._write([line("rows_removed", table=self._table, objects=len(keys), rows=rows)])

    def resized(self, found: pl.DataFrame) -> None:
        """Warn of objects that are read again because only their size has changed.

        Args:
            found: What :meth:`Ledger.resized` returned.
        """
        reason = "same e_tag as in the ledger, but another size; read again"
        lines = (
            line("object_resized", table=self._table, reason=reason, **row)
            for row in found.iter_rows(named=True)
        )
        self._write(lines, logging.WARNING)

    def _committed(self, entries: int, rows: int, objects: Iterable[tuple[str, int, int]]) -> None:
        first = line("checkpoint_committed", table=self._table, objects=entries, rows=rows)
        others = (
            line("object_loaded", table=self._table, key=key, size=size, rows=rows)
            for key, size, rows in objects
        )
        self._write(chain([first], others))

    def _write(self, lines: Iterable[str], level: int = logging.INFO) -> None:
        left = iter(lines)
        while message := list(islice(left, _LINES_PER_MESSAGE)):
            self._log.log(level, "\n".join(message))
