"""A directory of Delta tables."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import deltalake
import polars as pl

from s3pq_dagster.destinations.delta import DeltaDestination
from s3pq_dagster.destinations.protocol import Destination

_HOLD_LOCK = """
import fcntl, sys
with open(sys.argv[1], "ab") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


class DeltaPlace:
    """A directory of Delta tables."""

    takes_turns = True
    readers_wait = False

    def __init__(self, directory: Path) -> None:
        self.root = directory / "delta"
        self.url = f"delta:///{self.root}"

    def open(
        self, *, log: logging.Logger | None = None, lock_timeout_seconds: float = 5
    ) -> Destination:
        return DeltaDestination(str(self.root), log=log, lock_timeout_seconds=lock_timeout_seconds)

    def drop_table(self, table: str) -> None:
        shutil.rmtree(self.root / table)

    def delete_rows(self, table: str, key: str) -> None:
        self._table(table).delete(f"_s3_key = '{key}'")

    def drop_ledger(self, *, whole: bool) -> None:
        self.drop_table("_s3pq_objects")
        if whole:
            self.drop_table("_s3pq_tables")

    def set_format_version(self, version: int) -> None:
        self._table("_s3pq_tables").update({"format_version": str(version)})

    def holder(self, table: str) -> list[str]:
        return [_HOLD_LOCK, str(self.root / "_s3pq_locks" / f"{table}.lock")]

    def tables(self) -> set[str]:
        return {log.parent.name for log in self.root.glob("*/_delta_log")}

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        return pl.read_delta(str(self.root / table), columns=list(columns)).rows()

    def stored_type(self, table: str, column: str) -> str:
        (found,) = (f.type for f in self._table(table).schema().fields if f.name == column)
        return named(found)

    def copied_to(self, directory: Path) -> Self:
        return type(self)(directory)

    def discard(self) -> None:
        """Do nothing: everything is in the directory."""

    def _table(self, table: str) -> deltalake.DeltaTable:
        return deltalake.DeltaTable(self.root / table)


def named(kind: Any) -> str:
    """Return a type's name in Delta Lake's SQL."""
    if isinstance(kind, deltalake.schema.ArrayType):
        return f"array<{named(kind.element_type)}>"
    if isinstance(kind, deltalake.schema.MapType):
        return f"map<{named(kind.key_type)}, {named(kind.value_type)}>"
    if isinstance(kind, deltalake.schema.StructType):
        return f"struct<{', '.join(f'{f.name}: {named(f.type)}' for f in kind.fields)}>"
    return str(kind.type)
