"""A directory of Parquet files."""

import io
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import duckdb
import polars as pl
import pyarrow.parquet as pq

from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.places.sql import quoted

_HOLD = """
import fcntl, sys
with open(sys.argv[1], "ab") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""

_FLAGS = {"isAdjustedToUTC": "UTC", "isSigned": "signed"}


def files_of(root: Path, table: str) -> list[str]:
    """List a table's files from its ledger, as the documentation describes."""
    ledger = root / "_s3pq_objects" / f"{table}.parquet"
    loaded = pl.read_parquet(ledger).filter(pl.col("status") == "loaded")
    files = []
    for name, file_id in loaded.select("file", "file_id").iter_rows():
        staged = root / "_s3pq_staged" / table / f"{file_id}.parquet"
        files.append(str(staged if staged.exists() else root / table / name))
    return files


class ParquetPlace:
    """A directory of Parquet files."""

    takes_turns = True
    readers_wait = False

    def __init__(self, directory: Path) -> None:
        self.path = directory / "lake"
        self.url = f"parquet:///{self.path}"

    def open(
        self, *, log: logging.Logger | None = None, lock_timeout_seconds: float = 5
    ) -> Destination:
        return ParquetDestination(
            str(self.path), log=log, lock_timeout_seconds=lock_timeout_seconds
        )

    def drop_table(self, table: str) -> None:
        shutil.rmtree(self.path / table)

    def delete_rows(self, table: str, key: str) -> None:
        ledger = pl.read_parquet(self._ledger(table))
        (name,) = ledger.filter(pl.col("key") == key)["file"]
        (self.path / table / name).unlink()

    def drop_ledger(self, *, whole: bool) -> None:
        shutil.rmtree(self.path / "_s3pq_objects")
        if whole:
            shutil.rmtree(self.path / "_s3pq_tables")
            shutil.rmtree(self.path / "_s3pq_schemas", ignore_errors=True)

    def set_format_version(self, version: int) -> None:
        for path in (self.path / "_s3pq_objects").iterdir():
            rows = pq.read_table(io.BytesIO(path.read_bytes()))
            facts = json.loads(rows.schema.metadata[b"s3pq"]) | {"format_version": version}
            pq.write_table(
                rows.replace_schema_metadata({"s3pq": json.dumps(facts)}), path, compression="zstd"
            )

    def holder(self, table: str) -> list[str]:
        return [_HOLD, str(self.path / "_s3pq_staged" / f"{table}.lock")]

    def tables(self) -> set[str]:
        if not self.path.exists():
            return set()
        globbed = {path.parent.name for path in self.path.glob("*/*.parquet")}
        return globbed | {path.stem for path in self.path.glob("_s3pq_objects/*.parquet")}

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        if table.startswith("_s3pq_"):
            files = [str(path) for path in (self.path / table).glob("*.parquet")]
        else:
            files = files_of(self.path, table)
        if not files:
            return []
        chosen = ", ".join(map(quoted, columns))
        with duckdb.connect() as connection:
            sql = f"SELECT {chosen} FROM read_parquet($files, union_by_name = true)"
            return connection.execute(sql, {"files": files}).fetchall()

    def stored_type(self, table: str, column: str) -> str:
        (path,) = (self.path / table).glob("*.parquet")
        return _stored(pq.ParquetFile(path).schema, column)

    def copied_to(self, directory: Path) -> Self:
        return type(self)(directory)

    def discard(self) -> None:
        """Do nothing: everything is in the directory."""

    def _ledger(self, table: str) -> Path:
        return self.path / "_s3pq_objects" / f"{table}.parquet"


def _stored(schema: Any, column: str) -> str:
    """Return a column's physical and logical types as the file has them."""
    leaves = [schema.column(number) for number in range(len(schema))]
    return ", ".join(
        _leaf(leaf) for leaf in leaves if leaf.path == column or leaf.path.startswith(f"{column}.")
    )


def _leaf(leaf: Any) -> str:
    where = leaf.path.partition(".")[2]
    said = json.loads(leaf.logical_type.to_json())
    logical = said.pop("Type")
    facts = [said[name] for name in ("bitWidth", "timeUnit", "precision", "scale") if name in said]
    flags = [word for name, word in _FLAGS.items() if said.get(name)]
    inside = ", ".join(map(str, [*facts, *flags]))
    kind = leaf.physical_type
    if logical != "None":
        kind += f" {logical.upper()}" + (f"({inside})" if inside else "")
    return f"{where}: {kind}" if where else kind
